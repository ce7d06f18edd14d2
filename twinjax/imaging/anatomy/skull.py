"""Skull stripping by a library."""

import contextlib
import io

import nibabel as nib
import numpy as np

from twinjax.core.errors import InputError, MissingDependencyError


def brain_of(image: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """(X, Y, Z) bool: the brain in a head, by the brain extraction tool (Smith 2002, Hum Brain Mapp 17:143).

    `image` (X, Y, Z) with the skull, best T1; `affine` (4, 4). Raises `MissingDependencyError` without brainextractor,
    `InputError` where it finds no brain.
    """
    try:
        from brainextractor import BrainExtractor  # pyright: ignore
    except ImportError as error:
        raise MissingDependencyError("skull stripping needs brainextractor: pip install 'twinjax[skull]'") from error
    # It prints a line at each of its thousand iterations.
    with contextlib.redirect_stdout(io.StringIO()):
        extractor = BrainExtractor(img=nib.Nifti1Image(np.asarray(image, np.float32), affine))
        extractor.run()
    brain = np.asarray(extractor.compute_mask()) > 0
    if not brain.any():
        raise InputError("no brain was found under the skull; give a brain_mask file")
    return brain
