"""One scan: front width and growth length, the equal-volume radiotherapy plan and its score, report."""

import logging
from dataclasses import replace
from typing import Any

import diffrax
import jax
import numpy as np

from twinjax.calibration import AbstractCalibrator, Posterior, Prior, single_scan_problem
from twinjax.core.errors import InputError
from twinjax.imaging import write_nifti
from twinjax.job.output import Run, provenance
from twinjax.model import AbstractTumorModel, UntimedFisherKPP
from twinjax.patient import PatientData
from twinjax.report import KeyFigure, PatientReport, Section, Table, write_report
from twinjax.report.anatomy import density_maps, plan_overlay, scan_overview
from twinjax.report.figure import posterior_marginals, posterior_pairs, posterior_traces, timing_bars
from twinjax.report.table import diagnostics_table, parameter_table, posterior_warnings, timing_table, visits_table
from twinjax.twin import DigitalTwin, Forecast, equal_volume_plan, metric, recurrence_coverage, standard_plan

log = logging.getLogger("twinjax")

# Front speeds of gliomas (mm/day), GliomaSolver's prior (Lipkova et al. 2019, IEEE TMI 38:1875).
FRONT_SPEEDS_MM_DAY = (0.03, 0.25)
LIMITATIONS = (
    "Research software: not a medical device, and not for decisions about a patient.",
    "One scan has no clock: rates per day follow only with a front speed from elsewhere.",
    "The tumour is assumed to have grown from one point, untreated and without displacing tissue.",
    "Visible boundaries are taken as contours of equal cell density; the levels are calibrated, not measured.",
)


def run_single_scan(
    run: Run,
    patient: PatientData,
    model: AbstractTumorModel,
    prior: Prior,
    calibrator: AbstractCalibrator,
    *,
    resolution_mm: float = 3.0,
    correlation_length_mm: float = 6.0,
    draws: int = 100,
    solver: diffrax.AbstractSolver | None = None,
    seed: int = 0,
    config: str = "",
) -> dict[str, Any]:
    """The single-scan job; writes all files into `run.folder` and returns the results.

    Files: `report.html`, `posterior.nc`, `parameters.csv`, `metrics.csv`, `results.json`, `density_mean.nii.gz`,
    `density_std.nii.gz`, `plan_standard.nii.gz` and `plan_model.nii.gz` on the patient's grid.
    """
    if not isinstance(model, UntimedFisherKPP):
        raise InputError("a patient with one scan needs model=glioblastoma_single_scan prior=glioblastoma_single_scan")
    scan = patient.visits[0].scan
    if scan.brain_mask is None:
        raise InputError("the plan needs a brain mask, and the baseline scan has none")
    with run.stage("calibrate on the scan"):
        common = {"correlation_length_mm": correlation_length_mm, "solver": solver}
        fine = single_scan_problem(patient, model, prior, **common)
        edge = max(resolution_mm, *model.domain.spacing)
        coarse = single_scan_problem(patient, model.on(model.domain.resampled(edge)), prior, **common)
        posterior = calibrator.fit(coarse, key=jax.random.key(seed)).attach(fine)
        log.info("  %s: %s", posterior.diagnostics["method"], posterior.diagnostics["verdict"])
        posterior.save(run.folder / "posterior.nc")
        run.write_csv("parameters.csv", posterior.rows())
        for row in posterior.rows():
            log.info("  %-18s %.4g [%.4g, %.4g] %s", *(row[k] for k in ("parameter", "map", "lower", "upper", "unit")))
    with run.stage("predict the density"):
        twin = DigitalTwin(model, posterior.map_estimate, posterior.credible_interval(0.95))
        prediction = twin.predict(1.0, [1.0], draws=draws, progress=True)
        domain = prediction.domain
        density = domain.to_grid(prediction.density_mean[0], scan.affine, scan.shape)
        write_nifti(run.folder / "density_mean.nii.gz", density, scan.affine)
        run.write_field("density_std.nii.gz", prediction.density_std[0], domain, scan.affine, scan.shape)
    with run.stage("plan and score"):
        rows = [*_fit_rows(patient, prediction), _coverage_row(patient, prediction, posterior)]
        brain = np.asarray(scan.brain_mask, bool)
        standard = patient.extras.get("standard_plan")
        standard = standard_plan(scan.core, brain, scan.spacing) if standard is None else np.asarray(standard, bool)
        plan = equal_volume_plan(density, brain, standard)
        write_nifti(run.folder / "plan_standard.nii.gz", plan.standard.astype(np.int8), scan.affine)
        write_nifti(run.folder / "plan_model.nii.gz", plan.model.astype(np.int8), scan.affine)
        recurrence = patient.extras.get("recurrence")
        rows.append(_row("plan volume, both", float(plan.model.sum()), "voxels", int(plan.model.sum())))
        if recurrence is not None:
            count = int(np.sum(recurrence > 0))
            for name, target in (("standard 15 mm plan", plan.standard), ("model plan", plan.model)):
                covered = 100 * recurrence_coverage(target, recurrence > 0)
                rows.append(_row(f"recurrence inside the {name}", covered, "%", count))
        run.write_csv("metrics.csv", rows)
        for row in rows:
            log.info("  %-46s %.4g %s", row["metric"], row["value"], row["unit"])
    rates = _rates(posterior)
    source = provenance(config, seed, patient)
    results = {
        "patient": patient.patient_id,
        "synthetic": patient.source == "synthetic",
        "parameters": posterior.rows(),
        "rates_for_front_speeds": rates,
        "diagnostics": dict(posterior.diagnostics),
        "metrics": rows,
        "provenance": source,
    }
    with run.stage("write the report"):
        report = _report(patient, posterior, prediction, plan, recurrence, rows, rates, source, dict(run.seconds))
        write_report(report, run.folder / "report.html")
    run.write_json("results.json", results | {"seconds": run.seconds})
    return results


def _row(name: str, value: float, unit: str, count: int) -> dict[str, Any]:
    return {"metric": name, "value": value, "unit": unit, "n": count}


def _fit_rows(patient: PatientData, prediction: Forecast) -> list[dict[str, Any]]:
    """How well the fitted tumour shows the contours of the scan that it was fitted to."""
    scan, domain = patient.visits[0].scan, prediction.domain
    rows = []
    for region, label in (("core", "core"), ("whole_tumor", "whole tumour")):
        observed = domain.from_grid(getattr(scan, region).astype(np.float32), scan.affine) >= 0.5
        predicted = prediction.visible_probability[region][0] >= 0.5
        voxel = domain.voxel_volume
        error = metric.relative_volume_error(predicted.sum() * voxel, observed.sum() * voxel)
        rows.append(_row(f"Dice of the fit, {label}", metric.dice(predicted, observed), "", 1))
        rows.append(_row(f"volume error of the fit, {label}", 100 * error, "%", 1))
        distance = metric.center_of_mass_distance(predicted, observed, domain.spacing)
        rows.append(_row(f"centre-of-mass distance of the fit, {label}", distance, "mm", 1))
    return rows


def _coverage_row(patient: PatientData, prediction: Forecast, posterior: Posterior) -> dict[str, Any]:
    """Share of contour volumes inside the 90 % interval that a new segmentation would have."""
    scan = patient.visits[0].scan
    inside = []
    for region in prediction.volume_noise:
        low, _, high = prediction.interval(f"{region}_volume_mm3", measured=True)[:, 0]
        inside.append(low <= getattr(scan, region).sum() * float(np.prod(scan.spacing)) <= high)
    return _row("90 % interval covers fitted volume", 100 * float(np.mean(inside)), "%", len(inside))


def _rates(posterior: Posterior) -> list[dict[str, float]]:
    """Diffusivity, proliferation and age that the fitted lengths mean at the ends of the published front speeds."""
    width, length = posterior.mode["front_width"], posterior.mode["growth_length"]
    return [
        {
            "front_speed_mm_day": speed,
            "diffusivity_mm2_day": speed * width / 2,
            "proliferation_rate_per_day": speed / (2 * width),
            "age_days": length / speed,
        }
        for speed in FRONT_SPEEDS_MM_DAY
    ]


def _report(patient, posterior, prediction, plan, recurrence, rows, rates, source, seconds) -> PatientReport:
    scan = patient.visits[0].scan
    # The tissue itself is the background where there is no anatomical image, as in published segmentations.
    image = next((scan.images[name] for name in ("T1CE", "T1", "FLAIR") if name in scan.images), None)
    if image is None and scan.white_matter is not None and scan.grey_matter is not None:
        image = np.asarray(scan.white_matter) + 0.6 * np.asarray(scan.grey_matter)
    if image is None:
        image = scan.brain_mask.astype(np.float32)
    background = prediction.domain.from_grid(image, scan.affine)
    whole = prediction.domain.from_grid(scan.whole_tumor.astype(np.float32), scan.affine) >= 0.5
    low, high = posterior.credible_interval(0.9)["front_width"]
    covered = {row["metric"]: row["value"] for row in rows}
    summary = [
        f"A reaction-diffusion tumour was fitted to one scan by {posterior.diagnostics['method']}; the calibration is "
        f"{posterior.diagnostics['verdict']}.",
        f"The infiltrating front is {posterior.mode['front_width']:.1f} mm wide (90 % interval {low:.1f} to {high:.1f} "
        f"mm), after a growth length of {posterior.mode['growth_length']:.0f} mm.",
    ]
    key_figures = [
        KeyFigure("Front width", f"{posterior.mode['front_width']:.1f} mm", f"90 %: {low:.1f} to {high:.1f} mm"),
        KeyFigure("Dice of the fit, core", f"{covered['Dice of the fit, core']:.2f}"),
    ]
    if recurrence is not None:
        model, standard = (covered[f"recurrence inside the {name}"] for name in ("model plan", "standard 15 mm plan"))
        summary.append(
            f"At the volume of the standard 15 mm plan, the model's plan holds {model:.2f} % of the later recurrence, "
            f"the standard plan {standard:.2f} %."
        )
        key_figures.append(
            KeyFigure("Recurrence inside the model plan", f"{model:.1f} %", f"standard plan {standard:.1f} %")
        )
    z = np.random.default_rng(0).normal(size=(2000, posterior.problem.dimension))
    prior_draws = {name: np.asarray(v) for name, v in jax.vmap(posterior.problem.prior.values)(z).items()}
    levels = {"core": posterior.mode["core_threshold"], "oedema": posterior.mode["oedema_threshold"]}
    sections = [
        Section(
            "Scan",
            "The visit in the plane where the tumour is largest: core solid, whole tumour dashed.",
            [("The scan with the segmented tumour.", scan_overview(patient.visits))] if scan.images else [],
            [visits_table(patient.visits)],
        ),
        Section(
            "Predicted cell density",
            "Where the model sees tumour cells on the day of the scan, beyond what the scan shows.",
            [
                (
                    "Density and its uncertainty; the dotted contour is the segmented whole tumour.",
                    density_maps(
                        replace(prediction, times=np.asarray([patient.visits[0].day])),
                        background,
                        thresholds=levels,
                        observed={patient.visits[0].day: whole},
                    ),
                )
            ],
        ),
        Section(
            "Radiotherapy target at equal volume",
            "The standard plan holds every voxel of the brain within 15 mm of the core; the model's plan holds as many "
            "voxels, those of the highest predicted density. Protocol: PREDICT-GBM (arXiv 2509.13360).",
            [
                (
                    "The two plans" + (", and the later recurrence." if recurrence is not None else "."),
                    plan_overlay(
                        np.asarray(image, float),
                        scan.affine,
                        {"standard 15 mm": plan.standard, "model": plan.model},
                        recurrence=None if recurrence is None else recurrence > 0,
                        tumor=scan.core,
                    ),
                )
            ],
            [
                Table(
                    ["metric", "value", "unit", "n"],
                    [[r["metric"], round(r["value"], 3), r["unit"], r["n"]] for r in rows],
                    "Fit and plan.",
                )
            ],
        ),
        Section(
            "Calibration",
            "What the scan says about the parameters, and what a front speed would make of them.",
            [
                (
                    "Posterior (filled) and prior (dashed).",
                    posterior_marginals(posterior, prior_draws=prior_draws, units=posterior.units),
                ),
                ("Pairs of parameters.", posterior_pairs(posterior)),
                ("Draws in their order.", posterior_traces(posterior)),
            ],
            [
                parameter_table(posterior, units=posterior.units, prior_draws=prior_draws),
                Table(
                    ["front speed (mm/day)", "diffusivity (mm²/day)", "proliferation rate (1/day)", "age (days)"],
                    [[round(value, 4) for value in row.values()] for row in rates],
                    "What the lengths mean at the ends of the published range of front speeds: not informed by the "
                    "scan.",
                ),
                diagnostics_table(posterior),
            ],
        ),
        Section(
            "Where the time went",
            figures=[("Seconds per stage.", timing_bars(seconds))],
            tables=[timing_table(seconds)],
        ),
    ]
    return PatientReport(
        title="Glioblastoma digital twin, single scan",
        patient_id=patient.patient_id,
        synthetic=patient.source == "synthetic",
        summary=summary,
        key_figures=key_figures,
        warnings=posterior_warnings(posterior),
        sections=sections,
        provenance=source,
        limitations=LIMITATIONS,
    )
