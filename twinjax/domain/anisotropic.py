"""The no-flux diffusion operator div(D grad u) for a diffusion tensor D in every voxel."""

import itertools
import math

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from twinjax.domain.diffusion import DiffusionOperator


def anisotropic_diffusion(
    tensor: Float[Array, "axes axes *grid"],
    mask: Bool[Array, "*grid"],
    spacing: tuple[float, ...],
    *,
    scale: ArrayLike = 1.0,
) -> DiffusionOperator:
    """div(D grad u) for a symmetric `tensor` (mm²/day, times `scale`) along the axes of the grid.

    The operator is the derivative of the energy -1/2 sum over voxels of g · D g. A voxel's gradient g is taken on two
    opposite corners, from the voxel to its neighbours there, as in the triads of Griffies et al. 1998 (J Phys Oceanogr
    28:805); of the pairs of corners that one is used which puts the cross terms between voxels along the fibre
    (Weickert 1998, Anisotropic Diffusion in Image Processing, section 3.4.2). Hence, for every positive semi-definite
    tensor, it is symmetric, negative semi-definite and conserves sum(u) to rounding; it is of second order on smooth
    tensors. The exchange with some diagonal neighbours may be negative, so a density may undershoot zero beside a jump;
    on grids of two axes not while the tensor in units of the grid is diagonally dominant.

    Between two voxels the diagonal of D is their harmonic mean, as in `DiffusionOperator`, and D is scaled with it by a
    congruence, which keeps it positive. Isotropic tensors give the operator of `DiffusionOperator` itself. At a wall g
    takes the value at which nothing flows through it (the Schur complement of D).

    The result has a face for every neighbour that is coupled: 3 axes and 6 diagonals on a grid of three axes.
    """
    axes = mask.ndim
    diffusion = jnp.where(mask, tensor, 0.0)
    strides = [math.prod(mask.shape[axis + 1 :]) for axis in range(axes)]
    pairs = list(itertools.combinations(range(axes), 2))
    directions = {axis: strides[axis] for axis in range(axes)}
    directions |= {(a, b, sign): strides[a] + sign * strides[b] for a, b in pairs for sign in (1, -1)}
    lead = max(directions.values())
    faces = {key: jnp.zeros(lead + mask.size, diffusion.dtype) for key in directions}

    def stored(weight, offset):
        """Laid out as a face of the voxel `offset` further in flat order."""
        return jnp.pad(weight.reshape(-1), (lead + offset, max(0, -offset)))[: lead + mask.size]

    # One of the two corners of a pair; its first sign is +.
    corners = [(1, *signs) for signs in itertools.product((1, -1), repeat=axes - 1)]
    flat = [sum((s[a] * s[b] * diffusion[a, b] / (spacing[a] * spacing[b]) for a, b in pairs), 0.0) for s in corners]
    best = jnp.argmin(jnp.stack(jnp.broadcast_arrays(*flat, jnp.zeros(mask.shape))[:-1]), axis=0)
    chosen = [jnp.asarray([corner[a] for corner in corners])[best] for a in range(axes)]
    for side in (1, -1):
        signs = [side * sign for sign in chosen]
        here = _corner_tensor(diffusion, signs)
        weights = [0.5 * here[a, a] / spacing[a] ** 2 for a in range(axes)]
        for a, b in pairs:
            # 2 x y = x² + y² - (x - y)² for the differences x and y to the two neighbours.
            cross = 0.5 * signs[a] * signs[b] * here[a, b] / (spacing[a] * spacing[b])
            weights[a], weights[b] = weights[a] + cross, weights[b] + cross
            for up, other in itertools.product((1, -1), repeat=2):
                lower = min(up * strides[a], other * strides[b])
                between = jnp.where((signs[a] == up) & (signs[b] == other), -cross, 0.0)
                faces[a, b, -up * other] += stored(between, lower)
        for a in range(axes):
            faces[a] += stored(jnp.where(signs[a] > 0, weights[a], 0.0), 0)
            faces[a] += stored(jnp.where(signs[a] < 0, weights[a], 0.0), -strides[a])
    return DiffusionOperator(tuple(faces.values()), jnp.asarray(scale, float), tuple(directions.values()))


def _corner_tensor(diffusion, signs) -> dict[tuple[int, int], Array]:
    """The tensor (upper triangle) on one corner of every voxel: with the means of the faces there, walls taken out."""
    axes = range(len(signs))
    walls, factors = [], []
    for a, sign in enumerate(signs):
        here = diffusion[a, a]
        there = jnp.where(sign > 0, _neighbour(here, a, 1), _neighbour(here, a, -1))
        total = here + there
        # Not `total > 0`, which would take NaN for a wall. Safe values keep the gradient finite at walls.
        empty = total <= 0
        ratio = jnp.where(empty, 0.0, 2 * there / jnp.where(empty, 1.0, total))
        wall = here * ratio <= 0
        walls.append(wall)
        factors.append(jnp.where(wall, 1.0, jnp.sqrt(jnp.where(wall, 1.0, ratio))))
    upper = [(b, c) for b in axes for c in axes if b <= c]
    tensor = {(b, c): factors[b] * factors[c] * diffusion[b, c] for b, c in upper}
    for a, wall in enumerate(walls):
        own = tensor[a, a]
        inverse = jnp.where(wall & (own > 0), 1 / jnp.where(own > 0, own, 1.0), 0.0)
        row = [tensor[min(a, b), max(a, b)] for b in axes]
        for b, c in upper:
            if a in (b, c):
                tensor[b, c] = jnp.where(wall, 0.0, tensor[b, c])
            else:
                tensor[b, c] = tensor[b, c] - row[b] * row[c] * inverse
    return tensor


def _neighbour(field, axis, sign):
    """The value of the next voxel along an axis, zero beyond the grid."""
    pad = [(0, 0)] * field.ndim
    pad[axis] = (0, 1) if sign > 0 else (1, 0)
    start = 1 if sign > 0 else 0
    padded = jnp.pad(field, pad)
    index = [slice(None)] * field.ndim
    index[axis] = slice(start, start + field.shape[axis])
    return padded[tuple(index)]
