"""PirateNet: a network for the solution of a differential equation."""

import jax
import jax.numpy as jnp
from flax import nnx

from twinjax.core.products import product
from twinjax.network.adapter import Network

# Of the logarithms of the scales that a factorised kernel begins with (Wang et al. 2022, arXiv 2210.01274).
SCALE_MEAN, SCALE_DEVIATION = 0.5, 0.1


class FactorisedLinear(nnx.Module):
    """x V diag(exp(s)) + b, begun as a kernel of Glorot's: random weight factorisation (Wang et al. 2022)."""

    def __init__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs):
        kernel = nnx.initializers.glorot_normal()(rngs.params(), (inputs, outputs), float)
        scale = SCALE_MEAN + SCALE_DEVIATION * jax.random.normal(rngs.params(), (outputs,), float)
        self.log_scale, self.kernel = nnx.Param(scale), nnx.Param(kernel / jnp.exp(scale))
        self.bias = nnx.Param(jnp.zeros(outputs, float))

    def __call__(self, x: jax.Array) -> jax.Array:
        return product(x, self.kernel[...] * jnp.exp(self.log_scale[...])) + self.bias[...]


class PirateBlock(nnx.Module):
    """Three gated layers and a skip around them, whose share alpha begins at 0: the block is the identity then."""

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        self.layers = nnx.List([FactorisedLinear(width, width, rngs=rngs) for _ in range(3)])
        self.alpha = nnx.Param(jnp.zeros((), float))

    def __call__(self, x: jax.Array, one: jax.Array, other: jax.Array) -> jax.Array:
        first, second, last = self.layers
        h = x
        for layer in (first, second):
            gate = jnp.tanh(layer(h))
            h = gate * one + (1 - gate) * other
        return self.alpha[...] * jnp.tanh(last(h)) + (1 - self.alpha[...]) * x


class PirateNet(nnx.Module):
    """Random Fourier features, gates as in the modified MLP, residual blocks whose depth grows in training.

    Wang, Li, Chen and Perdikaris 2024 (arXiv 2402.00326), equations 4.1 to 4.7. Takes (..., inputs), each of order one,
    and gives (...,), which is 0 for every input until it is trained; `frequency` is the standard deviation of the
    Fourier features' wave numbers, which are trained too.
    """

    def __init__(self, inputs: int, *, width: int, blocks: int, frequency: float, rngs: nnx.Rngs):
        self.waves = nnx.Param(frequency * jax.random.normal(rngs.params(), (inputs, width // 2), float))
        self.one, self.other = (FactorisedLinear(2 * (width // 2), width, rngs=rngs) for _ in range(2))
        self.first = FactorisedLinear(2 * (width // 2), width, rngs=rngs)
        self.blocks = nnx.List([PirateBlock(width, rngs=rngs) for _ in range(blocks)])
        self.last, self.offset = nnx.Param(jnp.zeros(width, float)), nnx.Param(jnp.zeros((), float))

    def __call__(self, x: jax.Array) -> jax.Array:
        phase = product(x, self.waves[...])
        embedded = jnp.concatenate([jnp.cos(phase), jnp.sin(phase)], axis=-1)
        one, other = jnp.tanh(self.one(embedded)), jnp.tanh(self.other(embedded))
        h = jnp.tanh(self.first(embedded))
        for block in self.blocks:
            h = block(h, one, other)
        return product(h, self.last[...]) + self.offset[...]


def pirate_net(inputs: int, *, width: int = 16, blocks: int = 1, frequency: float = 1.0, seed: int = 0) -> Network:
    """A `PirateNet` whose weights are leaves, begun from `seed`."""
    return Network(PirateNet(inputs, width=width, blocks=blocks, frequency=frequency, rngs=nnx.Rngs(seed)))
