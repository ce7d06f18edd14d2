"""The proliferating fraction of a prostate tumour: a number or a field; a network is in `neural_fraction.py`."""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from twinjax.domain import Domain


class AbstractProliferatingFraction(eqx.Module):
    """phi(x, t) in [0, 1]: the share of the tumour cells that divide."""

    @abc.abstractmethod
    def __call__(self, domain: Domain, density: Array, day: Array) -> Array:
        """phi for a `density` on the grid of `domain` (or in flat order, and then so is phi) at `day`; or a scalar."""


class ConstantFraction(AbstractProliferatingFraction):
    """phi that does not change: a scalar, or a field on the grid."""

    value: Float[Array, "..."]

    def __init__(self, value: ArrayLike = 1.0):
        self.value = jnp.asarray(value, float)

    def __call__(self, domain, density, day):
        return self.value if self.value.ndim == 0 else self.value.reshape(density.shape)
