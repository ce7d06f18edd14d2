"""One image through the user's MONAI transforms, and the correction of its receive field."""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from twinjax.core.errors import InputError, MissingDependencyError
from twinjax.imaging.nifti import Image, check_affine

# Of N4: control points a level, and how much coarser than the image the field is fitted; it is smooth.
_FIELD_ITERATIONS, _FIELD_SHRINK = (30, 30, 20), 4


def monai() -> Any:
    """MONAI, loaded where it is used; `MissingDependencyError` without it."""
    try:
        import monai.data
        import monai.transforms
    except ImportError as error:
        raise MissingDependencyError("image processing needs MONAI: pip install 'twinjax[imaging]'") from error
    return monai


def default_preprocessing(spacing_mm: float = 1.0) -> Callable:
    """The MONAI `Compose` for callers without one: isotropic voxels, intensities from 0 to 1, background cropped."""
    transforms = monai().transforms
    # MONAI warns of a decoder of DICOM for GPUs that is not there; NIfTI does not need it.
    logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="NvImgCodec")
        load = transforms.LoadImage(image_only=True, reader="NibabelReader")
    return transforms.Compose(
        [
            load,
            transforms.EnsureChannelFirst(),
            transforms.Spacing(pixdim=(spacing_mm,) * 3),
            transforms.ScaleIntensity(minv=0.0, maxv=1.0),
            transforms.CropForeground(),
        ]
    )


def preprocess(transforms: Callable, path: Path) -> Image:
    """One file through `transforms`. By itself: intensities are scaled per image, and a stack of images on different
    grids is none."""
    try:
        result = transforms(str(path))
    # The transforms are the user's own, and may raise anything.
    except Exception as error:
        reason = (str(error.__cause__ or error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"preprocessing failed on {path.name} ({reason}); start it with LoadImage") from error
    affine = getattr(result, "affine", None)
    if affine is None or result.ndim != 4 or result.shape[0] != 1:
        raise InputError(
            f"preprocessing must give a (1, X, Y, Z) MetaTensor, got shape {tuple(getattr(result, 'shape', ()))} for "
            f"{path.name}; use LoadImage(image_only=True) and EnsureChannelFirst"
        )
    affine = np.asarray(affine, dtype=float)
    check_affine(affine, path.name)
    data = np.asarray(result[0], dtype=np.float32)
    if data.size == 0 or not np.isfinite(data).all():
        raise InputError(f"preprocessing left {path.name} empty or with NaN voxels; check its transforms")
    return Image(data, affine)


def without_bias_field(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(X, Y, Z) `image` divided by the smooth receive field of its scanner, by N4 (Tustison et al. 2010, IEEE TMI
    29:1310) inside `mask`; the mean in the mask stays. Values outside the mask are divided by the same field."""
    try:
        import SimpleITK as sitk
    except ImportError as error:
        raise MissingDependencyError("N4 needs SimpleITK: pip install 'twinjax[imaging]'") from error
    shrink = [max(1, min(_FIELD_SHRINK, n // 8)) for n in image.shape[::-1]]
    whole, inside = (sitk.GetImageFromArray(np.asarray(a, np.float32)) for a in (image, mask))
    corrector = sitk.N4BiasFieldCorrectionImageFilter()
    corrector.SetMaximumNumberOfIterations(list(_FIELD_ITERATIONS))
    corrector.Execute(sitk.Shrink(whole, shrink[::-1]), sitk.Shrink(sitk.Cast(inside, sitk.sitkUInt8), shrink[::-1]))
    field = np.exp(sitk.GetArrayFromImage(corrector.GetLogBiasFieldAsImage(whole)))
    corrected = image / field
    return (corrected * image[mask].mean() / max(float(corrected[mask].mean()), 1e-12)).astype(np.float32)
