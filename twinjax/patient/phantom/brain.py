"""A region of the ICBM152 brain: real anatomy, the average of 152 people."""

from collections.abc import Sequence

import numpy as np

from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.imaging.template import brain_template


def brain(
    center_mm: Sequence[float] = (28.0, 30.0, 16.0), extent_mm: float = 80.0, *, resolution_mm: float = 1.5
) -> Domain:
    """The tissue within `extent_mm` (edge of a cube) about `center_mm` (MNI, RAS): maps `white_matter`, `grey_matter`.

    Raises `InputError` where that holds no tissue.
    """
    template = brain_template(1.0)
    whole = Domain.from_tissue(template.white_matter, template.grey_matter, template.affine)
    offset = np.abs(np.asarray(whole.coordinates()) - np.reshape(center_mm, (3, 1, 1, 1)))
    region = (offset <= extent_mm / 2).all(axis=0) & np.asarray(whole.mask)
    if not region.any():
        raise InputError(f"center_mm {list(center_mm)} and extent_mm {extent_mm:g} hold no tissue; move it (MNI, mm)")
    return whole.cropped(*whole.box_around(region, 0.0)).resampled(resolution_mm)
