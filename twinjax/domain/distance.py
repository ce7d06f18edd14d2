"""Distance from the boundary of a region."""

import numpy as np
from scipy import ndimage

# Signed distance (mm) from a region that is nowhere.
NOWHERE = 1e3


def signed_distance(region, spacing, tissue=None) -> np.ndarray:
    """Distance (mm) from the boundary of a boolean region, negative inside it; `NOWHERE` of an empty region.

    Where `tissue` is given (same shape), a region ends only towards tissue: not at the wall that it has grown up to.
    """
    region = np.asarray(region, bool)
    if not region.any():
        return np.full(region.shape, NOWHERE)
    # The wall lies half a voxel from the centres on either side of it; the shortest edge, lest the sign turn.
    half = min(spacing) / 2
    outside = np.asarray(ndimage.distance_transform_edt(~region, sampling=spacing))
    filled = region if tissue is None else region | ~np.asarray(tissue, bool)
    if filled.all():
        return np.where(region, -NOWHERE, outside - half)
    inside = np.asarray(ndimage.distance_transform_edt(filled, sampling=spacing))
    return np.where(region, half - inside, outside - half)
