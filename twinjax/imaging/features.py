"""Quantities read from segmentations and images."""

import numpy as np
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist, squareform

from twinjax.core.errors import InputError
from twinjax.imaging.scan import Scan


def volume_mm3(region: np.ndarray, affine: np.ndarray) -> float:
    """Volume (mm³) of a boolean (X, Y, Z) region; `affine` (4, 4), mm."""
    return float(np.count_nonzero(region) * abs(np.linalg.det(affine[:3, :3])))


def centre_of_mass_mm(region: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """(3,) centre of a boolean (X, Y, Z) region in patient space (RAS, mm); `InputError` for an empty one."""
    return (affine @ [*_voxels(region).mean(axis=0), 1.0])[:3]


def diameters_mm(region: np.ndarray, affine: np.ndarray) -> tuple[float, float]:
    """The longest diameter in any plane of the third axis, and the extent perpendicular to it in that plane (mm).

    The bidimensional measurement of the RANO criteria (Wen et al. 2010, J Clin Oncol 28:1963), between voxel
    centres; their product is the bidimensional product. `region` is boolean (X, Y, Z). `InputError` for an
    empty region.
    """
    voxels = _voxels(region)
    best = (0.0, 0.0)
    for plane in np.unique(voxels[:, 2]):
        points = voxels[voxels[:, 2] == plane] @ affine[:3, :3].T
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


def tumor_features(scan: Scan) -> dict[str, float]:
    """Volumes (mm³) of core and whole tumour; diameters and centre (mm, patient space) of the core, or of the whole
    without a core; NaN without a tumour."""
    region = scan.core if scan.core.any() else scan.whole_tumor
    longest, perpendicular, centre = np.nan, np.nan, np.full(3, np.nan)
    if region.any():
        longest, perpendicular = diameters_mm(region, scan.affine)
        centre = centre_of_mass_mm(region, scan.affine)
    return {
        "core_volume_mm3": volume_mm3(scan.core, scan.affine),
        "whole_tumor_volume_mm3": volume_mm3(scan.whole_tumor, scan.affine),
        "longest_diameter_mm": longest,
        "perpendicular_diameter_mm": perpendicular,
        **{f"centre_{axis}_mm": float(x) for axis, x in zip("xyz", centre, strict=True)},
    }


def cellularity_from_adc(
    adc: np.ndarray, region: np.ndarray, adc_water: float = 3.0e-3, adc_min: float | None = None
) -> np.ndarray:
    """Cell density (fraction of carrying capacity, 0 to 1) from the apparent diffusion coefficient, 0 outside `region`.

    density = clip((adc_water - adc) / (adc_water - adc_min), 0, 1), as in Wu et al. 2022 (Cancer Res 82:3394):
    free water holds no cells, and the lowest ADC of the tumour is full.

    **Arguments:** `adc` (X, Y, Z) in mm²/s; `region` bool (X, Y, Z); `adc_water` in mm²/s at body temperature;
    `adc_min` in mm²/s, by default the smaller of the minimum and mean - 1.96 sd over `region`. For several
    visits pass the smallest of all. Raises `InputError` for an empty region or an `adc_min` outside
    (0, adc_water).
    """
    adc, region = np.asarray(adc, dtype=float), np.asarray(region, dtype=bool)
    if adc.shape != region.shape:
        raise InputError(f"ADC has shape {adc.shape}, the region {region.shape}; resample one to the other")
    _voxels(region)
    inside = adc[region]
    if adc_min is None:
        # Voxels without a measured ADC hold 0.
        measured = inside[inside > 0]
        if not measured.size:
            raise InputError("ADC is 0 in the whole region; check that the ADC map covers the tumour")
        adc_min = max(min(float(measured.min()), float(measured.mean() - 1.96 * measured.std())), 1e-9)
    if not 0 < adc_min < adc_water:
        raise InputError(f"adc_min {adc_min:g} must lie between 0 and adc_water {adc_water:g} mm²/s; is ADC in mm²/s?")
    density = np.zeros(adc.shape, dtype=np.float32)
    density[region] = np.clip((adc_water - inside) / (adc_water - adc_min), 0, 1)
    return density


def _voxels(region: np.ndarray) -> np.ndarray:
    voxels = np.argwhere(region)
    if not len(voxels):
        raise InputError("the region is empty; check the segmentation")
    return voxels
