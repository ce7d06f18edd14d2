"""How large a region is: volume, centre, and the diameters of RANO."""

import numpy as np
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist, squareform

from twinjax.core.errors import InputError
from twinjax.imaging.features.measured import Measured

# The edge of a region lies anywhere within its voxel: a uniform distribution. Our own choice.
EDGE_STANDARD_DEVIATION = 1 / np.sqrt(12)


def volume_mm3(region: np.ndarray, affine: np.ndarray) -> float:
    """Volume (mm³) of a boolean (X, Y, Z) region; `affine` (4, 4), mm."""
    return float(np.count_nonzero(region) * abs(np.linalg.det(affine[:3, :3])))


def centre_of_mass_mm(region: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """(3,) centre of a boolean (X, Y, Z) region in patient space (RAS, mm); `InputError` for an empty one."""
    return (affine @ [*voxels_of(region).mean(axis=0), 1.0])[:3]


def axial_axis(affine: np.ndarray) -> int:
    """The voxel axis nearest to the patient's long axis (superior): the planes across it are the axial ones."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return int(np.abs(directions[2]).argmax())


def diameters_mm(region: np.ndarray, affine: np.ndarray, axis: int | None = None) -> tuple[float, float]:
    """The longest diameter in any axial plane, and the extent perpendicular to it in that plane (mm).

    The bidimensional measurement of the RANO criteria (Wen et al. 2010, J Clin Oncol 28:1963); their product is the
    bidimensional product. Between voxel centres: from outer edge to outer edge it is about one pixel more.
    `region` is boolean (X, Y, Z); `axis` is the voxel axis across the planes, by default `axial_axis(affine)`.
    `InputError` for an empty region.
    """
    voxels = voxels_of(region)
    axis = axial_axis(affine) if axis is None else axis
    best = (0.0, 0.0)
    for plane in np.unique(voxels[:, axis]):
        points = voxels[voxels[:, axis] == plane] @ affine[:3, :3].T
        try:
            flat = (points - points[0]) @ np.linalg.svd(points - points[0], full_matrices=False)[2][:2].T
            hull = flat[ConvexHull(flat).vertices]
        except (QhullError, ValueError):
            # A line or a single voxel has no hull.
            hull = points - points[0]
        distances = squareform(pdist(hull)) if len(hull) > 1 else np.zeros((1, 1))
        start, end = np.unravel_index(int(distances.argmax()), distances.shape)
        longest = float(distances[start, end])
        if longest > best[0]:
            direction = (hull[end] - hull[start]) / longest
            offsets = hull - hull[start]
            across = offsets - np.outer(offsets @ direction, direction)
            signed = across @ across[np.linalg.norm(across, axis=1).argmax()]
            width = float(np.ptp(signed) / max(np.linalg.norm(across, axis=1).max(), 1e-12))
            best = (longest, width)
    return best


def diameter_standard_deviation_mm(affine: np.ndarray, axis: int | None = None) -> float:
    """Standard deviation (mm) of a diameter: the edges at its two ends err independently, each by a pixel / sqrt(12).

    The pixel is the geometric mean of its two edges. Our own choice; it holds for the grid, and where an observer
    draws the edge is not in it.
    """
    spacing = np.delete(np.linalg.norm(affine[:3, :3], axis=0), axial_axis(affine) if axis is None else axis)
    return float(np.sqrt(2) * EDGE_STANDARD_DEVIATION * np.sqrt(spacing.prod()))


def rano_measures(region: np.ndarray, affine: np.ndarray) -> dict[str, Measured]:
    """`longest_diameter` and `perpendicular_diameter` (mm) and `bidimensional_product` (mm²) of RANO.

    The product a b has the standard deviation s sqrt(a² + b²), with s that of a diameter. `InputError` for an empty
    region.
    """
    longest, perpendicular = diameters_mm(region, affine)
    spread = diameter_standard_deviation_mm(affine)
    product = Measured(longest * perpendicular, spread * float(np.hypot(longest, perpendicular)), "mm²")
    return {
        "longest_diameter": Measured(longest, spread, "mm"),
        "perpendicular_diameter": Measured(perpendicular, spread, "mm"),
        "bidimensional_product": product,
    }


def voxels_of(region: np.ndarray) -> np.ndarray:
    """(N, 3) indices of the voxels of a region; `InputError` for an empty one."""
    voxels = np.argwhere(region)
    if not len(voxels):
        raise InputError("the region is empty; check the segmentation")
    return voxels
