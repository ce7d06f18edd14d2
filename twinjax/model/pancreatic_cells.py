"""The cells of a pancreatic tumour at one place: sensitive, resistant, stroma, effectors. A composition of our own."""

from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from twinjax.model.growth import relative_expm1

STROMA_DEPLETION, CHECKPOINT_BLOCKADE = "stroma_depletion", "checkpoint_blockade"


class Cells(eqx.Module):
    """What is at one place, or on a grid.

    **Fields:** `sensitive` and `resistant` tumour cells (fractions of what the tissue can hold), `stroma` (fraction of
    what it can hold: fibroblasts with their matrix) and `effectors` (relative to tissue without a tumour).
    """

    sensitive: Float[Array, "..."]
    resistant: Float[Array, "..."]
    stroma: Float[Array, "..."]
    effectors: Float[Array, "..."]

    @property
    def tumor(self) -> Array:
        """Sensitive and resistant cells together."""
        return self.sensitive + self.resistant


class PancreaticCells(eqx.Module):
    """With S, R, F, E of `Cells`, n = S + R, drug kill k, and the levels u of `stroma_depletion`, o of
    `checkpoint_blockade`:

        dS/dt = rho b(F) S (1 - n) - (q(F) k + i) S - m S,          b(F) = 1 + b_F F / (F + F_b)
        dR/dt = g rho b(F) R (1 - n) - (eps q(F) k + i) R + m S,    i = k_I E / (1 + w F)
        dF/dt = r_F F (1 - F) n / (n_F + n) - d_F u F
        dE/dt = d_E (1 - E) + p_E (1 + kappa o) E n / (n_E + n) / (1 + F / F_E)

    Stroma feeds the tumour (b), shields it from effectors (w) and keeps them out (F_E), and stands between vessels and
    cells: q(F) = p / (1 + F / F_q) is the share of a drug that arrives, p the perfusion relative to its mean. That is
    what a drug reaches that is broken down in tissue faster than it crosses the barrier, as gemcitabine is.

    **The composition is our own.** Its parts follow Hu et al. 2019 (BIOMD0000000792: stroma that feeds, cytokines that
    shield, effectors), the usual pair of sensitive and resistant cells, and transport through a permeability that
    stroma lowers (Zhu et al. 2023).

    **Fields:** `proliferation_rate` rho (0.044 1/day: untreated xenografts of Gao et al. 2015, our own fit);
    `mutation_rate` m (1e-4 1/day, QSP models of the tumour and its immunity); `effector_turnover_rate` d_E (0.02 1/day,
    Hu et al. 2019). All others are our own choice: `resistant_growth_ratio` g, `resistant_sensitivity` eps (0.1 to
    0.3), `stroma_support` b_F, `half_support` F_b, `stroma_growth_rate` r_F and `stroma_depletion_rate` d_F (1/day),
    `stroma_half_tumor` n_F, `stroma_barrier` F_q, `immune_kill_rate` k_I (1/day), `stroma_shielding` w,
    `effector_expansion_rate` p_E (1/day), `effector_half_tumor` n_E, `effector_exclusion` F_E, `checkpoint_gain` kappa.
    """

    proliferation_rate: Float[Array, ""]
    resistant_growth_ratio: Float[Array, ""]
    resistant_sensitivity: Float[Array, ""]
    mutation_rate: Float[Array, ""]
    stroma_support: Float[Array, ""]
    half_support: Float[Array, ""]
    stroma_growth_rate: Float[Array, ""]
    stroma_half_tumor: Float[Array, ""]
    stroma_depletion_rate: Float[Array, ""]
    stroma_barrier: Float[Array, ""]
    immune_kill_rate: Float[Array, ""]
    stroma_shielding: Float[Array, ""]
    effector_turnover_rate: Float[Array, ""]
    effector_expansion_rate: Float[Array, ""]
    effector_half_tumor: Float[Array, ""]
    effector_exclusion: Float[Array, ""]
    checkpoint_gain: Float[Array, ""]

    def __init__(
        self,
        *,
        proliferation_rate: ArrayLike = 0.044,
        resistant_growth_ratio: ArrayLike = 1.0,
        resistant_sensitivity: ArrayLike = 0.2,
        mutation_rate: ArrayLike = 1e-4,
        stroma_support: ArrayLike = 0.5,
        half_support: ArrayLike = 0.5,
        stroma_growth_rate: ArrayLike = 0.02,
        stroma_half_tumor: ArrayLike = 0.1,
        stroma_depletion_rate: ArrayLike = 0.03,
        stroma_barrier: ArrayLike = 0.5,
        immune_kill_rate: ArrayLike = 0.005,
        stroma_shielding: ArrayLike = 2.0,
        effector_turnover_rate: ArrayLike = 0.02,
        effector_expansion_rate: ArrayLike = 0.01,
        effector_half_tumor: ArrayLike = 0.1,
        effector_exclusion: ArrayLike = 0.5,
        checkpoint_gain: ArrayLike = 2.0,
    ):
        self.proliferation_rate = jnp.asarray(proliferation_rate, float)
        self.resistant_growth_ratio = jnp.asarray(resistant_growth_ratio, float)
        self.resistant_sensitivity = jnp.asarray(resistant_sensitivity, float)
        self.mutation_rate = jnp.asarray(mutation_rate, float)
        self.stroma_support = jnp.asarray(stroma_support, float)
        self.half_support = jnp.asarray(half_support, float)
        self.stroma_growth_rate = jnp.asarray(stroma_growth_rate, float)
        self.stroma_half_tumor = jnp.asarray(stroma_half_tumor, float)
        self.stroma_depletion_rate = jnp.asarray(stroma_depletion_rate, float)
        self.stroma_barrier = jnp.asarray(stroma_barrier, float)
        self.immune_kill_rate = jnp.asarray(immune_kill_rate, float)
        self.stroma_shielding = jnp.asarray(stroma_shielding, float)
        self.effector_turnover_rate = jnp.asarray(effector_turnover_rate, float)
        self.effector_expansion_rate = jnp.asarray(effector_expansion_rate, float)
        self.effector_half_tumor = jnp.asarray(effector_half_tumor, float)
        self.effector_exclusion = jnp.asarray(effector_exclusion, float)
        self.checkpoint_gain = jnp.asarray(checkpoint_gain, float)

    def delivery(self, stroma, perfusion: ArrayLike = 1.0) -> Array:
        """q: the share of a drug that reaches the cells."""
        return perfusion / (1 + stroma / self.stroma_barrier)

    def growth_rate(self, stroma) -> Array:
        """rho b(F), 1/day."""
        return self.proliferation_rate * (1 + self.stroma_support * stroma / (stroma + self.half_support))

    def immune_kill(self, cells: Cells) -> Array:
        """i, 1/day."""
        return self.immune_kill_rate * cells.effectors / (1 + self.stroma_shielding * cells.stroma)

    def rates(self, cells: Cells, drug_kill_rate, levels: Mapping[str, Array], perfusion: ArrayLike = 1.0) -> Cells:
        """The time derivatives of `cells` (1/day)."""
        tumor, growth = cells.tumor, self.growth_rate(cells.stroma)
        arriving, immune = self.delivery(cells.stroma, perfusion) * drug_kill_rate, self.immune_kill(cells)
        mutating = self.mutation_rate * cells.sensitive
        stroma_growth, stroma_loss = self._stroma_rates(tumor, levels)
        inflow, effector_rate = self._effector_rates(tumor, cells.stroma, levels)
        resistant_growth = self.resistant_growth_ratio * growth * (1 - tumor)
        return Cells(
            (growth * (1 - tumor) - arriving - immune) * cells.sensitive - mutating,
            (resistant_growth - self.resistant_sensitivity * arriving - immune) * cells.resistant + mutating,
            (stroma_growth * (1 - cells.stroma) - stroma_loss) * cells.stroma,
            inflow + effector_rate * cells.effectors,
        )

    def flow(self, cells: Cells, duration, levels: Mapping[str, Array]) -> Cells:
        """`cells` after `duration` days without a drug, pointwise; levels count with their mean.

        Parts that can be solved exactly, each with the others held, in palindromic order: stroma and effectors, the
        turning resistant, sensitive cells, resistant ones, and back. Second order in the duration, and positive for
        any: no part can leave the positive numbers. Sensitive and resistant cells stay below 1 together.
        """
        half = duration / 2
        cells = self._turn_resistant(self._surroundings(cells, half, levels), half)
        growth, immune = self.growth_rate(cells.stroma), self.immune_kill(cells)
        resistant_growth = self.resistant_growth_ratio * growth
        sensitive = _logistic(cells.sensitive, half, growth * (1 - cells.resistant) - immune, growth)
        rate = resistant_growth * (1 - sensitive) - immune
        resistant = _logistic(cells.resistant, duration, rate, resistant_growth)
        sensitive = _logistic(sensitive, half, growth * (1 - resistant) - immune, growth)
        cells = Cells(sensitive, resistant, cells.stroma, cells.effectors)
        return self._surroundings(self._turn_resistant(cells, half), half, levels, reverse=True)

    def killed(self, cells: Cells, drug_log_kill, other_log_kill, perfusion: ArrayLike = 1.0) -> Cells:
        """`cells` after a kill: drugs as they arrive and as resistance allows, all else alike."""
        arriving = self.delivery(cells.stroma, perfusion) * drug_log_kill
        sensitive = cells.sensitive * jnp.exp(-arriving - other_log_kill)
        resistant = cells.resistant * jnp.exp(-self.resistant_sensitivity * arriving - other_log_kill)
        return Cells(sensitive, resistant, cells.stroma, cells.effectors)

    def _stroma_rates(self, tumor, levels):
        """Growth and loss rate of stroma, 1/day."""
        loss = self.stroma_depletion_rate * levels.get(STROMA_DEPLETION, 0.0)
        return self.stroma_growth_rate * tumor / (self.stroma_half_tumor + tumor), loss

    def _effector_rates(self, tumor, stroma, levels):
        """Inflow (1/day) and net rate per effector (1/day)."""
        blockade = 1 + self.checkpoint_gain * levels.get(CHECKPOINT_BLOCKADE, 0.0)
        excited = tumor / (self.effector_half_tumor + tumor) / (1 + stroma / self.effector_exclusion)
        return self.effector_turnover_rate, self.effector_expansion_rate * blockade * excited - (
            self.effector_turnover_rate
        )

    def _surroundings(self, cells: Cells, duration, levels, reverse: bool = False) -> Cells:
        """Stroma, then effectors, with the tumour held; in reverse the other way round."""
        tumor = cells.tumor
        growth, loss = self._stroma_rates(tumor, levels)
        stroma = _logistic(cells.stroma, duration, growth - loss, growth)
        inflow, rate = self._effector_rates(tumor, cells.stroma if reverse else stroma, levels)
        risen = relative_expm1(rate * duration) * duration
        effectors = cells.effectors * (1 + rate * risen) + inflow * risen
        return Cells(cells.sensitive, cells.resistant, stroma, effectors)

    def _turn_resistant(self, cells: Cells, duration) -> Cells:
        turned = -jnp.expm1(-self.mutation_rate * duration) * cells.sensitive
        return Cells(cells.sensitive - turned, cells.resistant + turned, cells.stroma, cells.effectors)


def _logistic(u, duration, rate, competition):
    """The exact u after dz/dt = rate z - competition z² for `duration` days from u."""
    exponent = rate * duration
    return u * jnp.exp(exponent) / (1 + competition * duration * relative_expm1(exponent) * u)
