"""The report of a patient with one scan: fit, target volume at equal volume, and what the lengths mean."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from twinjax.calibration import Identifiability, Posterior
from twinjax.patient import PatientData
from twinjax.report.anatomy import density_maps, plan_overlay, scan_overview
from twinjax.report.coverage import coverage_tables, coverage_text
from twinjax.report.identifiability import identifiability_section
from twinjax.report.recommended import recommended
from twinjax.report.report import KeyFigure, PatientReport, Section, Table
from twinjax.report.section import background_image, calibration_section, timing_section, visibility_levels
from twinjax.report.table import posterior_warnings, visits_table
from twinjax.report.viewer import orthogonal_viewer
from twinjax.twin import Forecast, TargetRecommendation
from twinjax.twin.accuracy import segmented_regions
from twinjax.twin.coverage import MeasuredCoverage
from twinjax.twin.plan import TargetPlan
from twinjax.twin.recommendation import CAVEAT

LIMITATIONS = (
    "Research software: not a medical device, and not for decisions about a patient.",
    "One scan has no clock: rates per day follow only with a front speed from elsewhere.",
    "The tumour is assumed to have grown from one point, untreated and without displacing tissue.",
    "Visible boundaries are taken as contours of equal cell density; the levels are calibrated, not measured.",
)


def single_scan_report(
    patient: PatientData,
    posterior: Posterior,
    identifiability: Identifiability,
    prediction: Forecast,
    *,
    plan: TargetPlan,
    metrics: list[dict[str, Any]],
    rates: list[dict[str, float]],
    recommendation: TargetRecommendation | None = None,
    coverage: Sequence[MeasuredCoverage] = (),
    provenance: Mapping[str, Any],
    seconds: Mapping[str, float],
) -> PatientReport:
    """The report of a single-scan fit; `rates` are those of the fitted lengths at some front speeds.

    `recommendation`: a target under the posterior, or None; `coverage`: what such intervals held (`measured_coverage`).
    """
    low, high = posterior.credible_interval(0.9)["front_width"]
    found = {row["metric"]: row["value"] for row in metrics}
    summary = [
        f"A reaction-diffusion tumour was fitted to one scan by {posterior.diagnostics['method']}; the calibration is "
        f"{posterior.diagnostics['verdict']}.",
        f"The infiltrating front is {posterior.mode['front_width']:.1f} mm wide (90 % interval {low:.1f} to {high:.1f} "
        f"mm), after a growth length of {posterior.mode['growth_length']:.0f} mm.",
    ]
    key_figures = [
        KeyFigure("Front width", f"{posterior.mode['front_width']:.1f} mm", f"90 %: {low:.1f} to {high:.1f} mm"),
        KeyFigure("Dice of the fit, core", f"{found['Dice of the fit, core']:.2f}"),
    ]
    if "recurrence" in patient.extras:
        model, standard = (found[f"recurrence inside the {name}"] for name in ("model plan", "standard 15 mm plan"))
        summary.append(
            f"At the volume of the standard 15 mm plan, the model's plan holds {model:.2f} % of the later recurrence, "
            f"the standard plan {standard:.2f} %."
        )
        key_figures.append(
            KeyFigure("Recurrence inside the model plan", f"{model:.1f} %", f"standard plan {standard:.1f} %")
        )
    speeds = Table(
        ["front speed (mm/day)", "diffusivity (mm²/day)", "proliferation rate (1/day)", "age (days)"],
        [[round(value, 4) for value in row.values()] for row in rates],
        "What the lengths mean at the ends of the published range of front speeds: not informed by the scan.",
    )
    scan = patient.visits[0].scan
    sections = [
        Section(
            "Scan",
            "The visit in the plane where the tumour is largest: core solid, whole tumour dashed.",
            [("The scan with the segmented tumour.", scan_overview(patient.visits))] if scan.images else [],
            [visits_table(patient.visits)],
        ),
        _density_section(patient, posterior, prediction, coverage),
        _plan_section(patient, plan, metrics),
        calibration_section(
            posterior,
            "What the scan says about the parameters, and what a front speed would make of them.",
            tables=[speeds],
        ),
        identifiability_section(identifiability),
        timing_section(seconds),
    ]
    if recommendation is not None:
        told = recommended(recommendation)
        sections.insert(3, told.section)
        summary.append(f"{told.verdict} {CAVEAT}")
        key_figures.append(told.key_figure)
    return PatientReport(
        title="Glioblastoma digital twin, single scan",
        patient_id=patient.patient_id,
        synthetic=patient.source == "synthetic",
        summary=summary,
        key_figures=key_figures,
        warnings=posterior_warnings(posterior),
        sections=sections,
        provenance=provenance,
        limitations=LIMITATIONS,
    )


def _density_section(
    patient: PatientData, posterior: Posterior, prediction: Forecast, coverage: Sequence[MeasuredCoverage]
) -> Section:
    visit, domain = patient.visits[0], prediction.domain
    # The model's clock ends at 1; the pictures are titled with the day of the scan.
    prediction = replace(prediction, times=np.asarray([visit.day]))
    maps = density_maps(
        prediction,
        domain.from_grid(background_image(visit.scan), visit.scan.affine),
        thresholds=visibility_levels(posterior),
        observed={visit.day: segmented_regions(visit.scan, domain)["whole_tumor"]},
    )
    return Section(
        "Predicted cell density",
        "Where the model sees tumour cells on the day of the scan, beyond what the scan shows.\n\n"
        + coverage_text(coverage),
        [("Density and its uncertainty; the dotted contour is the segmented whole tumour.", maps)],
        coverage_tables(coverage),
        viewer=orthogonal_viewer(patient.visits, prediction),
    )


def _plan_section(patient: PatientData, plan: TargetPlan, metrics: list[dict[str, Any]]) -> Section:
    scan, recurrence = patient.visits[0].scan, patient.extras.get("recurrence")
    overlay = plan_overlay(
        np.asarray(background_image(scan), float),
        scan.affine,
        {"standard 15 mm": plan.standard, "model": plan.model},
        recurrence=None if recurrence is None else recurrence > 0,
        tumor=scan.core,
    )
    cells = [[r["metric"], round(r["value"], 3), r["unit"], r["n"]] for r in metrics]
    return Section(
        "Radiotherapy target at equal volume",
        "The standard plan holds every voxel of the brain within 15 mm of the core; the model's plan holds as many "
        "voxels, those of the highest predicted density. Protocol: PREDICT-GBM (arXiv 2509.13360).",
        [("The two plans" + ("." if recurrence is None else ", and the later recurrence."), overlay)],
        [Table(["metric", "value", "unit", "n"], cells, "Fit and plan.")],
    )
