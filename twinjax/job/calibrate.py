"""The calibration stage that every job has."""

from collections.abc import Callable
from dataclasses import dataclass

import diffrax
import jax

from twinjax.calibration import (
    AbstractCalibrator,
    Identifiability,
    InverseProblem,
    Posterior,
    Prior,
    coarse_and_fine,
    identify,
)
from twinjax.job.output import Run
from twinjax.job.settings import JobSettings
from twinjax.model import AbstractSpatialModel
from twinjax.patient import PatientData


def calibrate(
    run: Run,
    problem_of: Callable[..., InverseProblem],
    patient: PatientData,
    model: AbstractSpatialModel,
    prior: Prior,
    calibrator: AbstractCalibrator,
    settings: JobSettings,
    *,
    solver: diffrax.AbstractSolver | None,
    seed: int,
) -> tuple[Posterior, Identifiability]:
    """Fit on the grid of the settings, go back to that of the model, and write the posterior and what informed it.

    Of a parameter that differs from place to place also `NAME_mean.nii.gz` and `NAME_std.nii.gz`: the mean and standard
    deviation of its posterior in every voxel, in its unit, 0 outside the box of the fit.

    `problem_of` is `longitudinal_problem` or `single_scan_problem`.
    """
    found = fitted(run, problem_of, patient, model, prior, calibrator, settings, solver=solver, seed=seed)
    return found.posterior.attach(found.fine), found.identifiability


@dataclass(frozen=True, eq=False)
class Fitted:
    """**Fields:** `posterior`, on the grid of the fit; `identifiability`; `fine`, the problem on the grid of the model;
    `problem_until`, patient to the problem on the grid of the fit, which assimilation wants."""

    posterior: Posterior
    identifiability: Identifiability
    fine: InverseProblem
    problem_until: Callable[[PatientData], InverseProblem]


def fitted(
    run: Run,
    problem_of: Callable[..., InverseProblem],
    patient: PatientData,
    model: AbstractSpatialModel,
    prior: Prior,
    calibrator: AbstractCalibrator,
    settings: JobSettings,
    *,
    solver: diffrax.AbstractSolver | None,
    seed: int,
) -> Fitted:
    """`calibrate` before the posterior leaves the grid that it was fitted on."""

    def problem(model: AbstractSpatialModel, patient: PatientData = patient) -> InverseProblem:
        return problem_of(
            patient,
            model,
            prior,
            margin_mm=settings.margin_mm,
            correlation_length_mm=settings.correlation_length_mm,
            solver=solver,
            max_step=settings.max_step,
        )

    coarse, fine = coarse_and_fine(problem, model, settings.resolution_mm)
    assert isinstance(coarse.tumor.model, AbstractSpatialModel)
    posterior = calibrator.fit(coarse, key=jax.random.key(seed))
    run.write_posterior(posterior)
    domain = coarse.tumor.model.domain
    for name, field in posterior.fields.items():
        run.write_field(f"{name}_mean.nii.gz", field.mean, domain, patient)
        run.write_field(f"{name}_std.nii.gz", field.std, domain, patient)
    identifiability = identify(posterior, profile=settings.profile)
    run.write_identifiability(identifiability)
    grid = coarse.whole.model
    assert isinstance(grid, AbstractSpatialModel)
    return Fitted(posterior, identifiability, fine, lambda later: problem(grid, later))
