"""Triple-negative breast cancer: reaction-diffusion that the stress of the tissue around it slows down."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from twinjax.core.errors import InputError
from twinjax.domain import DiffusionOperator, Domain
from twinjax.domain.diffusion import with_resistance
from twinjax.domain.elasticity import POISSON_RATIO, ElasticTissue
from twinjax.model.density import AbstractDensityModel
from twinjax.model.distributed_kill import logistic_flow
from twinjax.model.model import placed, require_on_grid

# Where the density exceeds this, tissue is as stiff as tumour (code of Wu et al. 2022, Cancer Res 82:3394). The width
# of the transition is our own choice; the published one is a jump, which has no derivative.
TUMOR_THRESHOLD, TUMOR_SOFTNESS = 0.1, 0.02
# Beyond it diffusion has all but stopped; it keeps the exponential finite.
LARGEST_EXPONENT = 40.0


class TripleNegativeBreast(AbstractDensityModel):
    """du/dt = div(D(x, u) grad u) + rho u (1 - u / K) - (C(x) k(t) + delta b(t)) u, zero flux at the wall.

    D = D0 exp(-kappa s(u)): cells that press on the tissue slow down where it is sheared (Weis et al. 2013, Phys Med
    Biol 58:5851; Weis et al. 2015, Cancer Res 75:4697; Jarrett et al. 2021, Nat Protoc 16:5309). s is the von Mises
    stress of a linear elastic breast under the pressure lambda u, per unit of lambda. Stiffness enters as ratios alone,
    and of the published gamma (1/kPa, in exp(-gamma sigma)) and lambda (kPa) only the product kappa: the data of a
    patient tell no more, as stresses do not change with the scale of stiffness and grow with lambda.

    k(t) are the kill rates of the drugs, C(x) where they come to, relative to the mean over the breast (the map
    `drug_distribution` of the domain, from dynamic contrast-enhanced MRI in those studies; 1 without it). b(t) is the
    level of `checkpoint_blockade`, and delta the kill rate at full blockade: our own composition, even over the tumour.

    **Fields:** `diffusivity` D0 (mm²/day; 1e-6 to 1e-3), `mechanical_coupling` kappa (5), `proliferation_rate` rho
    (1/day, a scalar or a field on the grid; 0 to 0.1), `carrying_capacity` K (1), `immune_kill_rate` delta (1/day;
    0.02, our own choice), `adipose_stiffness`, `fibroglandular_stiffness`, `tumor_stiffness` (kPa; 2, 4, 20), `domain`,
    `mechanics_resolution_mm`: stresses are solved on voxels of about this edge (None: those of the domain), as they
    vary over the size of the tumour and fall off with the cube of the distance; 4 is our own choice. D0, rho and the
    drugs' kill rates: Christenson et al. 2025, npj Syst Biol Appl 11:53. The domain's maps `adipose` and
    `fibroglandular` tell the tissue; without them all of it is fibroglandular. The state is the cell density u on the
    grid, in [0, K].
    """

    leaves_out: ClassVar = (
        "Stress slows cells down, but no tissue moves with the tumour, nor with another position of the breast.",
        "That checkpoint blockade kills evenly over the tumour is our own composition.",
    )
    takes_fields: ClassVar = ("proliferation_rate",)
    domain: Domain
    diffusivity: Float[Array, ""]
    mechanical_coupling: Float[Array, ""]
    proliferation_rate: Float[Array, "..."]
    carrying_capacity: Float[Array, ""]
    immune_kill_rate: Float[Array, ""]
    adipose_stiffness: Float[Array, ""]
    fibroglandular_stiffness: Float[Array, ""]
    tumor_stiffness: Float[Array, ""]
    poisson_ratio: float = eqx.field(static=True)
    mechanics_resolution_mm: float | None = eqx.field(static=True)

    def __init__(
        self,
        domain: Domain,
        *,
        resolution_mm: float | None = None,
        diffusivity: ArrayLike = 5e-4,
        mechanical_coupling: ArrayLike = 5.0,
        proliferation_rate: ArrayLike = 0.03,
        carrying_capacity: ArrayLike = 1.0,
        immune_kill_rate: ArrayLike = 0.02,
        adipose_stiffness: ArrayLike = 2.0,
        fibroglandular_stiffness: ArrayLike = 4.0,
        tumor_stiffness: ArrayLike = 20.0,
        poisson_ratio: float = POISSON_RATIO,
        mechanics_resolution_mm: float | None = 4.0,
    ):
        """`resolution_mm` brings the domain to an isotropic grid of that voxel edge first.

        Raises `InputError` for a domain that is none, a field of proliferation on another grid, or a resolution that
        is not positive.
        """
        if mechanics_resolution_mm is not None and not mechanics_resolution_mm > 0:
            raise InputError(f"mechanics_resolution_mm must be positive or null, got {mechanics_resolution_mm}")
        self.domain = placed(domain, resolution_mm)
        self.diffusivity = jnp.asarray(diffusivity, float)
        self.mechanical_coupling = jnp.asarray(mechanical_coupling, float)
        self.proliferation_rate = jnp.asarray(proliferation_rate, float)
        self.carrying_capacity = jnp.asarray(carrying_capacity, float)
        self.immune_kill_rate = jnp.asarray(immune_kill_rate, float)
        self.adipose_stiffness = jnp.asarray(adipose_stiffness, float)
        self.fibroglandular_stiffness = jnp.asarray(fibroglandular_stiffness, float)
        self.tumor_stiffness = jnp.asarray(tumor_stiffness, float)
        self.poisson_ratio, self.mechanics_resolution_mm = float(poisson_ratio), mechanics_resolution_mm
        require_on_grid(self, self.domain)

    def on(self, domain: Domain) -> "TripleNegativeBreast":
        require_on_grid(self, domain)
        return eqx.tree_at(lambda model: model.domain, self, domain)

    def stiffness(self, density: Float[Array, "*grid"]) -> Float[Array, "*grid"]:
        """Young's modulus (kPa) of tissue with tumour in it."""
        maps = self.domain.maps
        fibroglandular = maps.get("fibroglandular", jnp.ones(self.domain.shape))
        adipose = maps.get("adipose", 1 - fibroglandular)
        known = jnp.maximum(fibroglandular + adipose, 1e-3)
        healthy = (self.fibroglandular_stiffness * fibroglandular + self.adipose_stiffness * adipose) / known
        # A voxel whose tissue is not known is taken as adipose, the softest.
        healthy = jnp.maximum(healthy, self.adipose_stiffness)
        tumor = jax.nn.sigmoid((density - TUMOR_THRESHOLD) / TUMOR_SOFTNESS)
        return healthy + tumor * (self.tumor_stiffness - healthy)

    @eqx.filter_jit
    def relative_stress(self, density: Float[Array, "*grid"]) -> Float[Array, "*grid"]:
        """The von Mises stress under the pressure of the cells, as a share of that of the densest packing."""
        domain, factors = self.domain, self._coarsening()
        # Stiffness enters by ratios, and pressure as a share: numbers of order one.
        stiffness = self.stiffness(density) / self.fibroglandular_stiffness
        inside = domain.mask.astype(density.dtype)
        share = _block_mean(inside, factors)
        weight = jnp.maximum(share, 1e-3)
        stiffness = _block_mean(inside * stiffness, factors) / weight
        spacing = tuple(h * f for h, f in zip(domain.spacing, factors, strict=True))
        mask = share >= 0.5
        tissue = ElasticTissue(jnp.where(mask, stiffness, 1.0), mask, spacing, poisson_ratio=self.poisson_ratio)
        stress = tissue.response(_block_mean(inside * density, factors)).von_mises
        if max(factors) == 1:
            return stress
        fine = jax.image.resize(stress, tuple(n * f for n, f in zip(stress.shape, factors, strict=True)), "linear")
        return fine[tuple(slice(n) for n in domain.shape)]

    def resistance(self, density: Float[Array, "*grid"]) -> Float[Array, "*grid"]:
        """D0 / D: how many times slower than in tissue at rest cells move."""
        return jnp.exp(jnp.minimum(self.mechanical_coupling * self.relative_stress(density), LARGEST_EXPONENT))

    def _coarsening(self) -> tuple[int, ...]:
        """Voxels of the domain along the edge of a voxel of the mechanics."""
        if self.mechanics_resolution_mm is None:
            return (1,) * len(self.domain.shape)
        shape, edge = self.domain.shape, self.mechanics_resolution_mm
        wanted = [max(1, round(edge / h)) for h in self.domain.spacing]
        return tuple(min(f, max(1, n // 4)) for f, n in zip(wanted, shape, strict=True))

    def transport(self, open_tissue):
        """Diffusion without stress, the fastest there can be; `spread` slows it down."""
        mask = self.domain.open_mask(open_tissue)
        even = jnp.ones(self.domain.shape)
        return DiffusionOperator.create(even, mask, self.domain.spacing, scale=self.diffusivity)

    def vector_field(self, t, state, forcing):
        kill_rate = self._exposure() * forcing.kill_rate + self.immune_kill_rate * forcing.level("checkpoint_blockade")
        return self.reaction(state, kill_rate) + with_resistance(forcing.transport, self.resistance(state))(state)

    def reaction(self, density, kill_rate):
        return self.proliferation_rate * density * (1 - density / self.carrying_capacity) - kill_rate * density

    def reaction_flow(self, state, duration, kills, levels):
        rate = self.proliferation_rate
        blockade = levels.get("checkpoint_blockade", jnp.zeros(()))
        return logistic_flow(
            state,
            duration,
            rate.reshape(state.shape) if rate.ndim else rate,
            self.carrying_capacity,
            log_kill=self.immune_kill_rate * blockade * duration,
            kills=kills,
            exposure=self._exposure().reshape(state.shape),
        )

    def spread(self, state, steps, duration, diffuse):
        # The stress is that at the start of the step: the density changes little by diffusion in one.
        resistance = self.resistance(state.reshape(self.domain.shape))
        return diffuse(with_resistance(steps, resistance), state)

    def _exposure(self) -> Float[Array, "*grid"]:
        """C(x): what of the drugs comes to a voxel, relative to the mean over the breast."""
        return self.domain.maps.get("drug_distribution", jnp.ones(self.domain.shape))


def _block_mean(field: Float[Array, "*grid"], factors: tuple[int, ...]) -> Float[Array, "*coarse"]:
    """Means over blocks of voxels; a grid that is no multiple of a block is filled up with zeros."""
    field = jnp.pad(field, [(0, -n % f) for n, f in zip(field.shape, factors, strict=True)])
    split = [part for n, f in zip(field.shape, factors, strict=True) for part in (n // f, f)]
    return field.reshape(split).mean(axis=tuple(range(1, 2 * field.ndim, 2)))
