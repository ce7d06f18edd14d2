"""Fisher-KPP in the clock of its own growth: for a single scan, which has no clock."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from twinjax.domain import Domain
from twinjax.model.fisher_kpp import FisherKPP
from twinjax.model.model import AbstractReactionDiffusionModel, placed


class UntimedFisherKPP(AbstractReactionDiffusionModel):
    """Fisher-KPP from seed (clock 0) to scan (clock 1), by lengths alone.

    One scan tells of diffusivity D, proliferation rho and age T only the width w = sqrt(D / rho) of the front
    and the growth length L = 2 sqrt(D rho) T (Konukoglu et al. 2010, IEEE TMI 29:77). In units of T they make
    D = L w / 2 and rho = L / (2 w).

    **Fields:** `front_width` w (mm; 1 to 8 in gliomas), `growth_length` L (mm), `white_grey_ratio`, `domain`.
    """

    domain: Domain
    front_width: Float[Array, ""]
    growth_length: Float[Array, ""]
    white_grey_ratio: Float[Array, ""]

    def __init__(
        self,
        domain: Domain,
        *,
        resolution_mm: float | None = None,
        front_width: ArrayLike = 3.0,
        growth_length: ArrayLike = 40.0,
        white_grey_ratio: ArrayLike = 10.0,
    ):
        self.domain = placed(domain, resolution_mm)
        self.front_width = jnp.asarray(front_width, float)
        self.growth_length = jnp.asarray(growth_length, float)
        self.white_grey_ratio = jnp.asarray(white_grey_ratio, float)

    @property
    def timed(self) -> FisherKPP:
        """The same tumour with rates per unit of the clock."""
        return FisherKPP(
            self.domain,
            diffusivity=self.growth_length * self.front_width / 2,
            proliferation_rate=self.growth_length / (2 * self.front_width),
            white_grey_ratio=self.white_grey_ratio,
        )

    def at_front_speed(self, speed: ArrayLike) -> FisherKPP:
        """With rates per day, for a front speed (mm/day) that is known from elsewhere."""
        return FisherKPP(
            self.domain,
            diffusivity=speed * self.front_width / 2,
            proliferation_rate=speed / (2 * self.front_width),
            white_grey_ratio=self.white_grey_ratio,
        )

    @property
    def local(self):
        return True

    def on(self, domain: Domain) -> "UntimedFisherKPP":
        return eqx.tree_at(lambda model: model.domain, self, domain)

    def transport(self, open_tissue: Array | None):
        return self.timed.transport(open_tissue)

    def vector_field(self, t, state, forcing):
        return self.timed.vector_field(t, state, forcing)

    def reaction(self, density, kill_rate):
        return self.timed.reaction(density, kill_rate)

    def reaction_flow(self, state, duration, kills, levels):
        return self.timed.reaction_flow(state, duration, kills, levels)

    def spread(self, state, steps, duration, diffuse):
        return self.timed.spread(state, steps, duration, diffuse)

    def reach(self, duration):
        return self.timed.reach(duration)

    def apply_survival(self, state, fraction):
        return self.timed.apply_survival(state, fraction)

    def cell_density(self, state):
        return state

    def initial_state(self, size):
        return size

    def quantities(self, state):
        return self.timed.quantities(state)
