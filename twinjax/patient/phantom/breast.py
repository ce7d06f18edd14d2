"""A breast: half an ellipsoid of fat with a glandular disc behind the nipple. Synthetic, our own."""

import numpy as np
from scipy import ndimage

from twinjax.core.errors import InputError
from twinjax.domain import Domain

# Of the glandular tissue: its edge is drawn within this share of its own size, over lengths of this many mm.
ROUGHNESS, GRAIN_MM = 0.35, 9.0
# Deviation of the logarithm of the drug distribution.
PERFUSION_SPREAD = 0.35


def breast(
    radius_mm: float = 55.0,
    depth_mm: float = 50.0,
    *,
    resolution_mm: float = 1.5,
    density: float = 0.4,
    seed: int = 0,
) -> Domain:
    """A breast on the chest wall, which is the plane z = 0; the nipple is at (0, 0, `depth_mm`).

    **Arguments:** `radius_mm` at the chest wall; `depth_mm` from there to the nipple; `density`, about the share of
    the breast that is fibroglandular; `seed` of its shape and of where drugs come to.

    **Returns** a `Domain` (RAS, mm) with the maps `adipose`, `fibroglandular` (fractions) and `drug_distribution`
    (relative, mean 1 over the breast). Raises `InputError` for a size or density out of range.
    """
    if not (min(radius_mm, depth_mm) >= 10 and 0 < resolution_mm <= 10):
        raise InputError("a breast phantom needs radius_mm and depth_mm of at least 10, resolution_mm of at most 10")
    if not 0 < density < 1:
        raise InputError(f"the density of a breast phantom must lie in (0, 1), got {density}")
    shape = tuple(int(np.ceil(length / resolution_mm)) for length in (2 * radius_mm, 2 * radius_mm, depth_mm))
    affine = np.diag([resolution_mm] * 3 + [1.0])
    affine[:3, 3] = [-(n - 1) / 2 * resolution_mm for n in shape[:2]] + [resolution_mm / 2]
    axes = [affine[a, 3] + resolution_mm * np.arange(n) for a, n in enumerate(shape)]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    mask = (x / radius_mm) ** 2 + (y / radius_mm) ** 2 + (z / depth_mm) ** 2 <= 1
    rng = np.random.default_rng(seed)
    grain = _smooth(shape, GRAIN_MM / resolution_mm, rng)
    # Ducts and lobes fan out from behind the nipple.
    centre = 0.55 * depth_mm
    outward = (
        np.sqrt((x / radius_mm) ** 2 + (y / radius_mm) ** 2 + ((z - centre) / depth_mm) ** 2) + ROUGHNESS * grain / 2
    )
    edge = np.quantile(outward[mask], density)
    fibroglandular = mask / (1 + np.exp(np.clip((outward - edge) / 0.02, -50, 50)))
    perfusion = np.exp(PERFUSION_SPREAD * _smooth(shape, GRAIN_MM / resolution_mm, rng))
    maps = {
        "adipose": mask - fibroglandular,
        "fibroglandular": fibroglandular,
        "drug_distribution": perfusion * mask / perfusion[mask].mean(),
    }
    return Domain(mask, (resolution_mm,) * 3, maps=maps, affine=affine)


def _smooth(shape, width: float, rng: np.random.Generator) -> np.ndarray:
    """A smooth random field of zero mean and unit variance; `width` in voxels."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape), width, mode="reflect")
    return (field - field.mean()) / field.std()
