"""A multilayer perceptron."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from twinjax.network.adapter import Network


class Perceptron(nnx.Module):
    """`depth` hidden layers of `width` tanh units and outputs that are 0 for every input until they are trained.

    Takes (..., inputs) and gives (...,), or (..., outputs) where their number is given.
    """

    def __init__(self, inputs: int, outputs: int | None = None, *, width: int = 64, depth: int = 4, rngs: nnx.Rngs):
        sizes, zeros = [inputs] + [width] * depth, nnx.initializers.zeros_init()
        layer = partial(nnx.Linear, param_dtype=float, precision="highest", rngs=rngs)
        self.hidden = nnx.List([layer(a, b) for a, b in itertools.pairwise(sizes)])
        self.outputs = outputs
        self.last = layer(sizes[-1], outputs or 1, kernel_init=zeros, bias_init=zeros)

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in self.hidden:
            x = jnp.tanh(layer(x))
        return self.last(x)[..., 0] if self.outputs is None else self.last(x)


def perceptron(inputs: int, outputs: int | None = None, *, width: int = 64, depth: int = 4, seed: int = 0) -> Network:
    """A `Perceptron` whose weights are leaves, begun from `seed`."""
    return Network(Perceptron(inputs, outputs, width=width, depth=depth, rngs=nnx.Rngs(seed)))
