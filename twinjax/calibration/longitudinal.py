"""The inverse problem of a patient with several visits: segmentations and ADC of every one."""

import logging

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from twinjax.calibration.applicable import applicable
from twinjax.calibration.datum import Datum
from twinjax.calibration.prior import Prior
from twinjax.calibration.problem import InverseProblem
from twinjax.calibration.scan_data import (
    CELL_DENSITY_NOISE,
    PET_NOISE,
    density_data,
    region_fraction,
    uptake_data,
    voxels_near,
    white_noise,
)
from twinjax.core.errors import InputError
from twinjax.domain import seen_on
from twinjax.model import AbstractSpatialModel, ContourProfile, ProliferatingNecrotic
from twinjax.observation import (
    AbstractObservation,
    CellDensityObservation,
    NecrosisObservation,
    PETObservation,
    QuantityObservation,
    SegmentationObservation,
    ViableDensityObservation,
    ViablePETObservation,
)
from twinjax.patient import PatientData

log = logging.getLogger("twinjax")


def longitudinal_problem(
    patient: PatientData,
    model: AbstractSpatialModel,
    prior: Prior,
    *,
    margin_mm: float = 16.0,
    correlation_length_mm: float = 10.0,
    cell_density_noise: float | None = None,
    cell_density_discrepancy: float = 0.05,
    pet_noise: float | None = None,
    pet_discrepancy: float = 0.1,
    segmentation_noise: float = 0.3,
    solver: diffrax.AbstractSolver | None = None,
    max_step: float = 1.0,
) -> InverseProblem:
    """All visits of `patient` as data for `model`; give `patient.until(day)` to hold visits out.

    The initial condition is drawn through the baseline's contours (`ContourProfile`), so that the baseline's
    segmentation is not used again as data; its ADC and its amino-acid PET are. Later visits give core, whole tumour,
    ADC, PET and, where the model has one (`ProliferatingNecrotic`), the necrotic core, and every visit its laboratory
    values, as far as the model predicts them. Parameters of the prior that this patient cannot have (a drug that was
    not given, ADC that was not measured) are left out. Of a model that is `local` only a box of `margin_mm` around all
    visible tumour is solved; `InverseProblem.edge_density` tells whether that was enough.

    `correlation_length_mm` is the edge of the cube within which voxels err together; for the noise levels see
    docs/likelihood.md. The white noise of ADC and PET is what their voxels scatter (`local_scatter`), unless given.

    Raises `InputError` for fewer than two visits, or an empty core at baseline.
    """
    if len(patient.visits) < 2:
        raise InputError(
            "calibration over time needs at least two visits; for one scan choose the single-scan calibration"
        )
    domain, baseline = model.domain, patient.visits[0]
    ever = np.any([region_fraction(visit, "whole_tumor", domain) >= 0.5 for visit in patient.visits], axis=0)
    box = domain.box_around(ever, margin_mm) if model.local else None
    scan = baseline.scan
    initial = ContourProfile.from_masks(
        scan.core, scan.whole_tumor, scan.spacing, onto=lambda distance: domain.from_grid(distance, scan.affine)
    )
    necrotic = isinstance(model, ProliferatingNecrotic)
    density = ViableDensityObservation if necrotic else CellDensityObservation
    uptake = ViablePETObservation if necrotic else PETObservation
    correlated = {"correlation_length_mm": correlation_length_mm}
    segmented = {"noise_std": segmentation_noise} | correlated
    # All visits are on one grid.
    seen, sampling = seen_on(domain, scan.affine, scan.shape)
    densities, uptakes = density_data(patient, seen, sampling), uptake_data(patient, seen, sampling)
    if cell_density_noise is None:
        cell_density_noise = white_noise(densities, seen, CELL_DENSITY_NOISE)
    if pet_noise is None:
        pet_noise = white_noise(uptakes, seen, PET_NOISE)
    observations: dict[str, AbstractObservation] = {
        "cell_density": density(noise_std=cell_density_noise, discrepancy_std=cell_density_discrepancy, **correlated),
        "core": SegmentationObservation(seen, 0.6, **segmented),
        "whole_tumor": SegmentationObservation(seen, 0.3, **segmented),
        "necrosis": NecrosisObservation(seen, **segmented),
        "pet": uptake(noise_std=pet_noise, discrepancy_std=pet_discrepancy, **correlated),
    }
    reach = max(1, round(margin_mm / 2 / min(domain.spacing)))
    index = voxels_near(ever, reach, seen, sampling)
    shown = ("core", "whole_tumor", *["necrosis"] * necrotic)
    data = [
        Datum(visit.day, name, region_fraction(visit, name, seen).ravel()[index], index, sampling=sampling)
        for visit in patient.visits[1:]
        for name in shown
    ]
    data += densities + uptakes
    laboratory, measured = _laboratory_data(patient, model)
    observations, data = observations | laboratory, data + measured
    used = {datum.observation for datum in data}
    observations = {name: observation for name, observation in observations.items() if name in used}
    prior, forecast_prior = applicable(prior, patient.regimen, observations)
    count = sum(datum.values.size for datum in data)
    problem = InverseProblem(
        model,
        patient.regimen,
        initial,
        observations,
        data,
        prior,
        forecast_prior=forecast_prior,
        solver=solver,
        start=baseline.day,
        max_step=max_step,
        box=box,
    )
    log.info("  %d data on days %s, %d unknowns", count, patient.days.tolist(), problem.dimension)
    return problem


def _laboratory_data(patient: PatientData, model: AbstractSpatialModel):
    """Observations and data of the laboratory values (`Visit.measurements`) that the model predicts."""
    course = patient.laboratory
    if course is None:
        return {}, []
    predicted = jax.eval_shape(lambda: model.quantities(model.initial_state(jnp.zeros(model.domain.shape))))
    if others := sorted(set(course.measurements) - set(predicted)):
        log.info("  left out, as the model does not predict it: %s", ", ".join(others))
    observations = {name: QuantityObservation(name) for name in sorted(set(course.measurements) & set(predicted))}
    data = [
        Datum(day, name, observation.transform(value), side=side)
        for name, observation in observations.items()
        for day, value, side in zip(*course.measurements[name], course.sides[name], strict=True)
    ]
    return observations, data
