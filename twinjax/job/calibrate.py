"""The calibration stage that every job has."""

from collections.abc import Callable

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

    `problem_of` is `longitudinal_problem` or `single_scan_problem`.
    """

    def problem(model: AbstractSpatialModel) -> InverseProblem:
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
    posterior = calibrator.fit(coarse, key=jax.random.key(seed))
    run.write_posterior(posterior)
    identifiability = identify(posterior, profile=settings.profile)
    run.write_identifiability(identifiability)
    return posterior.attach(fine), identifiability
