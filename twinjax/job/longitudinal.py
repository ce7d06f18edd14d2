"""Several visits: calibrate on the early ones, forecast the later, compare treatments, report."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import diffrax
import numpy as np

from twinjax.calibration import AbstractCalibrator, Prior, longitudinal_problem
from twinjax.job.assimilate import assimilate_later, assimilation_results
from twinjax.job.calibrate import Calibrated, calibrate
from twinjax.job.dicom_export import export_dicom, source_of
from twinjax.job.memory import check_memory
from twinjax.job.options import Question, compare_options, recommend_plan, recommendation_results, treatment_options
from twinjax.job.output import Run, check_grid_of, common_results
from twinjax.job.progression import progressions
from twinjax.job.provenance import provenance
from twinjax.job.settings import JobSettings
from twinjax.job.target import organ_at_risk, recommend_target
from twinjax.model import AbstractSpatialModel
from twinjax.patient import PatientData
from twinjax.report.longitudinal import longitudinal_report
from twinjax.twin import DigitalTwin, Forecast, TargetQuestion, brain_displacement, complete_response
from twinjax.twin.accuracy import forecast_scores, held_out_metrics, parameter_metrics, true_parameters
from twinjax.twin.course_accuracy import course_metrics, course_scores
from twinjax.twin.coverage import MeasuredCoverage

log = logging.getLogger("twinjax")


def run_longitudinal(
    run: Run,
    patient: PatientData,
    model: AbstractSpatialModel,
    prior: Prior,
    calibrator: AbstractCalibrator,
    settings: JobSettings,
    *,
    question: Question | TargetQuestion | None = None,
    solver: diffrax.AbstractSolver | None = None,
    seed: int = 0,
    config: str = "",
    coverage: Sequence[MeasuredCoverage] = (),
    title: str = "Digital twin",
) -> dict[str, Any]:
    """The whole job on a patient; writes all files into `run.folder` and returns the metrics.

    Files: `report.html`, `report.json`, `features.csv`, `posterior.nc`, `parameters.csv`, `identifiability.csv`,
    `metrics.csv`, `results.json`, `volumes.csv`, `progression.csv`, `laboratory.csv` where values were measured,
    `density_mean_day_0140.nii.gz` and `density_std_...` on the patient's grid, and of a calibrated field those of
    `calibrate`. With `forecast.mass_effect` also `displacement.csv` and `displacement_day_0140.nii.gz` (mm), with
    `forecast.dicom_series` those of `export_dicom`, with a `question` those of `recommend_plan` or `recommend_target`,
    with `calibration.assimilate` that of `assimilate_later`.
    """
    settings.check(patient.days.tolist(), model, prior)
    last_day = settings.last_calibrated_day(patient.days.tolist())
    past = patient.until(last_day)
    options = treatment_options(settings)
    check_grid_of(patient, settings.grid_of)
    at_risk = organ_at_risk(patient, question)
    source = source_of(patient, settings.dicom_series)
    regular = np.arange(0, settings.horizon_days, settings.interval_days)
    surgery = [] if settings.surgery_day is None else [settings.surgery_day]
    times = np.unique(np.r_[patient.days, regular, surgery, settings.horizon_days])
    times = times[times <= settings.horizon_days]
    check_memory(past, model, prior, settings, solver, forecast_days=times.size)
    run.write_features(patient.visits)
    with run.stage("calibrate on the early visits"):
        log.info(
            "  visits of days %s; held out: %s", past.days.tolist(), [v.day for v in patient.visits_after(last_day)]
        )
        fit = calibrate(run, longitudinal_problem, past, model, prior, calibrator, settings, solver=solver, seed=seed)
        posterior, identifiability = fit.posterior, fit.identifiability
    with run.stage("forecast"):
        twin = DigitalTwin(model, posterior.map_estimate, posterior.credible_interval(0.95))
        prediction = twin.predict(
            settings.horizon_days, times.tolist(), regimen=patient.regimen, draws=settings.draws, progress=True
        )
        assert isinstance(prediction, Forecast)
        baseline = patient.visits[0].scan
        shown = sorted(
            {day for day in patient.days.tolist() if 0 < day < settings.horizon_days} | {settings.horizon_days}
        )
        for day, mean, spread in zip(
            shown, prediction.at(shown).density_mean, prediction.at(shown).density_std, strict=True
        ):
            for name, field_ in (("mean", mean), ("std", spread)):
                file = f"density_{name}_day_{round(day):04d}.nii.gz"
                run.write_field(file, field_, prediction.domain, patient, grid_of=settings.grid_of)
        run.write_csv("volumes.csv", prediction.volume_rows())
        progression = progressions(prediction, settings, patient.regimen, patient.days.tolist(), since=last_day)
        run.write_csv("progression.csv", [one.row() for one in progression])
        if source is not None:
            export_dicom(run, patient, prediction, source)
        displacement = None
        if settings.mass_effect:
            displacement = brain_displacement(baseline, model, prediction, shown)
            run.write_csv("displacement.csv", displacement.rows)
            for day, magnitude in zip(shown, displacement.magnitude, strict=True):
                file = f"displacement_day_{round(day):04d}.nii.gz"
                run.write_field(file, magnitude, displacement.domain, patient, grid_of=settings.grid_of)
    with run.stage("compare with what was held out"):
        scores = forecast_scores(patient, prediction, posterior, last_day)
        rows = held_out_metrics(scores)
        course, laboratory = patient.laboratory, []
        if course is not None and prediction.laboratory is not None:
            run.write_csv("laboratory.csv", prediction.laboratory.rows())
            laboratory = course_scores(course, prediction.laboratory, last_day)
            rows += course_metrics(laboratory)
        rows += parameter_metrics(posterior, true_parameters(patient, posterior))
        run.write_metrics(rows)
    assimilated = assimilate_later(
        run,
        _on_grid_of(fit),
        lambda day: fit.problem_of(patient.until(day)),
        [visit.day for visit in patient.visits_after(last_day)],
        calibrator,
        settings,
        regimen=patient.regimen,
        quantities=["whole_tumor_volume_mm3"],
        seed=seed,
    )
    comparison = compare_options(
        run, twin, options, settings, given=patient.regimen, decision_day=last_day, outcome="whole_tumor_volume_mm3"
    )
    if isinstance(question, TargetQuestion):
        later = {f"core, day {visit.day:g}": visit.scan.core for visit in patient.visits_after(last_day)}
        recommendation = recommend_target(
            run,
            twin,
            question,
            patient,
            past.visits[-1].scan,
            settings,
            day=last_day,
            later=later,
            at_risk=at_risk,
            source=source,
        )
    else:
        recommendation = recommend_plan(run, twin, question, settings, given=patient.regimen, day=last_day)
    response = None
    if settings.surgery_day is not None:
        response = {"as planned": complete_response(prediction, settings.surgery_day)}
        for name, one in (comparison.forecasts if comparison else {}).items():
            assert isinstance(one, Forecast)
            response[name] = complete_response(one, float(one.times[-1]))
    origin = provenance(config, seed, patient)
    results = common_results(patient, posterior, identifiability, rows, coverage, origin) | {
        "scores_by_visit": scores,
        "forecast": prediction.volume_rows(),
        "scores_of_laboratory": laboratory,
        "progression": [one.row() for one in progression],
        "options": None if comparison is None else comparison.rows(),
        "best_option": None if comparison is None else comparison.evidence(),
        **recommendation_results(recommendation),
        **assimilation_results(assimilated),
        "complete_response": None if response is None else {name: asdict(one) for name, one in response.items()},
        "displacement": None if displacement is None else displacement.rows,
    }
    with run.stage("write the report"):
        report = longitudinal_report(
            patient,
            posterior,
            identifiability,
            prediction,
            title=title,
            last_day=last_day,
            scores=scores,
            laboratory=laboratory,
            metrics=rows,
            progression=progression,
            assimilated=assimilated,
            comparison=comparison,
            recommendation=recommendation,
            options=options,
            uncalibrated=twin.uncalibrated,
            response=response,
            displacement=displacement,
            coverage=coverage,
            provenance=origin,
            seconds=dict(run.seconds),
        )
        run.write_report(report)
    run.write_json("results.json", results | {"seconds": run.seconds})
    return results


def _on_grid_of(fit: Calibrated) -> DigitalTwin:
    """The twin on the grid of the fit, which is the one that can be told a visit."""
    assert fit.coarse.problem is not None
    model = fit.coarse.problem.whole.model
    return DigitalTwin(model, fit.coarse.map_estimate, fit.coarse.credible_interval(0.95))
