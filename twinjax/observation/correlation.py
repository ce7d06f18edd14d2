"""Errors that neighbouring voxels share: their principal modes, on the voxels that were measured."""

import logging
import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy import linalg

from twinjax.core.products import contracted, product

log = logging.getLogger("twinjax")

# Distance of the points that carry the modes, in decay lengths: they hold more than nine tenths of the variance.
NODE_DISTANCE = 1.2
# More points than this cost time; a region that needs them is given a longer correlation instead.
MOST_NODES = 250
# Nodes along an axis are rounded up to multiples of this where patients share programs.
NODE_STEP = 16
# Modes whose variance, summed over all voxels, is below that of half a voxel are left to the remainder.
SMALLEST_EIGENVALUE = 0.5


class CorrelatedModes(eqx.Module):
    """The Karhunen-Loeve modes of a smooth random field of unit variance on n voxels.

    The correlation of two voxels is exp(-|x - x'|² / (2 l²)) with l = correlation length / √(2π), whose integral over
    space is the cube of the correlation length: so much volume errs as one. Of that matrix this is the Nystroem
    approximation Φ Λ Φᵀ (Williams and Seeger 2001, NIPS 13:682) on a coarse grid of nodes, with orthonormal columns
    Φ (n, K); what it leaves of the variance is spread evenly over what Φ does not span:

        R = Φ Λ Φᵀ + remainder (I - Φ Φᵀ),   trace R = n.

    So the coefficients Φᵀ e of a field e of covariance a² I + b² R are independent. Φ is not stored: it is a product of
    one matrix an axis, as the correlation is, with `mixing`.

    **Fields:** `factors`, an axis each, (voxels of the box, nodes); `voxel` (n,) into the flattened box, None
    where they are all of it; `node` (m,) into the flattened grid of nodes; `mixing` (m, K); `eigenvalues` (K,), 0 of
    modes that only fill up a shape; `remainder`.
    """

    factors: tuple[Float[Array, "_ _"], ...]
    voxel: Int[Array, " n"] | None
    node: Int[Array, " m"]
    mixing: Float[Array, "m K"]
    eigenvalues: Float[Array, " K"]
    remainder: Float[Array, ""]

    @classmethod
    def of(cls, position: np.ndarray, spacing, correlation_length_mm: float) -> "CorrelatedModes | None":
        """Of voxels at `position` (n, axes; whole numbers of voxels); None where no two voxels are correlated.

        A region too large for `MOST_NODES` gets a longer correlation, which a log line says: that makes fewer
        independent data of it, not more.
        """
        spacing = np.asarray(spacing, float)
        if len(position) < 2 or correlation_length_mm**spacing.size <= np.prod(spacing):
            return None
        position = np.asarray(position) - np.min(position, axis=0)
        length = correlation_length_mm
        while len((nodes := _nodes(position, spacing, length))[1]) > MOST_NODES:
            length *= 1.1
        if length > correlation_length_mm:
            log.info("  %d voxels: correlation over %.0f mm, for fewer modes", len(position), length)
        decay, (axes, node) = length / np.sqrt(2 * np.pi), nodes
        size = tuple(int(n) + 1 for n in position.max(axis=0))
        shape = tuple(len(axis) for axis in axes)
        factors = [
            np.exp(-((np.arange(n)[:, None] * h - axis) ** 2) / (2 * decay**2))
            for n, h, axis in zip(size, spacing, axes, strict=True)
        ]
        place = np.stack(np.unravel_index(node, shape), axis=1)
        at = np.stack([axis[i] for axis, i in zip(axes, place.T, strict=True)], axis=1)
        among = np.exp(-((at[:, None] - at) ** 2).sum(axis=-1) / (2 * decay**2))
        gram = np.zeros_like(among)
        for part in np.array_split(position, max(1, len(position) // 4000)):
            columns = np.ones((len(part), len(node)))
            for factor, i, j in zip(factors, part.T, place.T, strict=True):
                columns *= factor[np.ix_(i, j)]
            gram += columns.T @ columns
        root = linalg.cholesky(among + 1e-10 * np.eye(len(among)), lower=True)
        inner = linalg.solve_triangular(root, linalg.solve_triangular(root, gram, lower=True).T, lower=True)
        eigenvalues, vectors = linalg.eigh((inner + inner.T) / 2)
        kept = eigenvalues > SMALLEST_EIGENVALUE
        eigenvalues = eigenvalues[kept]
        mixing = linalg.solve_triangular(root.T, vectors[:, kept] / np.sqrt(eigenvalues), lower=False)
        count, modes = len(position), len(eigenvalues)
        remainder = max(0.0, count - eigenvalues.sum()) / max(1, count - modes)
        return cls(
            tuple(jnp.asarray(factor) for factor in factors),
            jnp.asarray(np.ravel_multi_index(tuple(position.T), size)),
            jnp.asarray(node),
            jnp.asarray(mixing),
            jnp.asarray(eigenvalues),
            jnp.asarray(remainder),
        )

    def project(self, field: Float[Array, " n"]) -> Float[Array, " K"]:
        """Φᵀ field."""
        shape = [len(factor) for factor in self.factors]
        if self.voxel is not None:
            field = jnp.zeros(math.prod(shape), field.dtype).at[self.voxel].set(field)
        box = field.reshape(shape)
        for factor in self.factors:
            # The axis that was first becomes the last, so that all come back in order.
            box = contracted(box, factor, axes=(0, 0))
        return product(self.mixing.T, box.ravel()[self.node])

    def expand(self, coefficients: Float[Array, " K"]) -> Float[Array, " n"]:
        """Φ coefficients."""
        shape = [factor.shape[1] for factor in self.factors]
        grid = jnp.zeros(int(np.prod(shape)), coefficients.dtype)
        grid = grid.at[self.node].set(product(self.mixing, coefficients)).reshape(shape)
        for factor in self.factors:
            grid = contracted(grid, factor, axes=(0, 1))
        return grid.ravel() if self.voxel is None else grid.ravel()[self.voxel]

    def deviations(self, white, correlated) -> Float[Array, " K"]:
        """Of the coefficients of a field of covariance white² I + correlated² R."""
        return jnp.where(self.real, jnp.sqrt(white**2 + correlated**2 * self.eigenvalues), 1.0)

    @property
    def real(self) -> Bool[Array, " K"]:
        """Which modes do not only fill up: `filled` gives those no variance, and others have some."""
        return self.eigenvalues > 0

    def filled(self, place: np.ndarray, shape: tuple[int, ...]) -> "CorrelatedModes":
        """The same of a field on all voxels of a grid of `shape`, zero but at `place` (n,), in one of few shapes.

        Nodes along an axis are rounded up; nodes and modes are `MOST_NODES`, of which those that fill up have the
        coefficient 0.
        """
        first = [int(index.min()) for index in np.unravel_index(place, shape)]
        nodes = [factor.shape[1] for factor in self.factors]
        more = tuple(-(-n // NODE_STEP) * NODE_STEP for n in nodes)
        factors = [np.zeros(both) for both in zip(shape, more, strict=True)]
        for larger, factor, start in zip(factors, self.factors, first, strict=True):
            larger[start : start + factor.shape[0], : factor.shape[1]] = factor
        node = np.ravel_multi_index(np.unravel_index(np.asarray(self.node), nodes), more)
        carriers, modes = (MOST_NODES - n for n in self.mixing.shape)
        return CorrelatedModes(
            tuple(jnp.asarray(factor) for factor in factors),
            None,
            jnp.asarray(np.pad(node, (0, carriers))),
            jnp.asarray(np.pad(np.asarray(self.mixing), ((0, carriers), (0, modes)))),
            jnp.asarray(np.pad(np.asarray(self.eigenvalues), (0, modes))),
            self.remainder,
        )


def _nodes(position: np.ndarray, spacing: np.ndarray, correlation_length_mm: float):
    """Coordinates (mm) of the nodes along each axis, and the flattened index of those beside a voxel."""
    distance = NODE_DISTANCE * correlation_length_mm / np.sqrt(2 * np.pi)
    axes, cells = [], []
    for coordinate in (position * spacing).T:
        # As many as the extent needs, centred on it.
        count = max(1, int(np.ceil(coordinate.max() / distance)) + 1)
        first = (coordinate.max() - (count - 1) * distance) / 2
        axes.append(first + distance * np.arange(count))
        cell = (coordinate - first) / distance
        cells.append([np.clip(f(cell).astype(int), 0, count - 1) for f in (np.floor, np.ceil)])
    shape = tuple(len(axis) for axis in axes)
    corners = np.stack(np.meshgrid(*[[0, 1]] * len(axes), indexing="ij"), axis=-1).reshape(-1, len(axes))
    flat = [np.ravel_multi_index([cells[a][c] for a, c in enumerate(corner)], shape) for corner in corners]
    return axes, np.unique(np.concatenate(flat))
