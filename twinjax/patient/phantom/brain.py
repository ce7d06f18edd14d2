"""A region of the ICBM152 brain: real anatomy, the average of 152 people."""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from scipy import ndimage

from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.imaging.template import brain_template
from twinjax.model import tensor_maps

# Over these distances (mm) the white matter is smoothed before its slope is taken, and the slopes are gathered.
SLOPE_MM, COHERENCE_MM = 1.5, 3.0
# Water (mm²/s) along and across a fibre in white matter, and in grey matter: textbook magnitudes, our own choice.
ALONG_FIBRE, ACROSS_FIBRE, IN_GREY_MATTER = 1.5e-3, 0.4e-3, 0.8e-3


def brain(
    center_mm: Sequence[float] = (28.0, 30.0, 16.0),
    extent_mm: float = 80.0,
    *,
    resolution_mm: float = 1.5,
    fibres: bool = False,
) -> Domain:
    """The tissue within `extent_mm` (edge of a cube) about `center_mm` (MNI, RAS): maps `white_matter`, `grey_matter`.

    With `fibres` also the maps of a diffusion tensor, which are **synthetic**: nobody measured them. In white matter
    they point the way in which it changes least, along sheets and bundles.

    Raises `InputError` where that holds no tissue.
    """
    template = brain_template(1.0)
    whole = Domain.from_tissue(template.white_matter, template.grey_matter, template.affine)
    offset = np.abs(np.asarray(whole.coordinates()) - np.reshape(center_mm, (3, 1, 1, 1)))
    region = (offset <= extent_mm / 2).all(axis=0) & np.asarray(whole.mask)
    if not region.any():
        raise InputError(f"center_mm {list(center_mm)} and extent_mm {extent_mm:g} hold no tissue; move it (MNI, mm)")
    part = whole.cropped(*whole.box_around(region, 0.0))
    if fibres:
        part = eqx.tree_at(lambda domain: domain.maps, part, dict(part.maps) | _tensor(part))
    return part.resampled(resolution_mm)


def _tensor(domain: Domain) -> dict[str, Array]:
    """Maps of a tensor along the direction of least change of the white matter, on a grid of 1 mm."""
    white = np.asarray(domain.white_matter, float)
    smooth = ndimage.gaussian_filter(white, SLOPE_MM)
    slope = np.stack([np.gradient(smooth, axis=axis) for axis in range(3)])
    gathered = np.stack([[ndimage.gaussian_filter(a * b, COHERENCE_MM) for b in slope] for a in slope])
    _, vectors = np.linalg.eigh(np.moveaxis(gathered, (0, 1), (-2, -1)))
    fibre = np.moveaxis(vectors[..., 0], -1, 0)
    even = ACROSS_FIBRE * white + IN_GREY_MATTER * (1 - white)
    tensor = (ALONG_FIBRE - ACROSS_FIBRE) * white * fibre[:, None] * fibre[None]
    tensor += np.eye(3)[..., None, None, None] * even
    inside = np.asarray(domain.mask)
    return {name: jnp.asarray(array * inside, float) for name, array in tensor_maps(tensor).items()}
