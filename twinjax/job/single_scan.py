"""One scan: front width and growth length, the equal-volume radiotherapy plan and its score, report."""

import logging
from collections.abc import Sequence
from typing import Any

import diffrax
import jax.numpy as jnp
import numpy as np

from twinjax.calibration import AbstractCalibrator, Posterior, Prior, single_scan_problem
from twinjax.core.errors import InputError
from twinjax.imaging import write_nifti
from twinjax.job.calibrate import calibrate
from twinjax.job.dicom_export import source_of
from twinjax.job.memory import check_memory
from twinjax.job.options import recommendation_results
from twinjax.job.output import Run, common_results
from twinjax.job.provenance import provenance
from twinjax.job.settings import JobSettings
from twinjax.job.target import organ_at_risk, recommend_target
from twinjax.model import AbstractSpatialModel, UntimedFisherKPP
from twinjax.patient import PatientData
from twinjax.report.single_scan import single_scan_report
from twinjax.twin import DigitalTwin, Forecast, TargetQuestion, equal_volume_plan, recurrence_coverage, standard_plan
from twinjax.twin.accuracy import fit_metrics, metric_row, parameter_metrics, true_parameters
from twinjax.twin.coverage import MeasuredCoverage

log = logging.getLogger("twinjax")

# Front speeds of gliomas (mm/day), GliomaSolver's prior (Lipkova et al. 2019, IEEE TMI 38:1875).
FRONT_SPEEDS_MM_DAY = (0.03, 0.25)


def run_single_scan(
    run: Run,
    patient: PatientData,
    model: AbstractSpatialModel,
    prior: Prior,
    calibrator: AbstractCalibrator,
    settings: JobSettings,
    *,
    question: TargetQuestion | None = None,
    solver: diffrax.AbstractSolver | None = None,
    seed: int = 0,
    config: str = "",
    coverage: Sequence[MeasuredCoverage] = (),
) -> dict[str, Any]:
    """The single-scan job; writes all files into `run.folder` and returns the results.

    Files: `report.html`, `report.json`, `features.csv`, `posterior.nc`, `parameters.csv`, `identifiability.csv`,
    `metrics.csv`, `results.json`, `density_mean.nii.gz`, `density_std.nii.gz`, `plan_standard.nii.gz` and
    `plan_model.nii.gz` on the patient's grid; with a `question` those of `recommend_target`.
    """
    settings.check(patient.days.tolist(), model, prior)
    scan = patient.visits[0].scan
    if scan.brain_mask is None:
        raise InputError("the plan needs a brain mask, and the baseline scan has none")
    at_risk = organ_at_risk(patient, question)
    check_memory(patient, model, prior, settings, solver, forecast_days=1, horizon_days=1.0)
    run.write_features(patient.visits)
    with run.stage("calibrate on the scan"):
        fit = calibrate(run, single_scan_problem, patient, model, prior, calibrator, settings, solver=solver, seed=seed)
        posterior, identifiability = fit.posterior, fit.identifiability
    with run.stage("predict the density"):
        twin = DigitalTwin(model, posterior.map_estimate, posterior.credible_interval(0.95))
        prediction = twin.predict(1.0, [1.0], draws=settings.draws, progress=True)
        assert isinstance(prediction, Forecast)
        domain = prediction.domain
        density = domain.to_grid(prediction.density_mean[0], scan.affine, scan.shape)
        write_nifti(run.folder / "density_mean.nii.gz", density, scan.affine)
        run.write_field("density_std.nii.gz", prediction.density_std[0], domain, patient)
    with run.stage("plan and score"):
        rows = fit_metrics(scan, prediction)
        brain = np.asarray(scan.brain_mask, bool)
        standard = patient.extras.get("standard_plan")
        standard = standard_plan(scan.core, brain, scan.spacing) if standard is None else np.asarray(standard, bool)
        plan = equal_volume_plan(density, brain, standard)
        write_nifti(run.folder / "plan_standard.nii.gz", plan.standard.astype(np.int8), scan.affine)
        write_nifti(run.folder / "plan_model.nii.gz", plan.model.astype(np.int8), scan.affine)
        recurrence = patient.extras.get("recurrence")
        rows.append(metric_row("plan volume, both", float(plan.model.sum()), "voxels", int(plan.model.sum())))
        if recurrence is not None:
            count = int(np.sum(recurrence > 0))
            for name, target in (("standard 15 mm plan", plan.standard), ("model plan", plan.model)):
                covered = 100 * recurrence_coverage(target, recurrence > 0)
                rows.append(metric_row(f"recurrence inside the {name}", covered, "%", count))
        rows += parameter_metrics(posterior, true_parameters(patient, posterior))
        run.write_metrics(rows)
    recommendation = None
    if question is not None:
        later = {} if recurrence is None else {"recurrence": recurrence > 0}
        source = source_of(patient, settings.dicom_series)
        recommendation = recommend_target(
            run, twin, question, patient, scan, settings, day=1.0, later=later, at_risk=at_risk, source=source
        )
    rates = _rates(posterior)
    origin = provenance(config, seed, patient)
    results = common_results(patient, posterior, identifiability, rows, coverage, origin) | {
        "rates_for_front_speeds": rates,
        **recommendation_results(recommendation),
    }
    with run.stage("write the report"):
        report = single_scan_report(
            patient,
            posterior,
            identifiability,
            prediction,
            plan=plan,
            metrics=rows,
            rates=rates,
            recommendation=recommendation,
            coverage=coverage,
            provenance=origin,
            seconds=dict(run.seconds),
        )
        run.write_report(report)
    run.write_json("results.json", results | {"seconds": run.seconds})
    return results


def _rates(posterior: Posterior) -> list[dict[str, float]]:
    """Diffusivity, proliferation and age that the fitted lengths mean at the ends of the published front speeds."""
    assert posterior.problem is not None
    model = posterior.problem.tumor_at(jnp.asarray(posterior.z_map)).model
    assert isinstance(model, UntimedFisherKPP)
    rows = []
    for speed in FRONT_SPEEDS_MM_DAY:
        timed = model.at_front_speed(speed)
        rows.append(
            {
                "front_speed_mm_day": speed,
                "diffusivity_mm2_day": float(timed.diffusivity),
                "proliferation_rate_per_day": float(timed.proliferation_rate),
                "age_days": float(model.growth_length) / speed,
            }
        )
    return rows
