"""A stage of diffusion as a Pallas kernel for GPUs: nothing is read or written but the fields themselves.

What XLA makes of `twinjax.domain.flux` is the reference; the derivative rules there serve both.
"""

import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import Array, Float

# Voxels of a block, and the groups of 32 threads that share them: each thread has two. Of those tried the quickest on
# grids of a third of a million to seven million voxels (NVIDIA H200).
BLOCK = 512
WARPS = 8


def stage(
    faces: list[Float[Array, "... padded"]],
    source: Float[Array, "... around"],
    strides: tuple[int, ...],
    lead: int,
    *,
    base: Float[Array, "... voxels"] | None = None,
    weight: float = 1.0,
    interpret: bool = False,
) -> Float[Array, "... voxels"]:
    """`base` (none: zero) plus `weight` times the flux divergence of `source`, in flat order.

    `faces` as in `DiffusionOperator.faces`, with `lead` entries in front. `source` has the voxels alone, beyond which
    nothing is read, or `lead` more before and behind them. `interpret`: without a GPU, slowly.
    """
    operands = [*faces, source] if base is None else [*faces, source, base]
    one = functools.partial(_stage, count=len(faces), strides=strides, lead=lead, weight=weight, interpret=interpret)
    if max(x.ndim for x in operands) == 1:
        return one(*operands)
    sizes = [*["(p)"] * len(faces), "(s)", *["(n)"] * (base is not None)]
    return jnp.vectorize(one, signature=f"{','.join(sizes)}->(n)")(*operands)


def _stage(*operands, count, strides, lead, weight, interpret):
    source, *base = operands[count:]
    size = operands[0].size - lead
    shift = (source.size - size) // 2

    def kernel(*refs):
        *inputs, out = refs
        here = pl.program_id(0) * BLOCK + jnp.arange(BLOCK, dtype=jnp.int32)
        inside = here < size

        def read(ref, offset, within=inside):
            return plgpu.load(ref.at[here + offset], mask=within, other=0.0)

        u, change = inputs[count], 0.0
        centre = read(u, shift)
        for face, stride in zip(inputs[:count], strides, strict=True):
            above = inside if shift else inside & (here < size - stride)
            below = inside if shift else inside & (here >= stride)
            change = change + read(face, lead) * (read(u, shift + stride, above) - centre)
            change = change + read(face, lead - stride) * (read(u, shift - stride, below) - centre)
        change = weight * change
        plgpu.store(out.at[here], change + read(inputs[-1], 0) if base else change, mask=inside)

    return pl.pallas_call(
        kernel,
        out_shape=jax.ShapeDtypeStruct((size,), source.dtype),
        grid=(pl.cdiv(size, BLOCK),),
        compiler_params=plgpu.CompilerParams(num_warps=WARPS),
        interpret=interpret,
        name="diffusion_stage",
    )(*operands)
