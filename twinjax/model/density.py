"""Models whose state is the density of one kind of cell."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from twinjax.model.model import AbstractReactionDiffusionModel


class AbstractDensityModel(AbstractReactionDiffusionModel):
    """The state is the cell density on the grid.

    **Fields:** `diffusivity` (mm²/day), the largest in the tissue, and `proliferation_rate` (1/day), each a scalar or
    a field on the grid where `takes_fields` names it.
    """

    diffusivity: eqx.AbstractVar[Float[Array, "..."]]
    proliferation_rate: eqx.AbstractVar[Float[Array, "..."]]

    @property
    def local(self):
        return True

    def apply_survival(self, state, fraction):
        return state * fraction

    def cell_density(self, state):
        return state

    def initial_state(self, size):
        return size

    def quantities(self, state):
        """`cell_volume_mm3`: the volume that the cells would fill if packed densely."""
        return {"cell_volume_mm3": jnp.sum(state) * self.domain.voxel_volume}

    def reach(self, duration):
        return front_reach(self.diffusivity, self.proliferation_rate, duration)

    @property
    def front_speed(self) -> Array:
        """Speed of the travelling front where cells move fastest, 2 sqrt(D rho), mm/day (Fisher 1937)."""
        return 2 * jnp.sqrt(self.diffusivity * self.proliferation_rate)

    @property
    def front_width(self) -> Array:
        """Width sqrt(D / rho) of that front, mm."""
        return jnp.sqrt(self.diffusivity / self.proliferation_rate)


def front_reach(diffusivity, proliferation_rate, duration) -> Array:
    """How far (mm) a front comes in `duration` days, and ahead of it four standard deviations of diffusion."""
    spread = jnp.max(diffusivity) * duration
    # Kept from zero, where the derivative of a root is infinite.
    rate = jnp.maximum(jnp.max(proliferation_rate), 1e-12)
    return 2 * jnp.sqrt(spread * rate * duration) + 4 * jnp.sqrt(2 * spread)
