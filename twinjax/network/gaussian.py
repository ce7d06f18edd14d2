"""A small network whose value is normal a priori, with a deviation that is stated."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Float

from twinjax.core.errors import InputError
from twinjax.core.products import product
from twinjax.network.adapter import Network

# Slope of the tanh units in the box of inputs, whose edge is 2, and by how much a weight of the hidden layer may move;
# our own choice.
STEEPNESS, HIDDEN_SPREAD = 2.0, 1.0


class UnitFeatures(nnx.Module):
    """`width` tanh units, with their middles in the box [-1, 1]^inputs, and a 1: a vector of length 1 for every input.

    Takes (..., inputs) and gives (..., width + 1).
    """

    def __init__(self, inputs: int, *, width: int, rngs: nnx.Rngs):
        kernel = STEEPNESS / np.sqrt(inputs) * jax.random.normal(rngs.params(), (inputs, width), float)
        middle = jax.random.uniform(rngs.params(), (inputs, width), float, -1.0, 1.0)
        self.hidden = nnx.Linear(inputs, width, param_dtype=float, precision="highest", rngs=rngs)
        self.hidden.kernel, self.hidden.bias = nnx.Param(kernel), nnx.Param(-jnp.sum(kernel * middle, axis=0))

    def __call__(self, x: jax.Array) -> jax.Array:
        units = jnp.tanh(self.hidden(x))
        length = jnp.sqrt(1 + jnp.sum(units**2, axis=-1, keepdims=True))
        return jnp.concatenate([units, jnp.ones_like(length)], axis=-1) / length


class GaussianNetwork(eqx.Module):
    """f(x) = s w · phi(x; h), |phi| = 1: with standard normal w, f(x) ~ N(0, s²) at every x, whatever h is.

    A prior on weights that means something of the function: the features are divided by their length, as `CosineField`
    divides by its deviation. f(x) and f(x') are correlated by phi · phi'. With w alone learned f is linear in what is
    learned, and its prior a Gaussian process of `width` + 1 functions.

    What a cohort has learned of w (`knowing`) takes the place of the standard normal: w = center + root z.

    **Fields:** `features`, a Flax NNX `UnitFeatures` as it was begun; `hidden`, how far its weights have moved, in
    units of `HIDDEN_SPREAD`; `last`, z; `center` and `root`, 0 and 1 until something is known; `deviation` s. `hidden`
    and `last` are one number a weight, standard normal a priori, and 0 before training: f is 0 then, or what is known.
    """

    features: Network
    hidden: tuple[Float[Array, ""], ...]
    last: tuple[Float[Array, ""], ...]
    center: Float[Array, " last"]
    root: Float[Array, "last last"]
    deviation: Float[Array, ""]

    def __init__(self, inputs: int, *, deviation: float, width: int = 8, seed: int = 0):
        if not (np.isfinite(deviation) and deviation >= 0):
            raise InputError(f"deviation must be a number >= 0, got {deviation}")
        if width < 1:
            raise InputError(f"width must be at least 1, got {width}")
        self.features = Network(UnitFeatures(inputs, width=width, rngs=nnx.Rngs(seed)))
        moved = ravel_pytree(self.features.weights)[0].size
        self.hidden = tuple(jnp.zeros((), float) for _ in range(moved))
        self.last = tuple(jnp.zeros((), float) for _ in range(width + 1))
        self.center, self.root = jnp.zeros(width + 1, float), jnp.eye(width + 1, dtype=float)
        self.deviation = jnp.asarray(deviation, float)

    def knowing(
        self, center: Float[ArrayLike, " last"], covariance: Float[ArrayLike, "last last"]
    ) -> "GaussianNetwork":
        """The same network where z, of this one, is known to be normal with that mean and covariance."""
        here = self.center + product(self.root, jnp.asarray(center))
        root = product(self.root, jnp.linalg.cholesky(jnp.asarray(covariance)))
        return eqx.tree_at(lambda network: (network.center, network.root), self, (here, root))

    def __call__(self, x: Float[Array, "*points inputs"]) -> Float[Array, "*points"]:
        begun, unravel = ravel_pytree(self.features.weights)
        weights = unravel(begun + HIDDEN_SPREAD * jnp.stack(self.hidden))
        features = eqx.tree_at(lambda network: network.weights, self.features, weights)(x)
        return self.deviation * jnp.sum(features * (self.center + product(self.root, jnp.stack(self.last))), axis=-1)
