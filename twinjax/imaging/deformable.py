"""Deformable registration by B-splines and mutual information, which keeps tumours rigid."""

from typing import Any

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from twinjax.core.errors import InputError, MissingDependencyError
from twinjax.domain import resample
from twinjax.imaging.deformation import Deformation
from twinjax.imaging.registration import isotropic

RESOLUTION_MM = 3.0
# Share of the voxels that the metric looks at, and steps of the optimiser.
_SAMPLED, _STEPS = 0.1, 40
# Of the organ, what must be left outside tumours and their margin, or there is nothing to register by.
_SMALLEST_SHARE = 0.2


def deform(
    fixed: np.ndarray,
    moving: np.ndarray,
    affine: np.ndarray,
    *,
    organ: np.ndarray,
    seen: np.ndarray | None = None,
    tumor: np.ndarray | None = None,
    knots_mm: float = 24.0,
    margin_mm: float = 12.0,
) -> Deformation:
    """The map from points of `fixed` (RAS, mm) to the same tissue in `moving`, images (X, Y, Z) of one grid, which a
    rigid registration has laid on each other.

    A free-form deformation (Rueckert et al. 1999, IEEE TMI 18:712) whose cubic B-splines have a knot every `knots_mm`,
    which is all of its regularisation, by Mattes' mutual information on copies of 3 mm, by SimpleITK. Nothing finer
    than the knots is followed.

    A tumour that grows must not be registered away. So `tumor`, where it is on either image, and `margin_mm` around it
    are left out of the metric (Brett et al. 2001, NeuroImage 14:486), and the tumour moves as a rigid body, by the
    motion that fits the tissue around it best; over the margin that becomes the free deformation. Its volume stays.
    What the tumour has pushed aside outside of the margin is still taken for deformation. The margin is our choice.

    **Arguments:** `organ`, where `fixed` has tissue; `seen`, the field of view of `moving` (default: all); both and
    `tumor` (X, Y, Z) bool on the grid. Raises `InputError` where too little is left to register by, the images cannot
    be matched or tissue would be folded.
    """
    try:
        import SimpleITK as sitk
    except ImportError as error:
        raise MissingDependencyError("registration needs SimpleITK: pip install 'twinjax[imaging]'") from error
    images = [isotropic(image, affine, RESOLUTION_MM) for image in (fixed, moving)]
    grid = np.diag([RESOLUTION_MM] * 3 + [1.0])
    grid[:3, 3] = images[0].GetOrigin()
    shape = images[0].GetSize()

    def on_grid(mask: np.ndarray) -> np.ndarray:
        return resample(mask.astype(np.float32), affine, grid, shape) >= 0.5

    tissue = on_grid(organ)
    away = np.full(shape, np.inf) if tumor is None or not tumor.any() else _distance(on_grid(tumor))
    used = tissue & (away > margin_mm)
    if used.sum() < _SMALLEST_SHARE * tissue.sum():
        raise InputError("the tumour and its margin leave too little of the organ to register by; use rigid")
    # The edge of an organ on dark ground is anatomy, too.
    used = np.asarray(ndimage.binary_dilation(used, iterations=2), bool) & (away > margin_mm)
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricFixedMask(_image(used, images[0]))
    if seen is not None:
        method.SetMetricMovingMask(_image(on_grid(seen), images[1]))
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(_SAMPLED, 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsLBFGS2(numberOfIterations=_STEPS, deltaConvergenceTolerance=1e-4, deltaConvergenceDistance=3)
    mesh = [max(1, round(n * RESOLUTION_MM / (2 * knots_mm))) for n in shape]
    transform = sitk.BSplineTransformInitializer(images[0], mesh, 3)
    method.SetInitialTransformAsBSpline(transform, inPlace=True, scaleFactors=[1, 2])
    method.SetShrinkFactorsPerLevel([2, 1])
    method.SetSmoothingSigmasPerLevel([1, 0])
    try:
        found = method.Execute(*images)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise InputError(f"deformable registration failed ({reason}); check the images, or use rigid") from error
    field = sitk.TransformToDisplacementField(
        found, sitk.sitkVectorFloat64, shape, images[0].GetOrigin(), images[0].GetSpacing(), images[0].GetDirection()
    )
    displacement = sitk.GetArrayFromImage(field).transpose(2, 1, 0, 3)
    return Deformation.create(_rigid_at_tumors(displacement, grid, away, tissue, margin_mm), grid)


def _image(mask: np.ndarray, like):
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(mask.transpose(2, 1, 0).astype(np.uint8))
    image.CopyInformation(like)
    return image


def _distance(mask: np.ndarray) -> np.ndarray:
    """Distance (mm) of each voxel to a mask."""
    return np.asarray(ndimage.distance_transform_edt(~mask, sampling=RESOLUTION_MM))


def _rigid_at_tumors(
    displacement: np.ndarray, grid: np.ndarray, away: np.ndarray, tissue: np.ndarray, margin_mm: float
) -> np.ndarray:
    """`displacement`, in each tumour the rigid motion of the tissue around its margin, and between the two over it."""
    displacement = displacement.copy()
    labelled: Any = ndimage.label(away <= margin_mm)
    zones = labelled[0]
    points = np.moveaxis(np.indices(away.shape), 0, -1) * RESOLUTION_MM + grid[:3, 3]
    for number in range(1, int(zones.max()) + 1):
        zone = zones == number
        ring = (_distance(zone) <= margin_mm) & (away > margin_mm) & tissue
        rigid = np.zeros_like(points[zone])
        # Three directions are not settled by a handful of voxels: such a tumour stays where it is.
        if ring.sum() >= 30:
            start, end = points[ring], points[ring] + displacement[ring]
            rotation = Rotation.align_vectors(end - end.mean(axis=0), start - start.mean(axis=0))[0]
            rigid = rotation.apply(points[zone] - start.mean(axis=0)) + end.mean(axis=0) - points[zone]
        share = np.clip(away[zone] / margin_mm, 0, 1)[:, None]
        free = share**2 * (3 - 2 * share)
        displacement[zone] = free * displacement[zone] + (1 - free) * rigid
    return displacement
