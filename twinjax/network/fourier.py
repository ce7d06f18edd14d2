"""A Fourier neural operator for equations of diffusion in a box without flux through its walls."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from twinjax.network.adapter import Network

# Widths (voxels) of the bells that a kernel is made of; the widest reaches across half a box of 24 voxels.
WIDTHS = (0.6, 1.0, 1.6, 2.5, 4.0, 6.5)
# Modes along each edge; the narrowest bells are cut there, and what is finer passes the blocks voxel by voxel.
MODES = 12
# Units of the layer that the scalars pass before they set kernels.
SCALAR_UNITS = 16


def cosines(size: int, modes: int) -> Float[np.ndarray, "mode place"]:
    """The first orthonormal cosines of `size` voxels between two walls without flux (DCT-II): rows are modes."""
    mode, place = np.arange(min(size, modes))[:, None], np.arange(size)[None] + 0.5
    waves = np.sqrt(2 / size) * np.cos(np.pi * mode * place / size)
    waves[0] /= np.sqrt(2)
    return waves


def filtered(
    fields: Float[Array, "x y z channels"], multipliers: Float[Array, "k l m channels"]
) -> Float[Array, "x y z channels"]:
    """Every channel with its modes multiplied, and without those that have no multiplier."""
    waves = [
        jnp.asarray(cosines(size, modes), fields.dtype)
        for size, modes in zip(fields.shape[:-1], multipliers.shape[:-1], strict=True)
    ]
    summed = partial(jnp.einsum, optimize=True, precision="highest")
    amplitudes = summed("xyzc,kx,ly,mz->klmc", fields, *waves)
    return summed("klmc,kx,ly,mz->xyzc", multipliers * amplitudes, *waves)


def bells(shape: tuple[int, ...]) -> Float[np.ndarray, "bells k l m"]:
    """exp(-(k s)² / 2) for each s of `WIDTHS` at the wave vectors k of `cosines`."""
    waves = np.meshgrid(*(np.pi * np.arange(min(n, MODES)) / n for n in shape), indexing="ij")
    square = sum(wave**2 for wave in waves)
    return np.exp(-0.5 * square * np.square(WIDTHS).reshape(-1, 1, 1, 1))


class FourierBlock(nnx.Module):
    """h + silu(W [K h, h, fields]): a kernel over the whole box, then what happens in each voxel by itself.

    K multiplies mode k of channel c by sum_j a_jc exp(-(k s_j)² / 2), with a_jc set by the scalars.
    """

    def __init__(self, width: int, fields: int, *, rngs: nnx.Rngs):
        self.kernel = _linear(SCALAR_UNITS, len(WIDTHS) * width, rngs)
        self.here = _linear(2 * width + fields, width, rngs)

    def __call__(self, h: jax.Array, fields: jax.Array, units: jax.Array, shapes: jax.Array) -> jax.Array:
        shares = self.kernel(units).reshape(len(WIDTHS), -1)
        spread = filtered(h, jnp.einsum("jklm,jc->klmc", shapes, shares, precision="highest"))
        return h + nnx.silu(self.here(jnp.concatenate([spread, h, fields], axis=-1)))


class FourierOperator(nnx.Module):
    """Li et al. 2021 (arXiv 2010.08895), with three changes that the equation suggests.

    The modes are cosines, those of diffusion between walls without flux, so that nothing wraps around. The multipliers
    depend on the length of the wave vector alone, not on its direction: what is computed turns and is mirrored with the
    grid, as the equation's solution, and few weights are left. And the scalars, which say how far and how fast, set
    the multipliers: a kernel's width is what they change.

    Takes fields (X, Y, Z, fields) and scalars (scalars,), each of order one, and gives (X, Y, Z, outputs), which are 0
    until it is trained. Any box; in vmap many.
    """

    def __init__(self, fields: int, scalars: int, outputs: int, *, width: int, blocks: int, rngs: nnx.Rngs):
        self.scalars = _linear(scalars, SCALAR_UNITS, rngs)
        self.lift = _linear(fields, width, rngs)
        self.blocks = nnx.List([FourierBlock(width, fields, rngs=rngs) for _ in range(blocks)])
        zeros = nnx.initializers.zeros_init()
        self.last = nnx.Linear(width, outputs, param_dtype=float, precision="highest", kernel_init=zeros, rngs=rngs)

    def __call__(self, fields: jax.Array, scalars: jax.Array) -> jax.Array:
        units = nnx.silu(self.scalars(scalars))
        shapes = jnp.asarray(bells(fields.shape[:-1]), fields.dtype)
        h = self.lift(fields)
        for block in self.blocks:
            h = block(h, fields, units, shapes)
        return self.last(h)


def fourier_operator(
    fields: int, scalars: int, outputs: int, *, width: int = 16, blocks: int = 4, seed: int = 0
) -> Network:
    """A `FourierOperator` whose weights are leaves, begun from `seed`."""
    return Network(FourierOperator(fields, scalars, outputs, width=width, blocks=blocks, rngs=nnx.Rngs(seed)))


def _linear(inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(inputs, outputs, param_dtype=float, precision="highest", rngs=rngs)
