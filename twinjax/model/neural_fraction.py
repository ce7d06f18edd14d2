"""The proliferating fraction as a network inside the model: what drives growth where nothing else is known."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from twinjax.core.errors import InputError
from twinjax.model.proliferating_fraction import AbstractProliferatingFraction
from twinjax.network import GaussianNetwork, Network, perceptron

# Axes of space, then day, density and perfusion.
OTHER_INPUTS = 3


class NeuralFraction(AbstractProliferatingFraction):
    """phi = sigmoid(net(x, y, z, t, c, perfusion)), 1/2 everywhere before training.

    Inputs are brought to order one: the position relative to the middle and the half-width of the gland, the day
    relative to `time_scale`; density and perfusion (1 where it is not known) are that already.

    Camacho-Gomez et al. 2025 (npj Digit Med, s41746-025-01890-x) put a network for phi into the growth term; its inputs
    and shape here (4 layers of 64 tanh units) are our own choice.

    **Fields:** `network`, a perceptron that `FractionTraining` trains unless another is given: the weights `last` of a
    `GaussianNetwork` are unknowns of a calibration, with ln(phi / (1 - phi)) ~ N(0, deviation²) a priori; `time_scale`
    (days), which is not trained.
    """

    network: Network | GaussianNetwork
    time_scale: Float[Array, ""]

    def __init__(
        self,
        *,
        time_scale: float,
        axes: int = 3,
        network: Network | GaussianNetwork | None = None,
        seed: int = 0,
        width: int = 64,
        depth: int = 4,
    ):
        """For a gland of so many `axes`; `time_scale` is the length of the course in days.

        `network`: one of `axes` + 3 inputs, in place of a new perceptron of `width` and `depth`.
        """
        if not (np.isfinite(time_scale) and time_scale > 0):
            raise InputError(f"time_scale must be a positive number of days, got {time_scale}")
        self.time_scale = jnp.asarray(time_scale, float)
        begun = perceptron(axes + OTHER_INPUTS, width=width, depth=depth, seed=seed) if network is None else network
        self.network = begun

    def __call__(self, domain, density, day):
        position = domain.coordinates().reshape(len(domain.shape), -1).T
        inside = domain.mask.reshape(-1, 1)
        lower = jnp.min(jnp.where(inside, position, jnp.inf), axis=0)
        upper = jnp.max(jnp.where(inside, position, -jnp.inf), axis=0)
        half_width = jnp.maximum((upper - lower) / 2, min(domain.spacing))
        position = (position - (lower + upper) / 2) / half_width
        perfusion = domain.maps.get("perfusion", jnp.ones(domain.shape))
        others = [jnp.full(density.size, day / self.time_scale), density.ravel(), perfusion.ravel()]
        inputs = jnp.concatenate([position, jnp.stack(others, axis=1)], axis=1)
        return jax.nn.sigmoid(self.network(inputs)).reshape(density.shape)


def trained_part(fraction: AbstractProliferatingFraction) -> AbstractProliferatingFraction:
    """True at the leaves that training moves, False at all others: a filter for `eqx.partition`."""
    still = jax.tree.map(lambda _: False, fraction)
    if not isinstance(fraction, NeuralFraction):
        return jax.tree.map(eqx.is_inexact_array, fraction)

    def moving(fraction):
        network = fraction.network
        return [network.hidden, network.last] if isinstance(network, GaussianNetwork) else [network]

    return eqx.tree_at(moving, still, jax.tree.map(eqx.is_inexact_array, moving(fraction)))
