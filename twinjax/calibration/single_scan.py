"""The inverse problem of one scan: front width, growth length, seed and visibility thresholds."""

import logging

import diffrax
import numpy as np

from twinjax.calibration.applicable import applicable
from twinjax.calibration.datum import Datum
from twinjax.calibration.prior import Prior
from twinjax.calibration.problem import InverseProblem
from twinjax.calibration.scan_data import (
    PET_NOISE,
    fet_uptake,
    peak_uptake,
    region_fraction,
    voxels_near,
    white_noise,
)
from twinjax.core.errors import InputError
from twinjax.domain import seen_on
from twinjax.model import PointSeed, UntimedFisherKPP
from twinjax.observation import AbstractObservation, PETObservation, SegmentationObservation
from twinjax.patient import PatientData
from twinjax.treatment import Regimen

SEED_RADIUS_MM = 3.0

log = logging.getLogger("twinjax")


def single_scan_problem(
    patient: PatientData,
    model: UntimedFisherKPP,
    prior: Prior,
    *,
    margin_mm: float = 32.0,
    correlation_length_mm: float = 10.0,
    segmentation_noise: float = 0.3,
    pet_noise: float | None = None,
    pet_discrepancy: float = 0.1,
    solver: diffrax.AbstractSolver | None = None,
    max_step: float = 0.025,
) -> InverseProblem:
    """The baseline scan of `patient` as data: core, whole tumour and, where there is one, amino-acid PET.

    The tumour grows from a point near the core's centre (clock 0) to the scan (clock 1) without treatment. PET is
    scaled to the 99th percentile of its values in the tumour, and used there only. `margin_mm` around the tumour
    is solved and compared; `max_step` is in units of the clock. The white noise of PET is what its voxels scatter,
    unless `pet_noise` is given.

    Raises `InputError` for an empty core.
    """
    domain, visit = model.domain, patient.visits[0]
    whole, core = (region_fraction(visit, name, domain) for name in ("whole_tumor", "core"))
    core_tissue = core * np.asarray(domain.mask)
    if not (core_tissue >= 0.5).any():
        raise InputError("the tumour core is empty inside the tissue; the single-scan fit needs one (labels 1 or 3)")
    box = domain.box_around(whole >= 0.5, margin_mm)
    reach = max(1, round(margin_mm / 2 / min(domain.spacing)))
    coordinates = np.asarray(domain.coordinates()).reshape(len(domain.shape), -1)
    position = np.average(coordinates, axis=1, weights=core_tissue.ravel())
    seen, sampling = seen_on(domain, visit.scan.affine, visit.scan.shape)
    index = voxels_near(whole >= 0.5, reach, seen, sampling)
    noise = {"noise_std": segmentation_noise, "correlation_length_mm": correlation_length_mm}
    observations: dict[str, AbstractObservation] = {
        "core": SegmentationObservation(seen, 0.6, **noise),
        "whole_tumor": SegmentationObservation(seen, 0.3, **noise),
    }
    data = [
        Datum(1.0, name, region_fraction(visit, name, seen).ravel()[index], index, sampling=sampling)
        for name in observations
    ]
    if "FET" in visit.scan.images:
        inside, uptake = fet_uptake(visit, seen, "whole_tumor")
        measured = Datum(1.0, "pet", uptake / peak_uptake(visit, seen), inside, sampling=sampling)
        observations["pet"] = PETObservation(
            noise_std=white_noise([measured], seen, PET_NOISE) if pet_noise is None else pet_noise,
            discrepancy_std=pet_discrepancy,
            correlation_length_mm=correlation_length_mm,
        )
        data.append(measured)
    prior, _ = applicable(prior, Regimen(), observations)
    log.info("  %d data of one scan, %d unknowns", sum(d.values.size for d in data), len(prior.names))
    # The same on every grid, or a coarse fit would not carry over; wide enough for the coarsest.
    seed = PointSeed(position, radius=SEED_RADIUS_MM, amplitude=0.9)
    return InverseProblem(model, Regimen(), seed, observations, data, prior, solver=solver, max_step=max_step, box=box)
