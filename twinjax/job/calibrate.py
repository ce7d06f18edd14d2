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


@dataclass(frozen=True, eq=False)
class Calibrated:
    """**Fields:** `coarse`, the posterior on the grid of the fit; `fine`, the problem on the grid of the model;
    `identifiability`; `problem_of`, a patient with other visits to the problem on the grid of the fit.
    """

    coarse: Posterior
    fine: InverseProblem
    identifiability: Identifiability
    problem_of: Callable[[PatientData], InverseProblem]

    @property
    def posterior(self) -> Posterior:
        """On the grid of the model."""
        return self.coarse.attach(self.fine)


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
) -> Calibrated:
    """Fit on the grid of the settings, and write the posterior and what informed it.

    Of a parameter that differs from place to place also `NAME_mean.nii.gz` and `NAME_std.nii.gz`: the mean and standard
    deviation of its posterior in every voxel, in its unit, 0 outside the box of the fit.

    `problem_of` is `longitudinal_problem` or `single_scan_problem`.
    """

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
    return Calibrated(posterior, fine, identifiability, lambda later: problem(grid, later))
