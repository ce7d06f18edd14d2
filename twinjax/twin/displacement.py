"""How far the tumour that is forecast pushes the brain."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.imaging.scan import Scan
from twinjax.model import AbstractSpatialModel
from twinjax.model.mass_effect import mass_effect, midline_shift
from twinjax.twin.forecast import Forecast

# Of the mechanics: displacements vary over the size of the tumour.
RESOLUTION_MM = 3.0


@dataclass(frozen=True, eq=False)
class BrainDisplacement:
    """**Fields:** `rows`, one a day: `day`, `largest_displacement_mm`, `midline_shift_mm`; `magnitude` (days, X, Y, Z)
    mm, the length of the displacement on `domain`."""

    rows: list[dict[str, Any]]
    magnitude: np.ndarray
    domain: Domain


def brain_displacement(
    scan: Scan, model: AbstractSpatialModel, prediction: Forecast, days: list[float]
) -> BrainDisplacement:
    """The displacement by the mean density that is forecast for `days`.

    The model's pressure is a number for all patients (`twinjax.model.mass_effect`), so that its uncertainty is not
    known and no interval is given. `scan` is the baseline, with its brain mask. Raises `InputError` without one.
    """
    if scan.brain_mask is None:
        raise InputError("forecast.mass_effect needs a brain mask of the baseline; add one, or set it to false")
    domain = model.domain.resampled(max(RESOLUTION_MM, *model.domain.spacing))
    skull = jnp.asarray(domain.from_grid(scan.brain_mask.astype(np.float32), scan.affine) >= 0.5)
    rows, magnitudes = [], []
    for day, mean in zip(days, prediction.at(days).density_mean, strict=True):
        on_scan = prediction.domain.to_grid(mean, scan.affine, scan.shape)
        density = jnp.asarray(domain.from_grid(on_scan, scan.affine), float)
        response = mass_effect(density, domain, skull)
        magnitude = np.linalg.norm(np.asarray(response.voxel_displacement), axis=0)
        shift = midline_shift(response, domain, skull)
        rows.append({"day": day, "largest_displacement_mm": float(magnitude.max()), "midline_shift_mm": shift})
        magnitudes.append(magnitude)
    return BrainDisplacement(rows, np.stack(magnitudes), domain)
