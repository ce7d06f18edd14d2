"""Prostate cancer on a grid: tumour density, PSA in tissue and in serum, testosterone. A composition of our own."""

from collections.abc import Mapping
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from twinjax.core.kills import Kills
from twinjax.domain import DiffusionOperator, Domain
from twinjax.model.model import AbstractReactionDiffusionModel, placed
from twinjax.model.proliferating_fraction import AbstractProliferatingFraction, ConstantFraction
from twinjax.model.testosterone import SecretionResponse, Testosterone, mean_decay, mean_response

ACTION = "androgen_deprivation"
MM3_PER_ML = 1000.0
# The volume that imaging would outline (Wu et al. 2022, Cancer Res 82:3394: a quarter of the densest packing).
VISIBLE_DENSITY, VISIBLE_SOFTNESS = 0.25, 0.02
# Terms of the exponential series in growth over the rest of a step; that many make 1e-9 of it where cells grow by 60 %.
SERIES_TERMS = 9


class ProstateState(eqx.Module):
    """**Fields:** `density` c (fraction of the densest packing) and `tissue_psa` P (ng/mL) on the grid; `serum_psa`
    P_s (ng/mL), `testosterone` (ng/dL) and `day` (since the start), scalars.
    """

    density: Float[Array, "..."]
    tissue_psa: Float[Array, "..."]
    serum_psa: Float[Array, "..."]
    testosterone: Float[Array, "..."]
    day: Float[Array, "..."]


class Prostate(AbstractReactionDiffusionModel):
    """Tumour, tissue PSA and serum PSA in a gland of known perfusion.

        dc/dt  = div(D grad c) + rho phi a c (1 - c / K) - d (1 - a) c - kill c
        dP/dt  = D_P lap(P) + f(T) (s_b (1 - c) + s_t c) - k (P - P_s) - mu P,   k(x) = k_0 perfusion(x)
        dP_s/dt = 1 / V_s integral of k (P - P_s) - gamma P_s

    with zero flux at the wall of the gland, a = min(T / T_0, 1), testosterone T of `Testosterone` and its effect on
    secretion f of `SecretionResponse`.

    **This is our own reconstruction** of the structure that Camacho-Gomez et al. 2025 (npj Digit Med,
    s41746-025-01890-x) publish in abstract and figure: density, a proliferating fraction phi in the growth term, PSA
    secreted in tissue, a flux into blood that depends on perfusion. Their equations and values were not available;
    the form above, the androgen terms and all values that name no source are our own choice.

    Without breakdown in tissue (mu = 0) serum PSA at rest is (s_b V_b + s_t V_t) / (gamma V_s), whatever the
    perfusion; with it a share k / (k + mu) of what is secreted reaches the blood.

    **Fields:** `proliferation_rate` rho (1/day, 0.002: volume doubles in about a year), `diffusivity` D (mm²/day,
    0.005), `carrying_capacity` K; `proliferating_fraction` phi; `benign_secretion_rate` s_b (48 ng/mL/day: 0.07 ng/mL
    of serum PSA per cm³ of gland, textbook value) and `tumor_secretion_rate` s_t (1400: about 2 ng/mL per cm³ of
    cancer, textbook value); `exchange_rate` k_0 and `tissue_breakdown_rate` mu (1/day, 0.05); `psa_diffusivity` D_P
    (mm²/day, 0.1); `psa_clearance_rate` gamma (0.23 1/day: half-life 3 days, Desmée et al. 2015); `serum_volume` V_s
    (3000 mL, textbook value); `androgen_dependent_death_rate` d (1/day, 0.01); `testosterone`, `secretion_response`.
    The grid must hold the whole gland, for serum PSA sums over it.

    No cell is resistant to androgen deprivation here, which flatters a long course of it.

    The domain's map `perfusion` (Ktrans relative to its mean) is read; without it perfusion is even.
    The state is a `ProstateState`. Quantities: `psa_ng_ml`, `volume_mm3` (density above 0.25), `cell_volume_mm3`,
    `testosterone_ng_dl`. Removing tissue takes its tumour and stops diffusion, but not the secretion of benign tissue.
    """

    leaves_out: ClassVar = (
        "Serum PSA follows from a reconstruction of a published structure; benign enlargement is not told apart.",
    )
    domain: Domain
    proliferation_rate: Float[Array, ""]
    diffusivity: Float[Array, ""]
    carrying_capacity: Float[Array, ""]
    proliferating_fraction: AbstractProliferatingFraction
    benign_secretion_rate: Float[Array, ""]
    tumor_secretion_rate: Float[Array, ""]
    exchange_rate: Float[Array, ""]
    tissue_breakdown_rate: Float[Array, ""]
    psa_diffusivity: Float[Array, ""]
    psa_clearance_rate: Float[Array, ""]
    serum_volume: Float[Array, ""]
    androgen_dependent_death_rate: Float[Array, ""]
    testosterone: Testosterone
    secretion_response: SecretionResponse

    def __init__(
        self,
        domain: Domain,
        *,
        resolution_mm: float | None = None,
        proliferation_rate: ArrayLike = 0.002,
        diffusivity: ArrayLike = 0.005,
        carrying_capacity: ArrayLike = 1.0,
        proliferating_fraction: AbstractProliferatingFraction | ArrayLike = 1.0,
        benign_secretion_rate: ArrayLike = 48.0,
        tumor_secretion_rate: ArrayLike = 1400.0,
        exchange_rate: ArrayLike = 0.05,
        tissue_breakdown_rate: ArrayLike = 0.05,
        psa_diffusivity: ArrayLike = 0.1,
        psa_clearance_rate: ArrayLike = 0.23,
        serum_volume: ArrayLike = 3000.0,
        androgen_dependent_death_rate: ArrayLike = 0.01,
        testosterone: Testosterone | None = None,
        secretion_response: SecretionResponse | None = None,
    ):
        """`resolution_mm` brings the domain to an isotropic grid of that voxel edge first."""
        self.domain = placed(domain, resolution_mm)
        if not isinstance(proliferating_fraction, AbstractProliferatingFraction):
            proliferating_fraction = ConstantFraction(proliferating_fraction)
        self.proliferating_fraction = proliferating_fraction
        self.proliferation_rate = jnp.asarray(proliferation_rate, float)
        self.diffusivity = jnp.asarray(diffusivity, float)
        self.carrying_capacity = jnp.asarray(carrying_capacity, float)
        self.benign_secretion_rate = jnp.asarray(benign_secretion_rate, float)
        self.tumor_secretion_rate = jnp.asarray(tumor_secretion_rate, float)
        self.exchange_rate = jnp.asarray(exchange_rate, float)
        self.tissue_breakdown_rate = jnp.asarray(tissue_breakdown_rate, float)
        self.psa_diffusivity = jnp.asarray(psa_diffusivity, float)
        self.psa_clearance_rate = jnp.asarray(psa_clearance_rate, float)
        self.serum_volume = jnp.asarray(serum_volume, float)
        self.androgen_dependent_death_rate = jnp.asarray(androgen_dependent_death_rate, float)
        self.testosterone = testosterone or Testosterone()
        self.secretion_response = secretion_response or SecretionResponse()

    @property
    def local(self):
        return False

    def on(self, domain: Domain) -> "Prostate":
        return eqx.tree_at(lambda model: model.domain, self, domain)

    def transport(self, open_tissue):
        mask = self.domain.open_mask(open_tissue)
        even = mask.astype(float)
        scales = {"tumor": self.diffusivity, "psa": self.psa_diffusivity}
        return {
            name: DiffusionOperator.create(even, mask, self.domain.spacing, scale=scale)
            for name, scale in scales.items()
        }

    def vector_field(self, t, state, forcing):
        androgen = self._androgen(state.testosterone)
        growth, crowding = self._growth_rates(state, androgen)
        c, p = state.density, state.tissue_psa
        response = self.secretion_response(state.testosterone, self.testosterone.baseline)
        exchange, secretion = self._exchange(p), self._secretion(c, response)
        flux = exchange * (p - state.serum_psa)
        return ProstateState(
            density=(growth - crowding * c - forcing.kill_rate) * c + forcing.transport["tumor"](c),
            tissue_psa=secretion - flux - self.tissue_breakdown_rate * p + forcing.transport["psa"](p),
            serum_psa=jnp.sum(flux) * self._voxel_share - self.psa_clearance_rate * state.serum_psa,
            testosterone=self.testosterone.change(state.testosterone, forcing.level(ACTION)),
            day=jnp.ones(()),
        )

    def reaction(self, density, kill_rate):
        """Growth minus kill at a testosterone of the baseline, and at the start where phi depends on the day."""
        fraction = self.proliferating_fraction(self.domain, density, jnp.zeros(()))
        growth = self.proliferation_rate * fraction * (1 - density / self.carrying_capacity)
        return growth * density - kill_rate * density

    def reaction_flow(self, state, duration, kills, levels: Mapping[str, Array]):
        """Of second order in the duration: each equation by its own exact solution, with the others at their mean.

        The kills within the step are exact. PSA is conserved, and a state at rest stays so.
        """
        level = levels.get(ACTION, jnp.zeros(()))
        testosterone, mean_testosterone = self.testosterone.flow(state.testosterone, duration, level)
        # phi depends on the density: a first half step gives it at the middle.
        androgen = self._androgen(mean_testosterone)
        halfway = state
        if not isinstance(self.proliferating_fraction, ConstantFraction):
            growth, crowding = self._growth_rates(state, androgen)
            density = logistic_flow(state.density, duration / 2, growth, crowding, Kills.none())
            halfway = eqx.tree_at(lambda s: (s.density, s.day), state, (density, state.day + duration / 2))
        growth, crowding = self._growth_rates(halfway, androgen)
        density = logistic_flow(state.density, duration, growth, crowding, kills)
        mean_density = _mean_density(state.density, density, duration, kills)
        secretion = self._secretion(mean_density, self._mean_response(state.testosterone, duration, level))
        tissue, serum = self._psa_flow(state, duration, secretion)
        return ProstateState(density, tissue, serum, testosterone, state.day + duration)

    def _psa_flow(self, state, duration, secretion):
        """PSA in tissue and in serum after `duration` days of constant secretion.

        Tissue sees the mean of serum over the step and serum the mean flux of tissue: two linear equations.
        """
        exchange = self._exchange(state.tissue_psa)
        here = _Relaxation(exchange + self.tissue_breakdown_rate, duration)
        blood = _Relaxation(self.psa_clearance_rate + jnp.sum(exchange) * self._voxel_share, duration)
        # Mean inflow = alone + per_serum * mean serum.
        alone = jnp.sum(exchange * here.mean(state.tissue_psa, secretion)) * self._voxel_share
        per_serum = jnp.sum(exchange**2 * here.mean_of_source) * self._voxel_share
        mean_serum = blood.mean(state.serum_psa, alone) / (1 - blood.mean_of_source * per_serum)
        tissue = here.end(state.tissue_psa, secretion + exchange * mean_serum)
        return tissue, blood.end(state.serum_psa, alone + per_serum * mean_serum)

    def spread(self, state, steps, duration, diffuse):
        moved = diffuse(steps["tumor"], state.density), diffuse(steps["psa"], state.tissue_psa)
        return eqx.tree_at(lambda s: (s.density, s.tissue_psa), state, moved)

    def reach(self, duration):
        spread = self.diffusivity * duration
        return 2 * jnp.sqrt(spread * self.proliferation_rate * duration) + 4 * jnp.sqrt(2 * spread)

    def apply_survival(self, state, fraction):
        return eqx.tree_at(lambda s: s.density, state, state.density * fraction)

    def cell_density(self, state):
        return state.density

    def initial_state(self, size):
        """A tumour of density `size` at a testosterone of the baseline, with PSA at rest but for its diffusion."""
        density = jnp.where(self.domain.mask, size, 0.0)
        exchange = self._exchange(density)
        loss = exchange + self.tissue_breakdown_rate
        # Tissue without perfusion and breakdown has no state of rest; it begins empty.
        safe = jnp.where(loss > 0, loss, 1.0)
        baseline = self.testosterone.baseline
        secretion = jnp.where(loss > 0, self._secretion(density, jnp.ones(())), 0.0)
        inflow = jnp.sum(exchange * secretion / safe) * self._voxel_share
        lost = jnp.sum(exchange * (1 - exchange / safe)) * self._voxel_share
        serum = inflow / (self.psa_clearance_rate + lost)
        return ProstateState(
            density=density,
            tissue_psa=(secretion + exchange * serum) / safe,
            serum_psa=serum,
            testosterone=baseline,
            day=jnp.zeros(()),
        )

    def quantities(self, state):
        visible = jax.nn.sigmoid((state.density - VISIBLE_DENSITY) / VISIBLE_SOFTNESS)
        return {
            "psa_ng_ml": state.serum_psa,
            "volume_mm3": jnp.sum(jnp.where(self.domain.mask, visible, 0.0)) * self.domain.voxel_volume,
            "cell_volume_mm3": jnp.sum(state.density) * self.domain.voxel_volume,
            "testosterone_ng_dl": state.testosterone,
        }

    @property
    def _voxel_share(self):
        """Volume of a voxel relative to that of the blood."""
        return self.domain.voxel_volume / MM3_PER_ML / self.serum_volume

    def _exchange(self, like):
        """k(x) in 1/day, in the shape of `like`."""
        mask = self.domain.mask.astype(float)
        return (self.exchange_rate * self.domain.maps.get("perfusion", mask) * mask).reshape(like.shape)

    def _mean_response(self, testosterone, duration, level):
        """The mean of f over a step, by Simpson's rule: testosterone may fall far within one."""
        middle, _ = self.testosterone.flow(testosterone, duration / 2, level)
        after, _ = self.testosterone.flow(testosterone, duration, level)
        first, second, third = (
            self.secretion_response(at, self.testosterone.baseline) for at in (testosterone, middle, after)
        )
        return (first + 4 * second + third) / 6

    def _secretion(self, density, response):
        """ng/mL/day, in the shape of `density`."""
        mask = self.domain.mask.reshape(density.shape)
        secreted = self.benign_secretion_rate * (1 - density) + self.tumor_secretion_rate * density
        return jnp.where(mask, secreted * response, 0.0)

    def _androgen(self, testosterone):
        return jnp.minimum(testosterone / self.testosterone.baseline, 1.0)

    def _growth_rates(self, state, androgen):
        """r and b of dc/dt = (r - b c) c, in 1/day."""
        fraction = self.proliferating_fraction(self.domain, state.density, state.day)
        division = self.proliferation_rate * fraction * androgen
        return division - self.androgen_dependent_death_rate * (1 - androgen), division / self.carrying_capacity


class _Relaxation:
    """dy/dt = source - rate y over `duration` days with a constant source: exact."""

    def __init__(self, rate, duration):
        self.duration = duration
        self.decay, self.mean_of_decay = jnp.exp(-rate * duration), mean_decay(rate * duration)
        self.mean_of_source = duration * mean_response(rate * duration)

    def end(self, y, source):
        return y * self.decay + source * self.duration * self.mean_of_decay

    def mean(self, y, source):
        return y * self.mean_of_decay + source * self.mean_of_source


def _mean_density(before, after, duration, kills: Kills):
    """The mean over a step, to second order: linear growth from `before` to `after`, and what each kill takes."""
    alive = jnp.cumsum(kills.log_kill)
    lost = jnp.exp(kills.log_kill - alive) * jnp.expm1(-kills.log_kill)
    elapsed = kills.elapsed / jnp.where(duration > 0, duration, 1.0)
    survival, weighted = 1 + jnp.sum(lost * (1 - elapsed)), 0.5 + 0.5 * jnp.sum(lost * (1 - elapsed**2))
    return before * (survival - weighted) + after * jnp.exp(jnp.sum(kills.log_kill)) * weighted


def logistic_flow(density: Array, duration, growth, crowding, kills: Kills) -> Array:
    """dc/dt = (r - b c) c after `duration` days, with `kills` in between; rates in 1/day, fields or scalars.

    Exact but for the series of what the kills take from crowding, which is cut after `SERIES_TERMS` in r duration.
    """
    # 1 / c obeys a linear equation: c(t) = c E(t) / (1 + b c integral of E), E(t) = exp(r t - kills until t).
    exponent = growth * duration
    # integral / duration = mean of exp(r t) + sum over kills of w_k (exp(x) - exp(x (1 - left_k))) / x: in powers of x
    # the sum has scalar coefficients, and costs nothing per voxel and kill.
    before = jnp.cumsum(kills.log_kill) - kills.log_kill
    weight = jnp.exp(-before) * jnp.expm1(-kills.log_kill)
    elapsed = kills.elapsed / jnp.where(duration > 0, duration, 1.0)
    series, factorial = [], 1.0
    for term in range(SERIES_TERMS):
        factorial *= term + 1
        series.append(jnp.sum(weight * (1 - elapsed ** (term + 1))) / factorial)
    shares = mean_decay(-exponent) + (jnp.polyval(jnp.stack(series[::-1]), exponent) if kills.log_kill.size else 0.0)
    grown = density * jnp.exp(exponent - jnp.sum(kills.log_kill))
    return grown / (1 + crowding * duration * shares * density)
