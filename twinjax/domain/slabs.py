"""A grid split along its first axis into slabs, one on each of several devices.

The program as a whole is written for whole arrays, and XLA keeps their slabs where they are. Only a pass that reads
neighbours is written for one slab (`jax.shard_map`): it gets the planes beyond its ends from the devices that have
them. So nothing but that differs from one device, and the derivative rules of the passes are those of one device.

In flat order a slab is a contiguous piece of the last axis.
"""

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from twinjax.domain.execution import SLAB, Execution


def with_copies(face: Float[Array, " padded"], lead: int, execution: Execution) -> Float[Array, " copied"]:
    """`face` (`lead` zeros and one entry a voxel) with, before each slab, the `lead` entries before it.

    Both slabs beside a face then have it, which is what every pass takes for granted.
    """
    if execution.mesh is None:
        return face

    def copied(face):
        return jnp.concatenate([_received(face[-lead:], 1), face])

    voxels = jax.lax.with_sharding_constraint(face[lead:], execution.sharding(0))
    return in_slabs(copied, execution)(voxels)


def _received(x, shift: int):
    """What the device `shift` slabs before this one sends as `x`; zeros where there is none."""
    slabs = jax.lax.axis_size(SLAB)
    pairs = [(slab, slab + shift) for slab in range(slabs) if 0 <= slab + shift < slabs]
    return jax.lax.ppermute(x, SLAB, pairs)


def with_halo(u: Float[Array, "... voxels"], lead: int) -> Float[Array, "... padded"]:
    """Within `in_slabs`: the slab between the `lead` voxels before and after it; zeros beyond the grid."""
    return jnp.concatenate([_received(u[..., -lead:], 1), u, _received(u[..., :lead], -1)], axis=-1)


def in_slabs(evaluate, execution: Execution, scalar: int | None = None):
    """`evaluate` for whole arrays, split along their last axis; the operand at `scalar` has none and is not split."""
    if execution.mesh is None:
        return evaluate

    def whole(*operands):
        split = [P(*[None] * (x.ndim - 1), SLAB) for x in operands]
        if scalar is not None:
            split[scalar] = P()
        leading = max(len(spec) for spec in split)
        # The type of an array would say over which devices it varies; the primitives' types do not.
        return jax.shard_map(
            evaluate,
            mesh=execution.mesh,
            in_specs=tuple(split),
            out_specs=P(*[None] * (leading - 1), SLAB),
            check_vma=False,
        )(*operands)

    return whole
