"""A patient as numbers over time: calibrate on the early ones, forecast the later, compare treatments, report."""

import logging
from collections.abc import Sequence
from typing import Any

import diffrax
import jax
import numpy as np

from twinjax.calibration import AbstractCalibrator, Prior, course_problem, identify
from twinjax.job.assimilate import assimilate_later, assimilation_results
from twinjax.job.options import Question, compare_options, recommend_plan, recommendation_results, treatment_options
from twinjax.job.output import Run, common_results
from twinjax.job.progression import progressions
from twinjax.job.provenance import provenance
from twinjax.job.settings import JobSettings
from twinjax.model import AbstractLumpedModel
from twinjax.patient import ClinicalCourse
from twinjax.report.course import course_report
from twinjax.twin import CourseForecast, DigitalTwin
from twinjax.twin.accuracy import parameter_metrics
from twinjax.twin.course_accuracy import course_metrics, course_scores
from twinjax.twin.coverage import MeasuredCoverage

log = logging.getLogger("twinjax")


def run_course(
    run: Run,
    patient: ClinicalCourse,
    model: AbstractLumpedModel,
    prior: Prior,
    calibrator: AbstractCalibrator,
    settings: JobSettings,
    *,
    question: Question | None = None,
    solver: diffrax.AbstractSolver | None = None,
    seed: int = 0,
    config: str = "",
    coverage: Sequence[MeasuredCoverage] = (),
    title: str = "Digital twin",
) -> dict[str, Any]:
    """The whole job on a clinical course; writes all files into `run.folder` and returns the metrics.

    Files: `report.html`, `report.json`, `posterior.nc`, `parameters.csv`, `identifiability.csv`, `forecast.csv`,
    `progression.csv`, `metrics.csv`, `results.json`, with a `question` those of `recommend_plan`, with
    `calibration.assimilate` that of `assimilate_later`.
    """
    settings.check(patient.days.tolist(), model, prior)
    last_day = settings.last_calibrated_day(patient.days.tolist())
    past = patient.until(last_day)
    options = treatment_options(settings)
    with run.stage("calibrate on the early measurements"):
        problem = course_problem(past, model, prior, model_error=settings.model_error, solver=solver)
        posterior = calibrator.fit(problem, key=jax.random.key(seed))
        run.write_posterior(posterior)
        identifiability = identify(posterior, profile=settings.profile)
        run.write_identifiability(identifiability)
    with run.stage("forecast"):
        twin = DigitalTwin(model, posterior.map_estimate, posterior.credible_interval(0.95))
        regular = np.arange(float(problem.start), settings.horizon_days, settings.interval_days)
        times = np.unique(np.r_[patient.days, regular, settings.horizon_days])
        times = times[(times >= problem.start) & (times <= settings.horizon_days)]
        prediction = twin.predict(settings.horizon_days, times.tolist(), regimen=patient.regimen, draws=settings.draws)
        assert isinstance(prediction, CourseForecast)
        run.write_csv("forecast.csv", prediction.rows())
        progression = progressions(prediction, settings, patient.regimen, patient.days.tolist(), since=last_day)
        run.write_csv("progression.csv", [one.row() for one in progression])
    with run.stage("compare with what was held out"):
        scores = course_scores(patient, prediction, last_day)
        rows = course_metrics(scores) + parameter_metrics(posterior, patient.truth)
        run.write_metrics(rows)
    assimilated = assimilate_later(
        run,
        twin,
        lambda day: course_problem(patient.until(day), model, prior, model_error=settings.model_error, solver=solver),
        [day for day in patient.days.tolist() if day > last_day],
        calibrator,
        settings,
        regimen=patient.regimen,
        quantities=list(prediction.noise),
        seed=seed,
    )
    comparison = compare_options(
        run, twin, options, settings, given=patient.regimen, decision_day=last_day, outcome=model.size_quantity
    )
    recommendation = recommend_plan(run, twin, question, settings, given=patient.regimen, day=last_day)
    origin = provenance(config, seed, patient)
    results = common_results(patient, posterior, identifiability, rows, coverage, origin) | {
        "scores": scores,
        "forecast": prediction.rows(),
        "progression": [one.row() for one in progression],
        "options": None if comparison is None else comparison.rows(),
        "best_option": None if comparison is None else comparison.evidence(),
        **recommendation_results(recommendation),
        **assimilation_results(assimilated),
    }
    with run.stage("write the report"):
        report = course_report(
            patient,
            posterior,
            identifiability,
            prediction,
            title=title,
            last_day=last_day,
            scores=scores,
            metrics=rows,
            progression=progression,
            assimilated=assimilated,
            comparison=comparison,
            recommendation=recommendation,
            options=options,
            uncalibrated=twin.uncalibrated,
            coverage=coverage,
            provenance=origin,
            seconds=dict(run.seconds),
        )
        run.write_report(report)
    run.write_json("results.json", results | {"seconds": run.seconds})
    return results
