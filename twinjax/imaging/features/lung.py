"""The lungs in a computed tomography of the thorax."""

import numpy as np
from scipy import ndimage

from twinjax.core.errors import InputError
from twinjax.imaging.features.size import axial_axis, volume_mm3

# Hounsfield units between lung (-950 to -600) and soft tissue (0 to 60), halfway or nearly so.
AIR_THRESHOLD_HU = -400.0


def lung_mask(
    ct: np.ndarray,
    affine: np.ndarray,
    *,
    threshold_hu: float = AIR_THRESHOLD_HU,
    closing_mm: float = 10.0,
    smallest_ml: float = 50.0,
) -> np.ndarray:
    """The lungs (X, Y, Z) bool with the vessels and nodules in them, from a CT in Hounsfield units.

    Voxels below `threshold_hu` that are connected, do not reach a side of the image (the air around the patient does;
    lungs may be cut off above and below) and hold at least `smallest_ml`. Each part is closed by itself with a ball of
    radius `closing_mm` and its holes are filled, as is usual since Hu et al. 2001 (IEEE TMI 20:490): vessels and
    nodules belong to the lung, also a nodule at the pleura that is narrower than the ball, but for the flat cap between
    the pleura's curve and the ball; so do hollows narrower than it elsewhere, such as beside the heart.

    Plain: the trachea belongs to the lungs where the image shows them connected; a lung without air (effusion,
    collapse) or a tumour wider than the ball at the pleura is left out. Give such cases a mask.

    Raises `InputError` where no lung is found or a value is out of range.
    """
    ct = np.asarray(ct)
    if ct.ndim != 3 or closing_mm < 0 or smallest_ml < 0:
        raise InputError("lung_mask needs an (X, Y, Z) CT, closing_mm and smallest_ml of at least 0")
    parts, count = ndimage.label(ct < threshold_hu)  # pyright: ignore
    sides = [axis for axis in range(3) if axis != axial_axis(affine)]
    outside = {label for axis in sides for end in (0, -1) for label in np.unique(np.take(parts, end, axis=axis))}
    mask = np.zeros(ct.shape, bool)
    boxes = ndimage.find_objects(parts, count)
    for label in sorted(set(range(1, count + 1)) - outside):
        part = parts[boxes[label - 1]] == label
        if volume_mm3(part, affine) >= 1000 * smallest_ml:
            mask[boxes[label - 1]] |= _closed(part, affine, closing_mm)
    if not mask.any():
        raise InputError(f"no lung below {threshold_hu:g} HU; check that the CT is in Hounsfield units and shows lungs")
    return mask


def _closed(part: np.ndarray, affine: np.ndarray, radius_mm: float) -> np.ndarray:
    """Closing by a ball and filling, by distances: a ball of 10 mm has thousands of voxels. `part` fills its box."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    margins = [int(np.ceil(radius_mm / step)) + 1 for step in spacing]
    padded = np.pad(part, [(margin, margin) for margin in margins])
    near = np.asarray(ndimage.distance_transform_edt(~padded, sampling=spacing)) <= radius_mm
    closed = np.asarray(ndimage.distance_transform_edt(near, sampling=spacing)) > radius_mm
    filled = ndimage.binary_fill_holes(closed | padded)
    return np.asarray(filled)[tuple(slice(margin, -margin) for margin in margins)]
