"""A pancreas: a bent tube from a thick head to a thin tail. Synthetic, our own."""

import numpy as np
from scipy import ndimage

from twinjax.core.errors import InputError
from twinjax.domain import Domain

# Centre line (mm, patient space: left, forward, up from the middle of the head) and radius along it.
CENTRE_LINE = ((0, 0, -8), (4, 2, 8), (22, 10, 16), (46, 8, 20), (72, -2, 26), (92, -10, 32))
RADII = (17, 16, 10, 10, 9, 7)
# Of the random fields: length in mm, and the deviation of the logarithm of perfusion at even stroma.
GRAIN_MM, PERFUSION_SPREAD = 8.0, 0.25


def pancreas(
    *, resolution_mm: float = 1.5, scale: float = 1.0, stroma: float = 0.5, extent: float = 1.0, seed: int = 0
) -> Domain:
    """A pancreas of about 100 mm, whose head lies around the origin.

    **Arguments:** `scale` of all lengths; `stroma`, its mean fraction; `extent`, the part of its length from the head
    on that is kept (a tumour of the head needs no tail); `seed` of the maps.

    **Returns** a `Domain` (mm; the axes point left, forward and up) with the maps `stroma` (fraction) and `perfusion`
    (Ktrans relative to its mean over the organ, lower where stroma is dense). Raises `InputError` for values out of
    range.
    """
    if not (0 < resolution_mm <= 10 and 0.2 <= scale <= 5):
        raise InputError("a pancreas phantom needs resolution_mm of at most 10 and a scale of 0.2 to 5")
    if not (0 < stroma < 1 and 0.1 <= extent <= 1):
        raise InputError("a pancreas phantom needs stroma between 0 and 1 and an extent of 0.1 to 1")
    along = np.linspace(0, extent, 60) * (len(RADII) - 1)
    knots = np.arange(len(RADII))
    line = scale * np.stack([np.interp(along, knots, axis) for axis in np.asarray(CENTRE_LINE, float).T], axis=1)
    radius = scale * np.interp(along, knots, RADII)
    margin = 2 * resolution_mm
    lower, upper = (line - radius[:, None]).min(axis=0) - margin, (line + radius[:, None]).max(axis=0) + margin
    shape = tuple(int(n) for n in np.ceil((upper - lower) / resolution_mm))
    affine = np.diag([resolution_mm] * 3 + [1.0])
    affine[:3, 3] = lower + resolution_mm / 2
    axes = [affine[a, 3] + resolution_mm * np.arange(n) for a, n in enumerate(shape)]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    mask = np.zeros(shape, bool)
    for (px, py, pz), r in zip(line, radius, strict=True):
        mask |= (x - px) ** 2 + (y - py) ** 2 + (z - pz) ** 2 <= r**2
    rng = np.random.default_rng(seed)
    dense, flow = (_smooth(shape, GRAIN_MM / resolution_mm, mask, rng) for _ in range(2))
    # The logit of stroma varies by 0.6, which brings most of it between a quarter and three quarters.
    fraction = 1 / (1 + (1 - stroma) / stroma * np.exp(-0.6 * dense))
    perfusion = np.exp(PERFUSION_SPREAD * flow) / (1 + fraction)
    maps = {"stroma": fraction * mask, "perfusion": perfusion * mask / perfusion[mask].mean()}
    return Domain(mask, (resolution_mm,) * 3, maps=maps, affine=affine)


def _smooth(shape, width: float, mask, rng: np.random.Generator) -> np.ndarray:
    """A smooth random field of zero mean and unit variance over the mask; `width` in voxels."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape), width, mode="reflect")
    return (field - field[mask].mean()) / field[mask].std()
