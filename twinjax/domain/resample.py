"""Resampling between voxel grids that share a patient space."""

from typing import Any

import numpy as np
from scipy import ndimage

from twinjax.core.errors import InputError


def resample(
    array: np.ndarray, affine: np.ndarray, target_affine: np.ndarray, target_shape, *, order: int = 1
) -> np.ndarray:
    """Sample `array` (grid `affine`) on a target grid; zero outside the voxels of `array`.

    `order=1` averages where the target is coarser, so that fractions stay fractions and volumes are kept, and
    interpolates linearly where it is finer. The average is exact (by overlap of voxels) between grids with
    parallel axes, a box filter along the source axes between oblique ones. `order=0` takes the nearest voxel:
    for labels.

    **Arguments:** `array` of one to three axes; affines (4, 4) in mm. **Returns** float32 (order 1) or the
    dtype of `array` (order 0), of `target_shape`. Raises `InputError` for another order or a singular affine.
    """
    if order not in (0, 1):
        raise InputError(f"resampling order must be 0 (nearest) or 1 (linear), got {order}")
    array, target_shape = np.asarray(array, dtype=np.float32 if order == 1 else None), tuple(target_shape)
    axes = array.ndim
    for name, grid in (("affine", affine), ("target_affine", target_affine)):
        if np.shape(grid) != (4, 4) or not np.isfinite(grid).all() or np.linalg.det(grid) == 0:
            raise InputError(f"resampling: {name} must be a finite, invertible (4, 4) matrix")
    mapping = np.linalg.inv(affine) @ target_affine
    matrix, offset = mapping[:axes, :axes].copy(), mapping[:axes, 3].copy()
    same = np.allclose(matrix, np.eye(axes), atol=1e-6) and np.allclose(offset, 0, atol=1e-4)
    if same and target_shape == array.shape:
        return array.copy()
    # Affines in files are float32: what differs by less than a thousandth of a voxel over the grid is rounding.
    matrix[np.abs(matrix) * np.maximum(target_shape, 1) < 1e-3] = 0
    parallel = np.count_nonzero(matrix) == axes and np.diag(matrix).all()
    if order == 1:
        for axis in range(axes):
            # Extent of one target voxel along this source axis, in source voxels.
            width = float(np.abs(matrix[axis]).max())
            if parallel and width >= 1:
                shares = overlap(matrix[axis, axis], offset[axis], target_shape[axis], array.shape[axis])
                array = np.moveaxis(np.tensordot(shares, array, axes=(1, axis)), 0, axis).astype(np.float32)
                matrix[axis, axis], offset[axis] = 1, 0
            elif width > 1.05:
                array = _box_average(array, width, axis)
    transform = np.diag(matrix) if parallel else matrix
    start: Any = offset  # scipy's stub knows scalars only
    sampled = ndimage.affine_transform(array, transform, start, target_shape, order=order, mode="nearest")
    return sampled * _inside(matrix, offset, target_shape, array.shape).astype(sampled.dtype)


def _inside(matrix: np.ndarray, offset: np.ndarray, target_shape: tuple, source_shape: tuple) -> np.ndarray:
    """Where the centre of a target voxel lies in a source voxel (bool, broadcastable to `target_shape`)."""
    inside = np.ones((1,) * len(target_shape), dtype=bool)
    index = np.ogrid[tuple(slice(n) for n in target_shape)]
    for row, start, size in zip(matrix, offset, source_shape, strict=True):
        position = start + sum(step * i for step, i in zip(row, index, strict=True) if step)
        inside = inside & (position > -0.5 - 1e-4) & (position < size - 0.5 + 1e-4)
    return inside


def overlap(step: float, start: float, count: int, voxels: int) -> np.ndarray:
    """(count, voxels): the share of window i, |`step`| voxels wide and centred at `start` + `step` i, in each voxel."""
    width = abs(step)
    centre = start + 0.5 + step * np.arange(count)[:, None]
    low, high, edge = centre - width / 2, centre + width / 2, np.arange(voxels)
    return np.clip(np.minimum(high, edge + 1) - np.maximum(low, edge), 0, None) / width


def _box_average(array: np.ndarray, width: float, axis: int) -> np.ndarray:
    """Mean over a centred window of `width` voxels (fractional ends weighted), edges repeated."""
    reach = (width - 1) / 2
    whole = int(np.floor(reach))
    ends = [reach - whole]
    kernel = np.concatenate([ends, np.ones(2 * whole + 1), ends]).astype(np.float32)
    return ndimage.correlate1d(array, kernel / kernel.sum(), axis=axis, mode="nearest")
