"""The box of a grid that holds all cells there are, with static shapes: what lies outside is not solved.

Shapes are fixed when a program is compiled, so a box is one of few sizes, placed where the cells are at run time.
"""

import math

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir
from jaxtyping import Array, Bool, Int, PyTree

# The smallest box, and how much larger than it a grid has to be: below, boxes cost more than they save.
SMALLEST_BOX = 120_000
WORTHWHILE = 4
# Each size is compiled by itself.
MOST_SIZES = 6


def box_shapes(shape: tuple[int, ...], spacing: tuple[float, ...]) -> list[tuple[int, ...]]:
    """Boxes for a grid of `shape`, small to large, the grid itself not among them: cubes cut off at its ends.

    Volumes grow by one factor, of two or more; none for a grid of less than half a million voxels.
    """
    voxels = math.prod(shape)
    count = 0 if voxels < WORTHWHILE * SMALLEST_BOX else min(MOST_SIZES, math.floor(math.log2(voxels / SMALLEST_BOX)))
    shapes = []
    for number in range(count):
        target = SMALLEST_BOX * (voxels / SMALLEST_BOX) ** (number / count)
        low, high = 0.0, max(n * h for n, h in zip(shape, spacing, strict=True))
        for _ in range(50):
            edge = (low + high) / 2
            box = tuple(min(n, max(1, round(edge / h))) for n, h in zip(shape, spacing, strict=True))
            low, high = (edge, high) if math.prod(box) < target else (low, edge)
        shapes.append(box)
    return list(dict.fromkeys(shapes))


def bounds(occupied: Bool[Array, "*grid"]) -> tuple[Int[Array, " axes"], Int[Array, " axes"]]:
    """(lower, upper), one behind the last, of the smallest box that holds all True voxels; of a batch, of all.

    Without any True voxel the box is a single one at the origin.
    """
    lower, upper = [], []
    # The rows of the last axis first: what is left is small.
    rows = occupied.any(-1)
    for axis in range(occupied.ndim):
        if axis == occupied.ndim - 1:
            line = occupied.any(range(axis))
        else:
            line = rows.any([a for a in range(rows.ndim) if a != axis])
        last = line.size - 1 - jnp.argmax(line[::-1])
        lower.append(-largest_of_batch(-jnp.argmax(line)))
        upper.append(largest_of_batch(jnp.where(line.any(), last, 0)) + 1)
    return jnp.stack(lower), jnp.stack(upper)


def cut(tree: PyTree, shape: tuple[int, ...], lower, box: tuple[int, ...]) -> PyTree:
    """Every leaf of the grid's `shape` cut to the `box` at `lower`; other leaves as they are."""
    return jax.tree.map(
        lambda leaf: jax.lax.dynamic_slice(leaf, lower, box) if jnp.shape(leaf) == shape else leaf, tree
    )


def edge_maximum(u: Array, lower, box: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    """The largest value of `u` (on the box) on those faces of the box that are not faces of the grid."""
    largest = jnp.zeros((), u.dtype)
    for axis, (n, m) in enumerate(zip(box, shape, strict=True)):
        if n < m:
            first, last = (jnp.max(jax.lax.index_in_dim(u, i, axis)) for i in (0, n - 1))
            largest = jnp.maximum(largest, jnp.where(lower[axis] > 0, first, 0))
            largest = jnp.maximum(largest, jnp.where(lower[axis] + n < m, last, 0))
    return largest


def largest_of_batch(x: Array) -> Array:
    """`x` itself; in a batch the largest, one for all, so that a branch upon it stays a branch."""
    return _largest_p.bind(x)


_largest_p = Primitive("largest_of_the_batch")
_largest_p.def_impl(lambda x: x)
_largest_p.def_abstract_eval(lambda x: ShapedArray(x.shape, x.dtype))
mlir.register_lowering(_largest_p, mlir.lower_fun(lambda x: x, multiple_results=False))


def _batch(operands, dimensions):
    return _largest_p.bind(jnp.max(operands[0], dimensions[0])), None


batching.primitive_batchers[_largest_p] = _batch
