"""Laboratory values and sizes: one number at an instant."""

import equinox as eqx
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, ArrayLike, Float

from twinjax.core.errors import InputError
from twinjax.observation.observation import AbstractObservation


class QuantityObservation(AbstractObservation):
    """The logarithm of a quantity that the model names, ln(q + offset), with normal noise.

    Sizes and concentrations scatter by a share of their value, over decades: hence the logarithm.

    **Fields:** `quantity`, a key of `AbstractTumorModel.quantities` (static); `noise_std` of the logarithm; `offset`
    in the unit of the quantity, which keeps values near zero (or below detection) finite.
    """

    quantity: str = eqx.field(static=True)
    noise_std: Float[Array, ""]
    offset: Float[Array, ""]

    def __init__(self, quantity: str, noise_std: ArrayLike, offset: ArrayLike = 0.0):
        self.quantity = quantity
        self.noise_std, self.offset = jnp.asarray(noise_std, float), jnp.asarray(offset, float)

    def predict(self, model, state):
        quantities = model.quantities(state)
        if self.quantity not in quantities:
            known = ", ".join(quantities)
            raise InputError(f"{type(model).__name__} does not predict '{self.quantity}'; it predicts {known}")
        return self.transform(quantities[self.quantity])

    def transform(self, value: ArrayLike) -> Array:
        """A measured value on the scale of `predict`."""
        # A tumour that is gone has a logarithm too.
        return jnp.log(jnp.maximum(jnp.asarray(value, float) + self.offset, 1e-12))

    def untransform(self, prediction: ArrayLike) -> Array:
        """Back to the unit of the quantity."""
        return jnp.exp(jnp.asarray(prediction, float)) - self.offset

    def noise(self, prediction):
        return dist.Normal(prediction, self.noise_std)
