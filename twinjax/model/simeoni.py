"""Xenograft growth whose killed cells vanish through transit compartments (Simeoni et al. 2004)."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from twinjax.core.errors import InputError
from twinjax.model.model import AbstractLumpedModel


class Simeoni(AbstractLumpedModel):
    """dx_1/dt = lambda_0 x_1 / (1 + (lambda_0 V / lambda_1)^psi)^(1 / psi) - kill x_1, and with k = k_1

        dx_2/dt = kill x_1 - k x_2,   dx_3/dt = k (x_2 - x_3),   dx_4/dt = k (x_3 - x_4),   V = x_1 + x_2 + x_3 + x_4

    Exponential growth that turns linear; cells that a drug has doomed still count until they have passed three
    compartments (Simeoni et al. 2004, Cancer Res 64:1094). The published kill is k_2 c(t) with the plasma
    concentration c: here it is the kill rate of the regimen. What a fraction of radiotherapy dooms goes the same way,
    which is our own choice.

    **Fields:** `exponential_rate` lambda_0 (1/day), `linear_rate_mm3` lambda_1 (mm³/day), `transit_rate` k_1 (1/day),
    `sharpness` psi. Defaults: the paclitaxel experiment of the paper, at 1 g = 1000 mm³. The state is (4,) in mm³.
    """

    exponential_rate: Float[Array, ""]
    linear_rate_mm3: Float[Array, ""]
    transit_rate: Float[Array, ""]
    sharpness: Float[Array, ""]

    def __init__(
        self,
        *,
        exponential_rate: ArrayLike = 0.273,
        linear_rate_mm3: ArrayLike = 814.0,
        transit_rate: ArrayLike = 0.968,
        sharpness: ArrayLike = 20.0,
    ):
        self.exponential_rate = jnp.asarray(exponential_rate, float)
        self.linear_rate_mm3 = jnp.asarray(linear_rate_mm3, float)
        self.transit_rate, self.sharpness = jnp.asarray(transit_rate, float), jnp.asarray(sharpness, float)

    @property
    def size_quantity(self):
        return "volume_mm3"

    def transport(self, open_tissue):
        if open_tissue is not None:
            raise InputError("a resection needs a model with space; leave it out of the regimen of this model")

    def vector_field(self, t, state, forcing):
        volume = jnp.sum(state)
        some = volume > 0
        # The power is 1e20 and more where growth is linear: kept as a logarithm, and finite where there is no tumour.
        ratio = self.exponential_rate * jnp.where(some, volume, 1.0) / self.linear_rate_mm3
        slowing = jnp.where(some, jnp.logaddexp(0.0, self.sharpness * jnp.log(ratio)) / self.sharpness, 0.0)
        doomed = forcing.kill_rate * state[0]
        passing = self.transit_rate * state[1:]
        growth = self.exponential_rate * state[0] * jnp.exp(-slowing) - doomed
        return jnp.concatenate([growth[None], jnp.append(doomed, passing[:-1]) - passing])

    def apply_survival(self, state, fraction):
        return state.at[0].set(fraction * state[0]).at[1].add((1 - fraction) * state[0])

    def cell_density(self, state):
        """Zero: this model has no carrying capacity, and no treatment that needs one acts on it."""
        return jnp.zeros_like(state[0])

    def initial_state(self, size):
        """`size`: mm³, all of it growing."""
        return jnp.append(jnp.asarray(size, float)[None], jnp.zeros(3))

    def quantities(self, state):
        """`volume_mm3`, the doomed cells included."""
        return {"volume_mm3": jnp.sum(state)}
