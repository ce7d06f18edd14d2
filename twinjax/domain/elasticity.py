"""Quasi-static linear elasticity on the voxel grid: how tissue yields to a growing tumour.

Trilinear finite elements, one a voxel, whose operator is never assembled: the displacements of a voxel's corners are
gathered, multiplied by one constant matrix and the voxel's stiffness, and scattered back. Conjugate gradients solve
it, preconditioned by one cycle of multigrid; derivatives are those of the solution, not of the iterations.
"""

import itertools
import math
from functools import lru_cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.sparse.linalg import cg
from jaxtyping import Array, ArrayLike, Float

from twinjax.core.errors import InputError
from twinjax.core.products import product
from twinjax.domain.flux import materialise

# Poisson's ratio of breast and brain tissue in this field: nearly incompressible (Weis et al. 2013, Phys Med Biol
# 58:5851).
POISSON_RATIO = 0.45
# Keeps the derivative of the von Mises stress finite where there is none; in squared units of the load.
_SMALLEST_SQUARE = 1e-12
# Degrees of the Chebyshev smoother and, as a share of the largest, the smallest eigenvalue that it damps; likewise on
# the coarsest grid, where it is the solver. Chosen by timing.
_SMOOTH_DEGREE, _SMOOTH_SHARE = 2, 0.08
_COARSE_DEGREE, _COARSE_SHARE = 10, 0.02
# Grids are halved until an axis has fewer voxels than this.
_COARSEST = 6


class ElasticResponse(eqx.Module):
    """What an elastic tissue does under a load.

    **Fields:** `displacement` (axes, *nodes) mm at the corners of the voxels, one node more than voxels along every
    axis; `strain` (axes, axes, *grid) at the centres of the voxels; `von_mises` (*grid), the von Mises stress there in
    the unit of stiffness.
    """

    displacement: Float[Array, "axes *nodes"]
    strain: Float[Array, "axes axes *grid"]
    von_mises: Float[Array, "*grid"]

    @property
    def voxel_displacement(self) -> Float[Array, "axes *grid"]:
        """Displacement (mm) at the centres of the voxels: the mean of their corners."""
        mean = self.displacement
        for axis in range(1, mean.ndim):
            mean = (_slice(mean, axis, 0, -1) + _slice(mean, axis, 1, None)) / 2
        return mean


class ElasticTissue(eqx.Module):
    """div sigma(u) = grad p with sigma = lambda tr(eps) I + 2 G eps, eps = sym(grad u) and no displacement at the wall.

    lambda = E nu / ((1 + nu)(1 - 2 nu)), G = E / (2 (1 + nu)), with E the stiffness of each voxel. The pressure p is
    what cells exert, proportional to their density (Weis et al. 2013, Phys Med Biol 58:5851; Jarrett et al. 2021, Nat
    Protoc 16:5309). The wall, where tissue is held (u = 0, as there), is the boundary of the mask and of the grid;
    voxels outside the mask take no part. Held tissue has one solution whatever the mask looks like; skin left free
    would need the chest wall in every grid that is cut out around a tumour.

    Elements are those of the weak form: integral of sigma(u) : eps(v) = integral of p div(v), trilinear (bilinear and
    in plane strain on two axes, uniaxial strain on one), integrated exactly by Gauss points. Displacements are of
    second order in the voxel edge.

    **Fields:** `stiffness` E (*grid), in any unit, e.g. kPa, positive in the mask; `free` (*nodes), 1 where a node
    moves; `spacing` (mm, static); `poisson_ratio` nu (static); `tolerance`, the residual relative to the load (static).
    """

    stiffness: Float[Array, "*grid"]
    free: Float[Array, "*nodes"]
    spacing: tuple[float, ...] = eqx.field(static=True)
    poisson_ratio: float = eqx.field(static=True)
    tolerance: float = eqx.field(static=True)

    def __init__(
        self,
        stiffness: ArrayLike,
        mask,
        spacing: tuple[float, ...],
        *,
        poisson_ratio: float = POISSON_RATIO,
        tolerance: float | None = None,
    ):
        """`stiffness` is a scalar or a field, `mask` bool on the grid.

        `tolerance` is 1e-5 in single and 1e-6 in double precision unless given. Raises `InputError` for a Poisson's
        ratio outside [0, 0.5).
        """
        if not 0 <= poisson_ratio < 0.5:
            raise InputError(f"poisson_ratio must lie in [0, 0.5), got {poisson_ratio}; soft tissue has 0.45")
        mask = jnp.asarray(mask)
        stiffness = jnp.broadcast_to(jnp.asarray(stiffness, float), mask.shape)
        # Outside the mask nothing moves; a stiffness there only keeps the coarse grids of the solver regular.
        inside = jnp.sum(jnp.where(mask, stiffness, 0.0)) / jnp.sum(mask)
        self.stiffness = jnp.where(mask, stiffness, jax.lax.stop_gradient(inside))
        # A node moves if all voxels around it are tissue.
        free = jnp.pad(mask.astype(self.stiffness.dtype), 1)
        for axis in range(mask.ndim):
            free = jnp.minimum(_slice(free, axis, 0, -1), _slice(free, axis, 1, None))
        self.free = free
        self.spacing = tuple(float(h) for h in spacing)
        self.poisson_ratio = float(poisson_ratio)
        default = 1e-5 if self.stiffness.dtype == jnp.float32 else 1e-6
        self.tolerance = default if tolerance is None else float(tolerance)

    @eqx.filter_jit
    def response(self, pressure: Float[Array, "*grid"]) -> ElasticResponse:
        """Displacement, strain and stress under a pressure (unit of stiffness), one value a voxel."""
        displacement = self.displacement(pressure)
        strain = self.strain(displacement)
        return ElasticResponse(displacement, strain, self.von_mises(strain))

    @eqx.filter_jit
    def displacement(self, pressure: Float[Array, "*grid"]) -> Float[Array, "axes *nodes"]:
        """(axes, *nodes) mm: the solution under a pressure."""
        finest = _Grid.create(self.stiffness, self.free, self.spacing, self.poisson_ratio)
        single = jax.lax.stop_gradient(self.stiffness).astype(jnp.float32)
        cycle = _Multigrid.create(single, self.free.astype(jnp.float32), self.spacing, self.poisson_ratio)
        load = finest.load(pressure)
        # Symmetric, so that `cg` solves its own transpose and tangent.
        found, _ = cg(finest, load, tol=self.tolerance, maxiter=1000, M=cycle)
        return (finest.free * found).reshape(-1, *self.free.shape)

    def strain(self, displacement: Float[Array, "axes *nodes"]) -> Float[Array, "axes axes *grid"]:
        """The symmetric gradient at the centres of the voxels."""
        gradient = jnp.stack([_central_difference(displacement, b, h) for b, h in enumerate(self.spacing)], axis=1)
        return (gradient + jnp.swapaxes(gradient, 0, 1)) / 2

    def von_mises(self, strain: Float[Array, "axes axes *grid"]) -> Float[Array, "*grid"]:
        """sqrt(3/2 s : s) with s the deviatoric stress, = 2 G sqrt(3/2 e : e) with e the deviatoric strain."""
        axes = strain.shape[0]
        volumetric = jnp.trace(strain) / 3
        square = jnp.sum(strain**2, axis=(0, 1)) - 3 * volumetric**2
        shear = self.stiffness / (2 * (1 + self.poisson_ratio))
        # Rounding may bring a square of zero below it; axes that the grid lacks have no strain, so the mean is a third
        # of the trace all the same.
        assert axes <= 3
        return jnp.sqrt(6 * shear**2 * jnp.maximum(square, 0.0) + _SMALLEST_SQUARE)


class _Grid(eqx.Module):
    """The elastic operator on one grid; displacements are (axes, nodes) in flat order.

    A voxel is known by its lowest corner. Nodes at the upper ends of the grid are the lowest corner of no voxel: their
    stiffness is zero, so that gathering and scattering are shifts of the flat order throughout.
    """

    stiffness: Float[Array, " nodes"]
    free: Float[Array, " nodes"]
    shape: tuple[int, ...] = eqx.field(static=True)
    spacing: tuple[float, ...] = eqx.field(static=True)
    poisson_ratio: float = eqx.field(static=True)

    @classmethod
    def create(cls, stiffness, free, spacing, poisson_ratio) -> "_Grid":
        """From the stiffness per voxel and `free` per node, both on their grids."""
        padded = jnp.pad(stiffness, [(0, 1)] * stiffness.ndim)
        return cls(padded.reshape(-1), free.reshape(-1), free.shape, spacing, poisson_ratio)

    def __call__(self, u: Float[Array, "axes nodes"]) -> Float[Array, "axes nodes"]:
        """The forces that hold the displacement `u`; symmetric and positive definite in what is free."""
        matrix = jnp.asarray(_element_stiffness(self.spacing, self.poisson_ratio), u.dtype)
        # Stored in between, or XLA would do all of it anew for every corner that a node is: ten times slower.
        corners = materialise(self._gathered(self.free * u))
        return self.free * self._scattered(self.stiffness * materialise(product(matrix, corners)), len(u))

    def load(self, pressure: Float[Array, "*grid"]) -> Float[Array, "axes nodes"]:
        """The nodal forces of a pressure per voxel: its integral against div(v)."""
        flat = jnp.pad(pressure, [(0, 1)] * pressure.ndim).reshape(-1)
        vector = jnp.asarray(_element_load(self.spacing), flat.dtype)
        return self.free * self._scattered(vector[:, None] * flat, len(self.shape))

    @property
    def diagonal(self) -> Float[Array, "axes nodes"]:
        """The diagonal of the operator; 1 where nothing moves."""
        values = np.diag(_element_stiffness(self.spacing, self.poisson_ratio))
        diagonal = self._scattered(jnp.asarray(values, self.stiffness.dtype)[:, None] * self.stiffness, len(self.shape))
        return jnp.where(self.free > 0, diagonal, 1.0)

    @property
    def _shifts(self) -> list[int]:
        strides = [math.prod(self.shape[axis + 1 :]) for axis in range(len(self.shape))]
        return [sum(c * s for c, s in zip(corner, strides, strict=True)) for corner in _corners(len(self.shape))]

    def _gathered(self, u):
        """(corners * axes, nodes): what a voxel's corners have, corner by corner."""
        padded = jnp.pad(u, [(0, 0), (0, self._shifts[-1])])
        return jnp.concatenate([padded[:, s : s + u.shape[1]] for s in self._shifts])

    def _scattered(self, corners, axes):
        lead, size = self._shifts[-1], corners.shape[1]
        padded = jnp.pad(corners, [(0, 0), (lead, 0)])
        rows = [padded[k * axes : (k + 1) * axes, lead - s : lead - s + size] for k, s in enumerate(self._shifts)]
        return sum(rows[1:], rows[0])


class _Multigrid(eqx.Module):
    """One V-cycle from a zero guess: a symmetric, positive definite approximation of the inverse.

    Coarse grids are made anew from the mean stiffness of the voxels; an axis whose voxels are long already is not
    halved. Smoothing is by Chebyshev polynomials of the operator over its diagonal (Adams et al. 2003, J Comput Phys
    188:593), the same before and after, which keeps the cycle symmetric.
    """

    grids: list[_Grid]
    diagonals: list[Array]
    factors: tuple[tuple[int, ...], ...] = eqx.field(static=True)

    @classmethod
    def create(cls, stiffness, free, spacing, poisson_ratio) -> "_Multigrid":
        grids, factors = [], []
        while True:
            grids.append(_Grid.create(stiffness, free, spacing, poisson_ratio))
            factor = _coarsening(stiffness.shape, spacing)
            if max(factor) == 1:
                break
            factors.append(factor)
            stiffness, free = _coarse_voxels(stiffness, factor), _coarse_nodes(free, factor)
            spacing = tuple(h * f for h, f in zip(spacing, factor, strict=True))
        return cls(grids, [grid.diagonal for grid in grids], tuple(factors))

    def __call__(self, load: Float[Array, "axes nodes"]) -> Float[Array, "axes nodes"]:
        # In single precision, whatever the solve: half the time, and the solve's own accuracy does not depend on it.
        size = jnp.max(jnp.abs(load))
        size = jnp.where(size > 0, size, 1.0)
        return size * self._cycle(0, (load / size).astype(jnp.float32)).astype(load.dtype)

    def _cycle(self, level, load):
        if level == len(self.factors):
            return self._smoothed(level, load, None, _COARSE_DEGREE, _COARSE_SHARE)
        u = self._smoothed(level, load, None, _SMOOTH_DEGREE, _SMOOTH_SHARE)
        grid, coarse, factor = self.grids[level], self.grids[level + 1], self.factors[level]
        left = load - grid(u)
        below = _restricted(left.reshape(-1, *grid.shape), factor).reshape(len(u), -1)
        below = self._cycle(level + 1, coarse.free * below)
        raised = _prolonged(below.reshape(-1, *coarse.shape), factor, grid.shape).reshape(u.shape)
        return self._smoothed(level, load, u + grid.free * raised, _SMOOTH_DEGREE, _SMOOTH_SHARE)

    def _smoothed(self, level, load, u, degree, share):
        """`degree` steps of Chebyshev iteration on [share, 1] of the largest eigenvalue, from `u` (None: zero)."""
        grid, diagonal = self.grids[level], self.diagonals[level]
        largest = _largest_eigenvalue(grid.spacing, grid.poisson_ratio)
        theta, delta = largest * (1 + share) / 2, largest * (1 - share) / 2
        residual = (load if u is None else load - grid(u)) / diagonal
        change = residual / theta
        u = change if u is None else u + change
        rho = delta / theta
        for _ in range(degree - 1):
            residual = (load - grid(u)) / diagonal
            following = 1 / (2 * theta / delta - rho)
            change = following * rho * change + 2 * following / delta * residual
            u, rho = u + change, following
        return u


def _coarsening(shape, spacing) -> tuple[int, ...]:
    """2 for every axis to halve, 1 for the others: too few voxels, or voxels much longer than the shortest."""
    if max(shape) < _COARSEST:
        return (1,) * len(shape)
    return tuple(2 if n >= 4 and h < 1.5 * min(spacing) else 1 for n, h in zip(shape, spacing, strict=True))


def _coarse_voxels(stiffness, factor):
    """The mean over the voxels of each coarse one; an odd end is repeated."""
    for axis, f in enumerate(factor):
        if f == 2:
            n = stiffness.shape[axis]
            padded = jnp.concatenate([stiffness, _slice(stiffness, axis, n - 1, n)], axis) if n % 2 else stiffness
            stiffness = (padded[_every_other(axis, 0)] + padded[_every_other(axis, 1)]) / 2
    return stiffness


def _coarse_nodes(free, factor):
    """`free` at every second node; the end of an odd axis lies on the wall, or beyond it."""
    for axis, f in enumerate(factor):
        if f == 2:
            odd = free.shape[axis] % 2 == 0
            free = jnp.pad(free, [(0, int(odd and a == axis)) for a in range(free.ndim)])[_every_other(axis, 0)]
    return free


def _restricted(u, factor):
    """The transpose of `_prolonged`."""
    for axis, f in enumerate(factor, start=1):
        if f == 2:
            odd = u.shape[axis] % 2 == 0
            u = jnp.pad(u, [(0, 0)] + [(1, 1 + odd) if a == axis else (0, 0) for a in range(1, u.ndim)])
            even, odds = u[_every_other(axis, 1)], u[_every_other(axis, 0)]
            u = even + (_slice(odds, axis, 0, -1) + _slice(odds, axis, 1, None)) / 2
    return u


def _prolonged(u, factor, shape):
    """Linear interpolation to a grid of twice as many voxels, cut to the nodes of `shape`."""
    for axis, (f, n) in enumerate(zip(factor, shape, strict=True), start=1):
        if f == 2:
            lower, upper = _slice(u, axis, 0, -1), _slice(u, axis, 1, None)
            pairs = jnp.stack([lower, (lower + upper) / 2], axis + 1)
            woven = pairs.reshape(*u.shape[:axis], -1, *u.shape[axis + 1 :])
            u = _slice(jnp.concatenate([woven, _slice(u, axis, u.shape[axis] - 1, None)], axis), axis, 0, n)
    return u


def _central_difference(u, b, h):
    """d u / d x_b at the centres of the voxels: differences along axis b, means along the others; (axes, *grid)."""
    for axis in range(1, u.ndim):
        lower, upper = _slice(u, axis, 0, -1), _slice(u, axis, 1, None)
        u = (upper - lower) / h if axis == b + 1 else (upper + lower) / 2
    return u


def _slice(x, axis, start, stop):
    return jax.lax.slice_in_dim(x, start, stop, axis=axis)


def _every_other(axis, first):
    return (slice(None),) * axis + (slice(first, None, 2),)


def _corners(axes: int) -> list[tuple[int, ...]]:
    return list(itertools.product((0, 1), repeat=axes))


@lru_cache
def _shape_gradients(spacing: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Gradients (points, corners, axes) of the corners' shape functions at the Gauss points, and (points,) weights."""
    axes = len(spacing)
    points = np.asarray(list(itertools.product((0.5 - 1 / math.sqrt(12), 0.5 + 1 / math.sqrt(12)), repeat=axes)))
    corners = np.asarray(_corners(axes))
    # A shape function is a product of x (corner 1) or 1 - x (corner 0) along the axes.
    values = np.where(corners, points[:, None], 1 - points[:, None])
    gradients = np.empty((len(points), len(corners), axes))
    for axis, h in enumerate(spacing):
        others = np.delete(values, axis, axis=2).prod(axis=2)
        gradients[..., axis] = (2 * corners[:, axis] - 1) / h * others
    return gradients, np.full(len(points), math.prod(spacing) / len(points))


@lru_cache
def _element_stiffness(spacing: tuple[float, ...], poisson_ratio: float) -> np.ndarray:
    """(corners * axes, corners * axes): the stiffness of one voxel with E = 1."""
    gradients, weights = _shape_gradients(spacing)
    axes, corners = gradients.shape[2], gradients.shape[1]
    lame = poisson_ratio / ((1 + poisson_ratio) * (1 - 2 * poisson_ratio))
    shear = 1 / (2 * (1 + poisson_ratio))
    matrix = lame * np.einsum("q,qki,qlj->kilj", weights, gradients, gradients)
    matrix += shear * np.einsum("q,qkj,qli->kilj", weights, gradients, gradients)
    matrix += shear * np.einsum("q,qkm,qlm,ij->kilj", weights, gradients, gradients, np.eye(axes))
    return matrix.reshape(corners * axes, corners * axes)


@lru_cache
def _element_load(spacing: tuple[float, ...]) -> np.ndarray:
    """(corners * axes,): the nodal forces of a unit pressure in one voxel."""
    gradients, weights = _shape_gradients(spacing)
    return np.einsum("q,qki->ki", weights, gradients).reshape(-1)


@lru_cache
def _largest_eigenvalue(spacing: tuple[float, ...], poisson_ratio: float) -> float:
    """A bound of the largest eigenvalue of the operator over its diagonal: that of one voxel."""
    matrix = _element_stiffness(spacing, poisson_ratio)
    scale = 1 / np.sqrt(np.diag(matrix))
    return float(np.linalg.eigvalsh(scale[:, None] * matrix * scale)[-1])
