"""Tumour volume without space: logistic or Gompertz growth under treatment."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from twinjax.core.errors import InputError
from twinjax.model.closed_form import AbstractClosedFormModel
from twinjax.model.growth import AbstractGrowth, growth_law


class VolumeModel(AbstractClosedFormModel):
    """dV/dt = V g(V) - (k(t) + delta b(t)) V, with g of logistic growth, rho (1 - V / K), or Gompertz, rho ln(K / V).

    k is the kill rate of drugs and b the level of the action `checkpoint_blockade`; radiotherapy is an impulse. With
    Gompertz growth this is the continuous form of the lung model of Geng et al. 2017 (Sci Rep 7:13542), whose daily
    map V(t + 1) = V(t) [1 + rho ln(K / V) - beta_c C - alpha d - beta d²] has no checkpoint term: delta is our own.

    **Fields:** `proliferation_rate` rho (1/day), `carrying_capacity_mm3` K (Geng: a sphere of 30 cm), `growth`,
    `checkpoint_kill_rate` delta (1/day at full blockade). The state is the volume in mm³: a scalar, or (lesions,) for
    several lesions that share the parameters and the treatment.
    """

    proliferation_rate: Float[Array, ""]
    carrying_capacity_mm3: Float[Array, ""]
    checkpoint_kill_rate: Float[Array, ""]
    growth: AbstractGrowth

    def __init__(
        self,
        *,
        proliferation_rate: ArrayLike = 0.001,
        carrying_capacity_mm3: ArrayLike = 14_137_167.0,
        checkpoint_kill_rate: ArrayLike = 0.0,
        growth: str | AbstractGrowth = "gompertz",
    ):
        self.proliferation_rate = jnp.asarray(proliferation_rate, float)
        self.carrying_capacity_mm3 = jnp.asarray(carrying_capacity_mm3, float)
        self.checkpoint_kill_rate = jnp.asarray(checkpoint_kill_rate, float)
        self.growth = growth_law(growth)

    @property
    def size_quantity(self):
        return "volume_mm3"

    def transport(self, open_tissue):
        if open_tissue is not None:
            raise InputError("a resection needs a model with space; leave it out of the regimen of a volume model")

    def vector_field(self, t, state, forcing):
        kill_rate = forcing.kill_rate + self.checkpoint_kill_rate * forcing.level("checkpoint_blockade")
        return self.growth.growth(state, self.proliferation_rate, self.carrying_capacity_mm3) - kill_rate * state

    def untreated(self, state, elapsed):
        return self.growth.untreated(state, elapsed, self.proliferation_rate, self.carrying_capacity_mm3)

    def apply_survival(self, state, fraction):
        return state * fraction

    def cell_density(self, state):
        return state / self.carrying_capacity_mm3

    def initial_state(self, size):
        """`size`: mm³, a scalar or (lesions,)."""
        return size

    def quantities(self, state):
        """`volume_mm3`, over all lesions, and `sum_of_diameters_mm` (RECIST); of one lesion its `diameter_mm` too."""
        diameters = sphere_diameter(state)
        found = {"volume_mm3": jnp.sum(state), "sum_of_diameters_mm": jnp.sum(diameters)}
        return found | {"diameter_mm": diameters} if diameters.ndim == 0 else found


def sphere_diameter(volume_mm3: ArrayLike) -> Array:
    """d = (6 V / pi)^(1/3) in mm, with a gradient of zero where there is no tumour."""
    volume = jnp.asarray(volume_mm3, float)
    some = volume > 0
    return jnp.where(some, jnp.cbrt(6 * jnp.where(some, volume, 1.0) / jnp.pi), 0.0)


def sphere_volume(diameter_mm: ArrayLike) -> Array:
    """V = pi d³ / 6 in mm³."""
    return jnp.pi / 6 * jnp.asarray(diameter_mm, float) ** 3
