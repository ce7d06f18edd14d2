"""Distances from the contour of a mask, finer than its voxels."""

import numpy as np
from jaxtyping import Float
from scipy import ndimage
from scipy.special import ndtri

from twinjax.core.errors import InputError

# Width of the Gaussian that rounds the steps of a mask, in its longest voxel edges; least distance of a voxel's centre
# from the contour, in its shortest.
ROUNDING_WIDTH, LEAST_DISTANCE = 0.7, 0.1
# Shares of a Gaussian nearer to 0 or 1 are lost in rounding.
SMALLEST_SHARE = 1e-12


def signed_distance(region, spacing) -> Float[np.ndarray, "*grid"]:
    """Distance (mm) from the contour of a boolean region, negative inside it.

    The contour is that of the mask smoothed by a Gaussian of standard deviation s, at the level that keeps its volume,
    so that it is not stepped as voxels are, which are up to 3 mm thick. Beside a plane at distance d the smoothed mask
    is Φ(-d / s); farther off, d counts from the tangent plane at the nearest voxel beside the contour. Centres of
    voxels stay on the side that the mask has them on. The method is our own composition.

    Raises `InputError` for a mask without a contour.
    """
    region = np.asarray(region, bool)
    if not region.any() or region.all():
        raise InputError(f"a mask that {'fills its grid' if region.any() else 'is empty'} has no contour")
    width = ROUNDING_WIDTH * max(spacing)
    # A Gaussian that is sampled at voxels is narrower than it says by the variance of a voxel.
    smoothed = ndimage.gaussian_filter(region.astype(float), [np.sqrt((width / h) ** 2 + 1 / 12) for h in spacing])
    last = smoothed.size - int(region.sum())
    level = np.partition(smoothed.ravel(), [last - 1, last])[last - 1 : last + 1].mean()
    inside = smoothed > level
    front = np.logical_xor(ndimage.binary_dilation(inside), ndimage.binary_erosion(inside, border_value=1))
    share = np.clip(smoothed, SMALLEST_SHARE, 1 - SMALLEST_SHARE)
    offset = width * (ndtri(1 - share) - ndtri(1 - level))
    uphill = np.stack(
        [ndimage.correlate1d(smoothed, [-0.5, 0, 0.5], axis, mode="nearest") / h for axis, h in enumerate(spacing)]
    )
    normal = -uphill / np.maximum(np.linalg.norm(uphill, axis=0), SMALLEST_SHARE)
    nearest = ndimage.distance_transform_edt(~front, sampling=spacing, return_distances=False, return_indices=True)
    at = tuple(np.asarray(nearest))
    away = (np.indices(region.shape) - np.asarray(nearest)) * np.reshape(spacing, (-1,) + (1,) * region.ndim)
    distance = offset[at] + (away * normal[(slice(None), *at)]).sum(axis=0)
    least = LEAST_DISTANCE * min(spacing)
    return np.where(region, np.minimum(distance, -least), np.maximum(distance, least))
