"""The ICBM 2009 nonlinear symmetric brain template: a healthy average head, for tissue maps and virtual patients."""

import numpy as np

from twinjax.core.errors import InputError, MissingDependencyError
from twinjax.domain import resample
from twinjax.imaging.scan import Scan


def brain_template(resolution_mm: float = 1.0) -> Scan:
    """The ICBM152 template in MNI space (RAS, mm) on an isotropic grid of `resolution_mm`.

    **Returns** a `Scan` with the image `"T1"` (skull-stripped, 0 to 1), `brain_mask`, and the fractions
    `white_matter` and `grey_matter`, which add up to at most 1; what is left of the mask is cerebrospinal fluid.

    Source: Fonov et al. 2011 (NeuroImage 54:313); the files come with nilearn and nothing is downloaded.
    Raises `InputError` for a resolution outside 0.5 to 20 mm, `MissingDependencyError` without nilearn.
    """
    if not (np.isfinite(resolution_mm) and 0.5 <= resolution_mm <= 20):
        raise InputError(f"resolution_mm must lie between 0.5 and 20, got {resolution_mm}")
    try:
        from nilearn import datasets
    except ImportError as error:
        raise MissingDependencyError("the brain template needs nilearn: pip install 'twinjax[imaging]'") from error
    white, grey, mask, t1 = (
        load(resolution=1)
        for load in (
            datasets.load_mni152_wm_template,
            datasets.load_mni152_gm_template,
            datasets.load_mni152_brain_mask,
            datasets.load_mni152_template,
        )
    )
    native = np.asarray(t1.affine, dtype=float)
    # Both grids start at the same corner, so the first centres lie half a voxel edge from it.
    zoom = np.diag([resolution_mm] * 3 + [1.0])
    zoom[:3, 3] = (resolution_mm - 1) / 2
    affine = native @ zoom
    shape = tuple(int(np.ceil(n / resolution_mm)) for n in t1.shape)
    arrays = (np.asarray(image.dataobj, dtype=np.float32) for image in (white, grey, mask, t1))
    white, grey, mask, t1 = (resample(array, native, affine, shape) for array in arrays)
    brain = mask >= 0.5
    total = np.maximum(white + grey, 1.0)
    white, grey = (np.clip(tissue / total, 0, 1) * brain for tissue in (white, grey))
    return Scan(affine, {"T1": t1 * brain}, brain_mask=brain, white_matter=white, grey_matter=grey)
