"""Uptake in positron emission tomography: SUV statistics, and the tumour against its background."""

import numpy as np
from scipy import ndimage

from twinjax.core.errors import InputError
from twinjax.imaging.features.measured import Measured
from twinjax.imaging.features.shape import measure_volume
from twinjax.imaging.features.size import voxels_of

# Radius (mm) of the sphere of 1 cm³ of SUVpeak.
PEAK_RADIUS_MM = (3 * 1000 / (4 * np.pi)) ** (1 / 3)
# Parts of a voxel's edge by which the rim of the sphere is weighted.
SUBDIVISIONS = 5


def suv_statistics(
    suv: np.ndarray,
    region: np.ndarray,
    affine: np.ndarray,
    *,
    relative_threshold: float = 0.41,
    fixed_threshold: float | None = None,
) -> dict[str, Measured]:
    """`suv_max`, `suv_peak`, `suv_mean`, `metabolic_volume` (mm³) and `total_lesion_glycolysis` (mL) in a region.

    - The metabolic volume: voxels of the region with at least `relative_threshold` of the maximum (41 %: Boellaard et
      al. 2015, Eur J Nucl Med Mol Imaging 42:328), or with at least `fixed_threshold` (SUV) where that is given.
    - SUVmean is the mean over the metabolic volume; glycolysis is their product.
    - SUVpeak is the highest mean in a sphere of 1 cm³ centred in the region, which it may leave (Wahl et al. 2009, J
      Nucl Med 50:122S); voxels on the rim count by the part inside, those outside the image not at all.

    The standard deviation of the metabolic volume is that of `measure_volume`; glycolysis takes its relative error,
    which leaves out that of the SUV. The others have none: noise of the scanner is not seen in one image.

    **Arguments:** `suv` (X, Y, Z), body-weight SUV; `region` bool (X, Y, Z); `affine` (4, 4) in mm. Raises `InputError`
    for an empty region, shapes that differ, or a threshold that no voxel reaches.
    """
    suv, region = _checked(suv, region)
    highest = float(suv[region].max())
    threshold = relative_threshold * highest if fixed_threshold is None else fixed_threshold
    active = region & (suv >= threshold)
    if highest <= 0 or not active.any():
        raise InputError(f"no voxel of the region reaches SUV {threshold:g}; lower fixed_threshold or check the SUV")
    volume, mean = measure_volume(active, affine), float(suv[active].mean())
    glycolysis = Measured(mean * volume.value / 1000, mean * volume.standard_deviation / 1000, "mL")
    return {
        "suv_max": Measured(highest),
        "suv_peak": Measured(_peak(suv, region, affine)),
        "suv_mean": Measured(mean),
        "metabolic_volume": volume,
        "total_lesion_glycolysis": glycolysis,
    }


def tumor_to_background(
    uptake: np.ndarray, region: np.ndarray, background: np.ndarray, affine: np.ndarray, *, threshold: float = 1.6
) -> dict[str, Measured]:
    """Tumour-to-background ratios of amino-acid PET such as FET: `ratio_max`, `ratio_mean`, `biological_volume` (mm³).

    Uptake over its mean in the background (Law et al. 2019, Eur J Nucl Med Mol Imaging 46:540: healthy tissue of the
    other hemisphere); the biological volume is where the ratio reaches `threshold` inside the region (1.6: Pauleit et
    al. 2005, Brain 128:678), and `ratio_mean` is the mean over it, NaN where there is none. The ratios' standard
    deviations are those of the background's mean, sd / sqrt(n) with each voxel independent: a lower bound.

    **Arguments:** `uptake` (X, Y, Z), any unit; `region`, `background` bool (X, Y, Z); `affine` (4, 4) in mm. Raises
    `InputError` for an empty region or background, or a background without uptake.
    """
    uptake, region = _checked(uptake, region)
    around = uptake[np.asarray(background, bool)]
    if not around.size or around.mean() <= 0:
        raise InputError("the background is empty or without uptake; give a mask of healthy tissue")
    ratio = uptake / around.mean()
    relative = float(around.std() / around.mean() / np.sqrt(around.size))
    active = region & (ratio >= threshold)
    highest = float(ratio[region].max())
    mean = float(ratio[active].mean()) if active.any() else np.nan
    return {
        "ratio_max": Measured(highest, highest * relative),
        "ratio_mean": Measured(mean, mean * relative),
        "biological_volume": measure_volume(active, affine),
    }


def _checked(uptake: np.ndarray, region: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    uptake, region = np.asarray(uptake, float), np.asarray(region, bool)
    if uptake.shape != region.shape:
        raise InputError(f"the PET image has shape {uptake.shape}, the region {region.shape}; resample one")
    voxels_of(region)
    return uptake, region


def _peak(suv: np.ndarray, region: np.ndarray, affine: np.ndarray) -> float:
    """The largest mean in the sphere over centres in the region, on the region's box with a margin."""
    kernel = _sphere(affine)
    reach = np.asarray(kernel.shape) // 2
    voxels = voxels_of(region)
    box = tuple(
        slice(max(0, first - margin), last + 1 + margin)
        for first, last, margin in zip(voxels.min(0), voxels.max(0), reach, strict=True)
    )
    inside = np.ones(suv[box].shape)
    sums, weights = (ndimage.convolve(field, kernel, mode="constant") for field in (suv[box], inside))
    return float((sums / weights)[region[box]].max())


def _sphere(affine: np.ndarray) -> np.ndarray:
    """The part of each voxel that lies in the sphere about the middle one."""
    # The extent of the sphere along a voxel axis, for any angles between the axes.
    reach = np.ceil(PEAK_RADIUS_MM * np.linalg.norm(np.linalg.inv(affine[:3, :3]), axis=1)).astype(int)
    part = (np.arange(SUBDIVISIONS) + 0.5) / SUBDIVISIONS - 0.5
    axes = [(np.arange(-n, n + 1)[:, None] + part).ravel() for n in reach]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) @ affine[:3, :3].T
    inside = np.linalg.norm(points, axis=-1) <= PEAK_RADIUS_MM
    shape = [size for n in reach for size in (2 * n + 1, SUBDIVISIONS)]
    return inside.reshape(shape).mean(axis=(1, 3, 5))
