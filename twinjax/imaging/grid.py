"""Voxel grids of one visit: the one that holds all images, and images brought onto it."""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import nibabel as nib
import numpy as np

from twinjax.core.errors import InputError
from twinjax.imaging.nifti import Image
from twinjax.imaging.placement import Placement, resample_placed

# Voxels of a grid that holds all images of a visit; beyond it they show different places.
LARGEST_GRID = 2**28
# Cosine between axes that counts as rounding.
SKEW = 1e-3


class Grid(NamedTuple):
    """`affine` (4, 4), voxel index to patient space (RAS, mm), and the `shape` (X, Y, Z)."""

    affine: np.ndarray
    shape: tuple[int, ...]


def common_grid(images: Sequence[Image]) -> Grid:
    """The grid of the first image, extended in whole voxels to hold all: each comes cropped to its own box.

    Its axes are made perpendicular, where those of the image are not (slices of a tilted gantry).
    """
    return _around(_straight(images[0].affine), [Grid(image.affine, image.data.shape) for image in images])


def straight_grid(affine: np.ndarray, shape: tuple[int, ...]) -> Grid:
    """A grid with perpendicular axes around another one, which is that one where its axes are."""
    return _around(_straight(affine), [Grid(affine, shape)])


def canonical_axes(affine: np.ndarray) -> np.ndarray:
    """(3, 3): in columns the perpendicular directions of a grid's axes, as near right, anterior, superior as can be."""
    straight = _straight(np.asarray(affine, float))
    turn = nib.orientations.inv_ornt_aff(nib.orientations.io_orientation(straight), (1, 1, 1))
    axes = (straight @ turn)[:3, :3]
    return axes / np.linalg.norm(axes, axis=0)


def aligned_grid(grids: Sequence[Grid], axes: np.ndarray, step_mm: float) -> Grid:
    """The grid along `axes` (of `canonical_axes`), of cubes of `step_mm`, that holds all `grids`.

    A voxel of it lies on the first voxel of the first of them: of one along the axes, and as fine, the voxels stay.
    """
    affine = np.eye(4)
    affine[:3, :3] = step_mm * axes
    affine[:3, 3] = grids[0].affine[:3, 3]
    return _around(affine, grids)


def _straight(affine: np.ndarray) -> np.ndarray:
    """The affine with its axes made perpendicular, one after the other; edges of voxels keep their lengths."""
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    cosines = (affine[:3, :3] / edges).T @ (affine[:3, :3] / edges)
    if np.abs(cosines - np.eye(3)).max() < SKEW:
        return affine
    axes, lengths = np.linalg.qr(affine[:3, :3])
    straight = affine.copy()
    straight[:3, :3] = axes * np.sign(np.diag(lengths)) * edges
    return straight


def _around(first: np.ndarray, grids: Sequence[Grid]) -> Grid:
    lower, upper = np.full(3, np.inf), np.full(3, -np.inf)
    for affine, size in grids:
        ends = np.array([[0, n - 1] for n in size])
        corners = np.vstack([np.stack(np.meshgrid(*ends, indexing="ij")).reshape(3, -1), np.ones(8)])
        inside = (np.linalg.inv(first) @ affine @ corners)[:3]
        lower, upper = np.minimum(lower, inside.min(axis=1)), np.maximum(upper, inside.max(axis=1))
    # Rounding noise of the affines must not add a plane of voxels.
    lower, upper = np.floor(lower + 1e-2), np.ceil(upper - 1e-2)
    shape = tuple(int(n) for n in upper - lower + 1)
    if np.prod(np.asarray(shape, dtype=object)) > LARGEST_GRID:
        raise InputError(f"the images of one visit lie too far apart (common grid {shape}); check their headers")
    shift = np.eye(4)
    shift[:3, 3] = lower
    return Grid(first @ shift, shape)


def onto(image: Image, grid: Grid, placement: Placement, order: int = 1) -> np.ndarray:
    """The image on `grid`, `placement` leading from points of the grid's space to those of the image's."""
    return resample_placed(image.data, image.affine, *grid, placement, order=order)


def in_parallel(function: Callable, items: Iterable) -> list:
    """`function` of every item, in threads: resampling and compression leave Python's lock."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(function, items))
