"""Linear registration by mutual information, on coarse isotropic copies of the images."""

from typing import Literal

import numpy as np

from twinjax.core.errors import InputError, MissingDependencyError
from twinjax.domain import resample


def register(
    fixed: np.ndarray,
    fixed_affine: np.ndarray,
    moving: np.ndarray,
    moving_affine: np.ndarray,
    *,
    kind: Literal["rigid", "affine"] = "rigid",
    resolution_mm: float = 3.0,
    align_centres: bool = False,
) -> np.ndarray:
    """The (4, 4) map from points of `fixed` (RAS, mm) to the same anatomy in `moving`.

    `resample(moving, inv(map) @ moving_affine, fixed_affine, fixed.shape)` shows `moving` on the grid of `fixed`.
    Mattes' mutual information (Mattes et al. 2003, IEEE TMI 22:120) over all voxels of isotropic copies of
    `resolution_mm`, by SimpleITK. Images (X, Y, Z) are zero outside the brain. The search starts from the
    identity, or with `align_centres` from the centres of intensity, and its start is kept unless it finds better.
    Heads in full view come within about a millimetre; a small field of view is not a safe ground for it.

    Raises `InputError` where the images cannot be matched, `MissingDependencyError` without SimpleITK.
    """
    try:
        import SimpleITK as sitk
    except ImportError as error:
        raise MissingDependencyError("registration needs SimpleITK: pip install 'twinjax[imaging]'") from error
    images = [isotropic(*pair, resolution_mm) for pair in ((fixed, fixed_affine), (moving, moving_affine))]
    centre = fixed_affine @ [*((np.asarray(fixed.shape) - 1) / 2), 1.0]
    transform = sitk.Euler3DTransform() if kind == "rigid" else sitk.AffineTransform(3)
    transform.SetCenter(centre[:3].tolist())
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    if kind == "rigid":
        # Where a field of view ends is no anatomy: the two scans may be cropped differently. (The edge of the
        # brain is, and an affine map needs it for its scale.)
        inside = [sitk.BinaryErode(image > 0, [2] * 3) for image in images]
        if all(np.any(sitk.GetArrayViewFromImage(mask)) for mask in inside):
            method.SetMetricFixedMask(inside[0])
            method.SetMetricMovingMask(inside[1])
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0, minStep=1e-3, numberOfIterations=150, gradientMagnitudeTolerance=1e-5
    )
    method.SetOptimizerScalesFromPhysicalShift()
    try:
        if align_centres:
            transform = sitk.CenteredTransformInitializer(
                *images, transform, sitk.CenteredTransformInitializerFilter.MOMENTS
            )
        method.SetInitialTransform(transform, inPlace=False)
        found = method.Execute(*images)
        # The descent can end beside a start that was better, for images that are aligned already above all.
        reached = method.GetMetricValue()
        method.SetInitialTransform(transform, inPlace=False)
        if method.MetricEvaluate(*images) <= reached:
            found = transform
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise InputError(f"registration failed ({reason}); check that both images show the same head") from error
    columns = [found.TransformPoint(point) for point in np.vstack([np.zeros(3), np.eye(3)]).tolist()]
    matrix = np.eye(4)
    matrix[:3, 3] = columns[0]
    matrix[:3, :3] = (np.asarray(columns[1:]) - columns[0]).T
    return matrix


def largest_motion(matrix: np.ndarray, region: np.ndarray, affine: np.ndarray) -> float:
    """How far (mm) `matrix` moves the farthest-moving voxel of `region` (bool, (X, Y, Z))."""
    points = affine @ np.vstack([np.argwhere(region).T, np.ones(int(region.sum()))])
    return float(np.linalg.norm(((matrix - np.eye(4)) @ points)[:3], axis=0).max(initial=0.0))


def isotropic(array: np.ndarray, affine: np.ndarray, resolution_mm: float):
    """A SimpleITK image along the axes of patient space: an oblique or sheared grid is a matter of `resample`."""
    import SimpleITK as sitk

    ends = np.array([[0, n - 1] for n in array.shape])
    corners = affine @ np.vstack([np.stack(np.meshgrid(*ends, indexing="ij")).reshape(3, -1), np.ones(8)])
    lower, upper = corners[:3].min(axis=1), corners[:3].max(axis=1)
    shape = tuple(int(n) for n in np.ceil((upper - lower) / resolution_mm) + 1)
    target = np.diag([resolution_mm] * 3 + [1.0])
    target[:3, 3] = lower
    image = sitk.GetImageFromArray(resample(array, affine, target, shape).transpose(2, 1, 0))
    image.SetSpacing([resolution_mm] * 3)
    image.SetOrigin(lower.tolist())
    return image
