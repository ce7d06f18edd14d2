"""How much the voxels of an image scatter by themselves: its noise, seen in the image alone."""

import numpy as np

from twinjax.imaging.features.size import voxels_of

# Fewer runs of three voxels say nothing of a scatter.
FEWEST_RUNS = 30
# A median absolute deviation times this is the standard deviation of a normal variable.
MAD_TO_STANDARD_DEVIATION = 1.4826


def local_scatter(image: np.ndarray, region: np.ndarray) -> float:
    """Standard deviation of the independent error of a voxel, in the unit of `image`; NaN where too few are given.

    From second differences (x_(i-1) - 2 x_i + x_(i+1)) / √6 along every axis within `region`, which a slope leaves at
    zero, by their median absolute deviation, which edges do not move. Noise that neighbours share, as after smoothing
    or resampling, is not seen: it is underestimated.

    **Arguments:** `image` (X, Y, Z); `region` bool (X, Y, Z). Raises `InputError` for an empty region.
    """
    region = np.asarray(region, bool)
    voxels_of(region)
    image, runs = np.where(region, image, 0.0).astype(float), []
    for axis in range(image.ndim):
        x, inside = np.moveaxis(image, axis, 0), np.moveaxis(region, axis, 0)
        whole = inside[:-2] & inside[1:-1] & inside[2:]
        runs.append(((x[:-2] - 2 * x[1:-1] + x[2:]) / np.sqrt(6))[whole])
    found = np.concatenate(runs)
    if found.size < FEWEST_RUNS:
        return float("nan")
    return float(MAD_TO_STANDARD_DEVIATION * np.median(np.abs(found - np.median(found))))
