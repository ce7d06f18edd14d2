"""The proliferating fraction as a network inside the model: what drives growth where nothing else is known."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.model.proliferating_fraction import AbstractProliferatingFraction
from twinjax.network import Network, perceptron

# Axes of space, then day, density and perfusion.
OTHER_INPUTS = 3


class NeuralFraction(AbstractProliferatingFraction):
    """phi = sigmoid(net(x, y, z, t, c, perfusion)), 1/2 everywhere before training.

    Inputs are brought to order one: the position relative to the middle and the half-width of the gland, the day
    relative to `time_scale`; density and perfusion (1 where it is not known) are that already.

    Camacho-Gomez et al. 2025 (npj Digit Med, s41746-025-01890-x) put a network for phi into the growth term; its inputs
    and shape here (4 layers of 64 tanh units) are our own choice.

    **Fields:** `network`; `center`, `half_width` (mm, one per axis), `time_scale` (days), which are not trained.
    """

    network: Network
    center: Float[Array, " axes"]
    half_width: Float[Array, " axes"]
    time_scale: Float[Array, ""]

    def __init__(self, domain: Domain, *, time_scale: float, seed: int = 0, width: int = 64, depth: int = 4):
        """For a gland of this `domain`; `time_scale` is the length of the course in days."""
        if not (np.isfinite(time_scale) and time_scale > 0):
            raise InputError(f"time_scale must be a positive number of days, got {time_scale}")
        position = np.asarray(domain.coordinates())[:, np.asarray(domain.mask)]
        lower, upper = position.min(axis=1), position.max(axis=1)
        self.center = jnp.asarray((lower + upper) / 2, float)
        self.half_width = jnp.asarray(np.maximum((upper - lower) / 2, min(domain.spacing)), float)
        self.time_scale = jnp.asarray(time_scale, float)
        inputs = position.shape[0] + OTHER_INPUTS
        self.network = perceptron(inputs, width=width, depth=depth, seed=seed)

    def __call__(self, domain, density, day):
        position = domain.coordinates().reshape(self.center.size, -1).T
        position = (position - self.center) / self.half_width
        perfusion = domain.maps.get("perfusion", jnp.ones(domain.shape))
        others = [jnp.full(density.size, day / self.time_scale), density.ravel(), perfusion.ravel()]
        inputs = jnp.concatenate([position, jnp.stack(others, axis=1)], axis=1)
        return jax.nn.sigmoid(self.network(inputs)).reshape(density.shape)


def trained_part(fraction: AbstractProliferatingFraction) -> AbstractProliferatingFraction:
    """True at the leaves that training moves, False at all others: a filter for `eqx.partition`."""
    still = jax.tree.map(lambda _: False, fraction)
    if not isinstance(fraction, NeuralFraction):
        return jax.tree.map(eqx.is_inexact_array, fraction)
    return eqx.tree_at(lambda f: f.network, still, jax.tree.map(eqx.is_inexact_array, fraction.network))
