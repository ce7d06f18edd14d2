"""Whether a patient with scans fits into memory, told before it is computed."""

import diffrax
import numpy as np

from twinjax.calibration import Prior
from twinjax.core.memory import free_device_bytes, refuse_if_too_large
from twinjax.job.settings import JobSettings
from twinjax.model import AbstractSpatialModel
from twinjax.patient import PatientData
from twinjax.twin.forecast import first_margin_mm


def check_memory(
    patient: PatientData,
    model: AbstractSpatialModel,
    prior: Prior,
    settings: JobSettings,
    solver: diffrax.AbstractSolver | None,
    *,
    forecast_days: int,
    horizon_days: float | None = None,
) -> None:
    """`InputError` where a Jacobian of the fit to `patient`, or a forecast of so many days, needs more than is free.

    The last of them is `horizon_days` (default: that of the settings).
    """
    free = free_device_bytes(getattr(solver, "devices", 1))

    def refuse(what: str, margin_mm: float, edge_mm: float, arrays: float, remedy: str) -> None:
        voxels = voxels_around(patient, model, margin_mm, edge_mm)
        needed = voxels * arrays * np.dtype(float).itemsize
        refuse_if_too_large(needed, free, f"{what}, of {voxels / 1e6:,.1f} million voxels,", f"take {remedy}")

    coarse = max(settings.resolution_mm, *model.domain.spacing)
    arrays = jacobian_arrays(len(prior.names), len(patient.visits))
    remedy = "a larger calibration.resolution_mm, or a smaller calibration.margin_mm"
    refuse("the fit", settings.margin_mm, coarse, arrays, remedy)
    own = float(np.cbrt(model.domain.voxel_volume))
    remedy = "a larger model.resolution_mm, or a larger forecast.interval_days"
    margin = first_margin_mm(model, settings.horizon_days if horizon_days is None else horizon_days)
    refuse("the forecast", margin, own, forecast_arrays(forecast_days), remedy)


def jacobian_arrays(unknowns: int, days: int) -> float:
    """How many arrays of the grid, in double precision, the Jacobian of a problem has at once: so many as XLA plans.

    Measured with `memory_analysis` of the compiled Jacobian, at 2 and 4 days and 1 to 10 unknowns of a glioblastoma;
    slow tests hold it to that within 30 %.
    """
    return 16 * days + unknowns * (1 + 4.5 * days)


def forecast_arrays(days: int) -> float:
    """The same of the forecast of one draw, and the sums over all of them."""
    return 20 + 5.5 * days


def voxels_around(patient: PatientData, model: AbstractSpatialModel, margin_mm: float, edge_mm: float) -> float:
    """Voxels of `edge_mm` in the box that is solved: all tumour ever seen and `margin_mm` more, or the whole grid."""
    domain = model.domain
    whole = np.multiply(domain.shape, domain.spacing)
    extent = whole
    if model.local:
        seen = np.any([visit.scan.whole_tumor for visit in patient.visits], axis=0)
        spans = [np.flatnonzero(seen.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
        span = [span[-1] + 1 - span[0] if span.size else 0 for span in spans]
        extent = np.minimum(whole, np.multiply(span, patient.baseline.scan.spacing) + 2 * margin_mm)
    return float(np.prod(np.ceil(extent / edge_mm)))
