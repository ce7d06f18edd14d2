"""The surface of a region and what follows from it: sphericity, compactness, elongation, the error of its volume."""

import numpy as np
from scipy import ndimage

from twinjax.core.errors import InputError, MissingDependencyError
from twinjax.imaging.features.measured import Measured
from twinjax.imaging.features.size import EDGE_STANDARD_DEVIATION, volume_mm3, voxels_of


def surface_area_mm2(region: np.ndarray, affine: np.ndarray) -> float:
    """Surface (mm²) of a boolean (X, Y, Z) region, by Crofton's formula on counted intersections (SimpleITK).

    Lehmann and Legland 2012 (Insight Journal, "Efficient N-dimensional surface estimation using Crofton formula and
    run-length encoding"). On voxels that are not cubes the region is first brought to cubes of the shortest edge by
    its signed distance (Raya and Udupa 1990, IEEE TMI 9:32): counted on the voxels themselves the surface errs by up to
    20 % at 5 mm planes. Within 4 % for balls and spheroids of some ten voxels across; too small for boxes along the
    grid, whose edges are taken for rounded. Raises `InputError` for an empty region or a sheared grid,
    `MissingDependencyError` without SimpleITK.
    """
    try:
        import SimpleITK as sitk
    except ImportError as error:
        raise MissingDependencyError("surfaces need SimpleITK: pip install 'twinjax[imaging]'") from error
    voxels = voxels_of(region)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    directions = affine[:3, :3] / spacing
    if not np.allclose(directions.T @ directions, np.eye(3), atol=1e-3):
        raise InputError("surfaces need a grid without shear; resample the scan to perpendicular axes")
    box = tuple(slice(first, last + 1) for first, last in zip(voxels.min(0), voxels.max(0), strict=True))
    cubes, spacing = _cubes(np.pad(region[box], 2), spacing)
    image = sitk.GetImageFromArray(cubes.astype(np.uint8).transpose(2, 1, 0))
    image.SetSpacing(spacing.tolist())
    statistics = sitk.LabelShapeStatisticsImageFilter()
    statistics.ComputePerimeterOn()
    statistics.Execute(image)
    return float(statistics.GetPerimeter(1))


def measure_volume(region: np.ndarray, affine: np.ndarray) -> Measured:
    """Volume (mm³) of a boolean (X, Y, Z) region with the standard deviation S h / sqrt(12), 0 for an empty one.

    The whole surface S is taken to err together by the same part of a voxel, uniformly within its edge h (the cube
    root of the voxel's volume): an upper bound of the partial-volume error, since parts of the surface that err by
    themselves cancel. Our own choice; where an observer draws the edge is not in it. Errors of `surface_area_mm2`.
    """
    volume = volume_mm3(region, affine)
    surface = surface_area_mm2(region, affine) if volume else 0.0
    return Measured(volume, surface * EDGE_STANDARD_DEVIATION * abs(np.linalg.det(affine[:3, :3])) ** (1 / 3), "mm³")


def shape_measures(region: np.ndarray, affine: np.ndarray) -> dict[str, Measured]:
    """Surface (mm²) and the dimensionless measures of a boolean (X, Y, Z) region's shape.

    With volume V, surface S and the principal moments m1 <= m2 <= m3 (Zwanenburg et al. 2020, Radiology 295:328):

    - `sphericity` (36 pi V²)^(1/3) / S and its cube `compactness` 36 pi V² / S³ ("compactness 2"): 1 for a ball;
    - `elongation` sqrt(m2 / m3) and `flatness` sqrt(m1 / m3): 1 for a ball, small for a rod and a sheet, NaN for a
      single voxel.

    Their standard deviations follow from a shift d = h / sqrt(12) of the edge, as in `measure_volume`: of S,
    8 pi r d for the ball of radius r with the same S (dS/dr); of the sphericity, 2/3 of the relative error of V
    against that of S, which move together; NaN for the moments. The estimate of S may push the sphericity above 1 by
    a percent. Errors of `surface_area_mm2`.
    """
    volume, surface = measure_volume(region, affine), surface_area_mm2(region, affine)
    shift = volume.standard_deviation / surface
    surface_error = 8 * np.pi * np.sqrt(surface / (4 * np.pi)) * shift
    sphericity = (36 * np.pi * volume.value**2) ** (1 / 3) / surface
    relative = abs(2 / 3 * volume.standard_deviation / volume.value - surface_error / surface)
    moments = _principal_moments(region, affine)
    elongation, flatness = np.sqrt(moments[[1, 0]] / moments[2]) if moments[2] > 0 else (np.nan, np.nan)
    return {
        "surface_area": Measured(surface, surface_error, "mm²"),
        "sphericity": Measured(sphericity, sphericity * relative),
        "compactness": Measured(sphericity**3, 3 * sphericity**3 * relative),
        "elongation": Measured(float(elongation)),
        "flatness": Measured(float(flatness)),
    }


def _principal_moments(region: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """(3,) variances (mm²) of the voxel centres along their principal axes, ascending."""
    points = voxels_of(region) @ affine[:3, :3].T
    return np.maximum(np.linalg.eigvalsh(np.cov(points, rowvar=False, bias=True)), 0.0)


def _cubes(region: np.ndarray, spacing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The region on cubes of the shortest edge with its new spacing; as it is on cubes, or if no cube would be left."""
    edge = spacing.min()
    if np.allclose(spacing, edge, rtol=1e-3):
        return region, spacing
    inside, outside = (ndimage.distance_transform_edt(part, sampling=spacing) for part in (region, ~region))
    shape = tuple(((np.asarray(region.shape) - 1) * spacing / edge).astype(int) + 1)
    distance = np.asarray(inside, float) - np.asarray(outside, float)
    cubes = ndimage.affine_transform(distance, edge / spacing, output_shape=shape, order=1, mode="nearest") > 0
    return (cubes, np.full(3, edge)) if cubes.any() else (region, spacing)
