"""A prostate: an ellipsoid, better perfused in the middle than at the back. Synthetic, our own."""

import numpy as np
from scipy import ndimage

from twinjax.core.errors import InputError
from twinjax.domain import Domain

# Perfusion varies over this many mm, with this deviation of its logarithm.
GRAIN_MM, PERFUSION_SPREAD = 8.0, 0.35
# The transition zone: this share of the gland's axes, moved forward by this share of its depth, and how much better it
# is perfused than the peripheral zone.
TRANSITION_SHARE, TRANSITION_SHIFT, TRANSITION_PERFUSION = 0.6, 0.12, 1.4


def prostate(
    width_mm: float = 50.0,
    depth_mm: float = 38.0,
    height_mm: float = 40.0,
    *,
    resolution_mm: float = 2.0,
    seed: int = 0,
) -> Domain:
    """A gland about the origin, by default of 40 cm³; x to the right, y to the front, z to the head (mm).

    **Arguments:** its three axes; `resolution_mm`; `seed` of the perfusion.

    **Returns** a `Domain` with the map `perfusion` (relative, mean 1 over the gland). Raises `InputError` for a size
    out of range.
    """
    axes = (width_mm, depth_mm, height_mm)
    if not (min(axes) >= 10 and 0 < resolution_mm <= 10):
        raise InputError("a prostate phantom needs axes of at least 10 mm and a resolution_mm of at most 10")
    shape = tuple(int(np.ceil(length / resolution_mm)) for length in axes)
    affine = np.diag([resolution_mm] * 3 + [1.0])
    affine[:3, 3] = [-(n - 1) / 2 * resolution_mm for n in shape]
    lines = [affine[axis, 3] + resolution_mm * np.arange(n) for axis, n in enumerate(shape)]
    x, y, z = np.meshgrid(*lines, indexing="ij", sparse=True)
    mask = _inside(x, y, z, axes)
    transition = _inside(x, y - TRANSITION_SHIFT * depth_mm, z, [TRANSITION_SHARE * length for length in axes])
    rng = np.random.default_rng(seed)
    grain = ndimage.gaussian_filter(rng.standard_normal(shape), GRAIN_MM / resolution_mm, mode="reflect")
    perfusion = np.where(transition, TRANSITION_PERFUSION, 1.0) * np.exp(PERFUSION_SPREAD * grain / grain.std())
    return Domain(
        mask, (resolution_mm,) * 3, maps={"perfusion": perfusion * mask / perfusion[mask].mean()}, affine=affine
    )


def _inside(x, y, z, axes) -> np.ndarray:
    width, depth, height = axes
    return (2 * x / width) ** 2 + (2 * y / depth) ** 2 + (2 * z / height) ** 2 <= 1
