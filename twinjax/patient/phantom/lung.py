"""A right lung: an ellipsoid beside the mediastinum, on the dome of the diaphragm. Synthetic, our own."""

from collections.abc import Sequence

import numpy as np

from twinjax.core.errors import InputError
from twinjax.domain import Domain


def lung(
    width_mm: float = 110.0,
    depth_mm: float = 160.0,
    height_mm: float = 220.0,
    *,
    resolution_mm: float = 2.0,
    field_of_view_mm: float | None = None,
    center_mm: Sequence[float] = (40.0, 0.0, 0.0),
) -> Domain:
    """Half an ellipsoid whose flat side is the mediastinum, the plane x = 0, hollowed from below by a dome.

    **Arguments:** the extents from the mediastinum to the ribs (x), from back to front (y) and from the diaphragm's
    edge to the apex (z); `field_of_view_mm`, edge of a cube around `center_mm` that is kept, or None for all of it.

    **Returns** a `Domain` (RAS, mm; the origin on the mediastinum, midway in depth and height) without maps: lung is
    taken as even. Raises `InputError` for a size out of range.
    """
    if not (min(width_mm, depth_mm, height_mm) >= 20 and 0 < resolution_mm <= 10):
        raise InputError("a lung phantom needs extents of at least 20 mm and a resolution_mm of at most 10")
    lower = np.array([0.0, -depth_mm / 2, -height_mm / 2])
    upper = np.array([width_mm, depth_mm / 2, height_mm / 2])
    if field_of_view_mm is not None:
        center = np.asarray(center_mm, float)
        lower = np.maximum(lower, center - field_of_view_mm / 2)
        upper = np.minimum(upper, center + field_of_view_mm / 2)
        if not (upper - lower >= 4 * resolution_mm).all():
            raise InputError(f"center_mm {list(center_mm)} and its field of view lie outside the lung phantom")
    shape = tuple(int(n) for n in np.ceil((upper - lower) / resolution_mm))
    affine = np.diag([resolution_mm] * 3 + [1.0])
    affine[:3, 3] = lower + resolution_mm / 2
    axes = [affine[axis, 3] + resolution_mm * np.arange(n) for axis, n in enumerate(shape)]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    # The ellipsoid's middle lies low, so that the apex is narrow; the dome's top is a quarter of the way up.
    inside = (x / width_mm) ** 2 + (2 * y / depth_mm) ** 2 + ((z + height_mm / 4) / (0.75 * height_mm)) ** 2 <= 1
    dome = height_mm / 4 * np.maximum(1 - ((x - width_mm / 3) / width_mm) ** 2 - (2 * y / depth_mm) ** 2, 0)
    return Domain(inside & (z > dome - height_mm / 2), (resolution_mm,) * 3, affine=affine)
