"""Reaction-diffusion of tumour cells in brain tissue (Fisher-KPP)."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from twinjax.domain import DiffusionOperator, Domain
from twinjax.model.density import AbstractDensityModel
from twinjax.model.growth import AbstractGrowth, growth_law
from twinjax.model.model import placed, require_on_grid

# Of all models of infiltrating cells in the brain.
GLIOMA_LEAVES_OUT = (
    "The model sees infiltrating cells only: no mass effect, no vasogenic oedema, no pseudoprogression.",
)


class FisherKPP(AbstractDensityModel):
    """du/dt = div(D(x) grad u) + rho u (1 - u / K) - k(t) u on the tissue mask, zero flux at its wall.

    D(x) = D_w (w(x) + g(x) / r) with white- and grey-matter fractions w and g and the ratio r of their
    diffusivities (Swanson et al. 2000, Cell Prolif 33:317; Unkelbach et al. 2014, Phys Med Biol 59:747). The
    growth law is logistic (above) or Gompertz, rho u ln(K / u).

    **Fields:** `diffusivity` D_w (mm²/day; gliomas 0.02 to 1.3), `white_grey_ratio` r, `proliferation_rate` rho
    (1/day; 0.003 to 0.19), each of both also as a field on the grid, `carrying_capacity` K (fraction of the densest
    packing, 1), `growth`, `domain`.
    The state is the cell density u on the grid, in [0, K]. Ranges: Lipkova et al. 2019 (IEEE TMI 38:1875).
    """

    leaves_out: ClassVar = GLIOMA_LEAVES_OUT
    takes_fields: ClassVar = ("diffusivity", "proliferation_rate")
    domain: Domain
    diffusivity: Float[Array, "..."]
    white_grey_ratio: Float[Array, ""]
    proliferation_rate: Float[Array, "..."]
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
        self.domain = placed(domain, resolution_mm)
        self.diffusivity = jnp.asarray(diffusivity, float)
        self.white_grey_ratio = jnp.asarray(white_grey_ratio, float)
        self.proliferation_rate = jnp.asarray(proliferation_rate, float)
        self.carrying_capacity = jnp.asarray(carrying_capacity, float)
        self.growth = growth_law(growth)
        require_on_grid(self, self.domain)

    def on(self, domain: Domain) -> "FisherKPP":
        require_on_grid(self, domain)
        return eqx.tree_at(lambda model: model.domain, self, domain)

    def diffusivity_map(self) -> Float[Array, "*grid"]:
        """D(x) in mm²/day."""
        return self.diffusivity * self._relative_diffusivity()

    def _relative_diffusivity(self) -> Float[Array, "*grid"]:
        return self.domain.white_matter + self.domain.grey_matter / self.white_grey_ratio

    def transport(self, open_tissue):
        mask = self.domain.open_mask(open_tissue)
        return DiffusionOperator.create(self._relative_diffusivity(), mask, self.domain.spacing, scale=self.diffusivity)

    def vector_field(self, t, state, forcing):
        return self.reaction(state, forcing.kill_rate) + forcing.transport(state)

    def reaction(self, density, kill_rate):
        growth = self.growth.growth(density, self.proliferation_rate, self.carrying_capacity)
        return growth - kill_rate * density

    def reaction_flow(self, state, duration, kills, levels):
        return self.growth.flow(state, duration, self._rate(state), self.carrying_capacity, kills=kills)

    def _rate(self, state):
        """The rate of proliferation, in the order of the state."""
        rate = self.proliferation_rate
        return rate.reshape(state.shape) if rate.ndim else rate

    def spread(self, state, steps, duration, diffuse):
        return diffuse(steps, state)
