"""Reaction-diffusion of tumour cells in brain tissue (Fisher-KPP)."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from twinjax.core.errors import InputError
from twinjax.domain import DiffusionOperator, Domain
from twinjax.model.growth import AbstractGrowth, growth_law
from twinjax.model.model import AbstractReactionDiffusionModel


class FisherKPP(AbstractReactionDiffusionModel):
    """du/dt = div(D(x) grad u) + rho u (1 - u / K) - k(t) u on the tissue mask, zero flux at its wall.

    D(x) = D_w (w(x) + g(x) / r) with white- and grey-matter fractions w and g and the ratio r of their
    diffusivities (Swanson et al. 2000, Cell Prolif 33:317; Unkelbach et al. 2014, Phys Med Biol 59:747). The
    growth law is logistic (above) or Gompertz, rho u ln(K / u).

    **Fields:** `diffusivity` D_w (mm²/day; gliomas 0.02 to 1.3), `white_grey_ratio` r, `proliferation_rate` rho
    (1/day; 0.003 to 0.19), `carrying_capacity` K (fraction of the densest packing, 1), `growth`, `domain`.
    The state is the cell density u on the grid, in [0, K]. Ranges: Lipkova et al. 2019 (IEEE TMI 38:1875).
    """

    domain: Domain
    diffusivity: Float[Array, ""]
    white_grey_ratio: Float[Array, ""]
    proliferation_rate: Float[Array, ""]
    carrying_capacity: Float[Array, ""]
    growth: AbstractGrowth

    def __init__(
        self,
        domain: Domain,
        *,
        resolution_mm: float | None = None,
        diffusivity: ArrayLike = 0.1,
        white_grey_ratio: ArrayLike = 10.0,
        proliferation_rate: ArrayLike = 0.03,
        carrying_capacity: ArrayLike = 1.0,
        growth: str | AbstractGrowth = "logistic",
    ):
        """`resolution_mm` brings the domain to an isotropic grid of that voxel edge first."""
        if not isinstance(domain, Domain):
            raise InputError(f"domain must be a twinjax Domain, got {type(domain).__name__}; see Domain.from_tissue")
        self.domain = domain if resolution_mm is None else domain.resampled(resolution_mm)
        self.diffusivity = jnp.asarray(diffusivity, float)
        self.white_grey_ratio = jnp.asarray(white_grey_ratio, float)
        self.proliferation_rate = jnp.asarray(proliferation_rate, float)
        self.carrying_capacity = jnp.asarray(carrying_capacity, float)
        self.growth = growth_law(growth)

    @property
    def local(self):
        return True

    def on(self, domain: Domain) -> "FisherKPP":
        return eqx.tree_at(lambda model: model.domain, self, domain)

    def diffusivity_map(self) -> Float[Array, "*grid"]:
        """D(x) in mm²/day."""
        return self.diffusivity * self._relative_diffusivity()

    def _relative_diffusivity(self) -> Float[Array, "*grid"]:
        return self.domain.white_matter + self.domain.grey_matter / self.white_grey_ratio

    def transport(self, open_tissue):
        mask = self.domain.mask if open_tissue is None else self.domain.mask & (open_tissue > 0.5)
        return DiffusionOperator.create(self._relative_diffusivity(), mask, self.domain.spacing, scale=self.diffusivity)

    def vector_field(self, t, state, forcing):
        return self.reaction(state, forcing.kill_rate) + forcing.transport(state)

    def reaction(self, density, kill_rate):
        growth = self.growth.growth(density, self.proliferation_rate, self.carrying_capacity)
        return growth - kill_rate * density

    def reaction_flow(self, state, duration, kills, levels):
        return self.growth.flow(state, duration, self.proliferation_rate, self.carrying_capacity, kills=kills)

    def spread(self, state, steps, duration, diffuse):
        return diffuse(steps, state)

    def reach(self, duration):
        # The front, and ahead of it four standard deviations of diffusion.
        spread = self.diffusivity * duration
        return 2 * jnp.sqrt(spread * self.proliferation_rate * duration) + 4 * jnp.sqrt(2 * spread)

    def apply_survival(self, state, fraction):
        return state * fraction

    def cell_density(self, state):
        return state

    def initial_state(self, size):
        return size

    def quantities(self, state):
        return {"cell_volume_mm3": jnp.sum(state) * self.domain.voxel_volume}

    @property
    def front_speed(self) -> Array:
        """Speed of the travelling front in white matter, 2 sqrt(D rho), mm/day (Fisher 1937)."""
        return 2 * jnp.sqrt(self.diffusivity * self.proliferation_rate)

    @property
    def front_width(self) -> Array:
        """Width sqrt(D / rho) of the front in white matter, mm."""
        return jnp.sqrt(self.diffusivity / self.proliferation_rate)
