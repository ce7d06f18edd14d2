"""The report of a patient with several visits: fit, forecast, how good it was, and treatment options."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from twinjax.calibration import Identifiability, Posterior
from twinjax.imaging.features import volume_mm3
from twinjax.imaging.scan import REGIONS
from twinjax.patient import PatientData
from twinjax.report.accuracy import CAPTION, accuracy_figure, shares_below
from twinjax.report.anatomy import density_maps, displacement_maps, scan_overview
from twinjax.report.assimilation import assimilation_section, assimilation_sentence
from twinjax.report.course import measurement_figure, measurement_table
from twinjax.report.coverage import coverage_tables, coverage_text, coverage_words
from twinjax.report.figure import ObservedPoints, score_bars, timeline, treatment_marks, volume_curve
from twinjax.report.identifiability import identifiability_section
from twinjax.report.progression import progression_sentence, progression_table
from twinjax.report.recommended import Advice, recommended
from twinjax.report.report import KeyFigure, PatientReport, Section, Table
from twinjax.report.section import (
    background_image,
    best_option,
    calibration_section,
    options_section,
    response_section,
    timing_section,
    visibility_levels,
)
from twinjax.report.style import quantity_label
from twinjax.report.table import (
    interval_text,
    metric_cells,
    metrics_table,
    posterior_warnings,
    visits_table,
)
from twinjax.report.viewer import orthogonal_viewer
from twinjax.treatment import Regimen
from twinjax.twin import (
    BrainDisplacement,
    Comparison,
    CompleteResponse,
    Forecast,
)
from twinjax.twin.accuracy import TRUE_PARAMETERS, segmented_regions, true_density, true_parameters, true_volume
from twinjax.twin.assimilated import AssimilatedVisit
from twinjax.twin.coverage import MeasuredCoverage
from twinjax.twin.recommendation import CAVEAT
from twinjax.twin.time_to_progression import ProgressionForecast

LIMITATIONS = (
    "Research software: not a medical device, and not for decisions about a patient.",
    "Visible boundaries are taken as contours of equal cell density; the levels are calibrated, not measured.",
)
WHOLE_TUMOR = "whole_tumor_volume_mm3"
SHIFTS = {"largest_displacement_mm": "largest displacement (mm)", "midline_shift_mm": "midline shift (mm)"}


def longitudinal_report(
    patient: PatientData,
    posterior: Posterior,
    identifiability: Identifiability,
    prediction: Forecast,
    *,
    title: str,
    last_day: float,
    scores: list[dict[str, Any]],
    metrics: list[dict[str, Any]],
    laboratory: Sequence[dict[str, Any]] = (),
    progression: Sequence[ProgressionForecast] = (),
    coverage: Sequence[MeasuredCoverage] = (),
    assimilated: Sequence[AssimilatedVisit] = (),
    comparison: Comparison | None,
    recommendation: Advice | None = None,
    options: Mapping[str, Regimen],
    uncalibrated: Sequence[str] = (),
    response: Mapping[str, CompleteResponse] | None = None,
    displacement: BrainDisplacement | None = None,
    provenance: Mapping[str, Any],
    seconds: Mapping[str, float],
) -> PatientReport:
    """The report of a calibration up to `last_day` and its forecast.

    **Arguments:** `identifiability`, what `twinjax.calibration.identify` says of the posterior;
    `scores` and `metrics` of `twinjax.twin.accuracy`; `laboratory` of `course_scores`; `progression` of the forecast;
    `coverage`, what such intervals held (`measured_coverage`); `assimilated`, the visits after the fit; `comparison` of
    `options`, whose day 0 is `last_day`, or None; `recommendation`, a plan from `last_day` on; `uncalibrated`, the
    parameters that forecasts draw from their prior; `response`, option to the chance of a complete response;
    `displacement` of the brain; `seconds` per stage.
    """
    calibrated = [day for day in patient.days.tolist() if day <= last_day]
    assert posterior.problem is not None
    held = [score for score in scores if score["held_out"] and score["reference"] == "segmentation"]
    summary, key_figures = _summary(posterior, prediction, calibrated, held, comparison)
    summary += [progression_sentence(one) for one in progression if one.quantity == WHOLE_TUMOR]
    if coverage:
        summary.append(coverage_words(coverage))
    for row in metrics:
        if row["metric"] == TRUE_PARAMETERS:
            inside = round(row["value"] * row["n"] / 100)
            summary.append(
                f"Of the {row['n']} parameters that this patient was made with {inside} lie in their 90 % interval."
            )
    sections = [
        Section(
            "Scans",
            "Every visit in the plane where the tumour is largest. Contours are the segmentation: core solid, whole "
            "tumour dashed.",
            [
                ("What was measured and given, and when.", _timeline(patient, prediction, last_day)),
                ("Scans with the segmented tumour.", scan_overview(patient.visits)),
            ],
            [visits_table(patient.visits, calibrated_days=calibrated)],
        ),
        _forecast_section(patient, posterior, prediction, last_day, progression, coverage),
    ]
    if displacement is not None:
        sections.append(_displacement_section(patient, displacement))
    if metrics:
        sections.append(_accuracy_section(held, metrics, laboratory))
    sections.append(
        calibration_section(
            posterior,
            "What the visits say about the parameters. A parameter whose posterior is as wide as its prior has not "
            "been informed by this patient.",
            truth=true_parameters(patient, posterior),
        )
    )
    sections.append(identifiability_section(identifiability))
    if assimilated:
        sections.append(assimilation_section(assimilated))
        summary.append(assimilation_sentence(assimilated))
    if comparison is not None:
        sections.append(options_section(comparison, options, uncalibrated))
    if recommendation is not None:
        told = recommended(recommendation)
        sections.append(told.section)
        summary.append(f"{told.verdict} {CAVEAT}")
        key_figures.append(told.key_figure)
    if response is not None:
        sections.append(response_section(response))
    sections.append(timing_section(seconds))
    return PatientReport(
        title=title,
        patient_id=patient.patient_id,
        synthetic=patient.source == "synthetic",
        summary=summary,
        key_figures=key_figures,
        warnings=posterior_warnings(posterior, failed_forecasts=prediction.failed_draws),
        sections=sections,
        provenance=provenance,
        limitations=[*LIMITATIONS, *posterior.problem.whole.model.leaves_out],
    )


def _summary(posterior, prediction, calibrated, held, comparison) -> tuple[list[str], list[KeyFigure]]:
    horizon = float(prediction.times[-1])
    volume = interval_text(prediction.measured(WHOLE_TUMOR)[:, -1], WHOLE_TUMOR)
    days = ", ".join(f"{day:g}" for day in calibrated)
    summary = [
        f"A growth model was calibrated to {len(calibrated)} visits (days {days}) by "
        f"{posterior.diagnostics['method']}; the calibration is {posterior.diagnostics['verdict']}.",
        f"By day {horizon:g}, under the treatment as planned, a whole-tumour volume of {volume} is expected.",
    ]
    value, _, note = volume.removesuffix(")").partition(" (")
    key_figures = [KeyFigure(f"Whole tumour, day {horizon:g}", value, note)]
    if held:
        overlap = float(np.mean([score["whole_tumor_dice"] for score in held]))
        inside = [score[f"{region}_in_interval"] for score in held for region in REGIONS]
        summary.append(
            f"Against the {len(held)} held-out visits the forecast reached a mean Dice of {overlap:.2f} (whole "
            f"tumour), and {sum(inside)} of {len(inside)} measured volumes lay inside their 90 % interval."
        )
        key_figures.append(KeyFigure("Forecast Dice, held out", f"{overlap:.2f}", "target 0.85"))
    if comparison is not None:
        sentence, figure = best_option(comparison, "the smallest tumour")
        summary.append(sentence)
        key_figures.append(figure)
    return summary, key_figures


def _forecast_section(
    patient: PatientData,
    posterior: Posterior,
    prediction: Forecast,
    last_day: float,
    progression: Sequence[ProgressionForecast],
    coverage: Sequence[MeasuredCoverage],
) -> Section:
    horizon, domain = float(prediction.times[-1]), prediction.domain
    maps_at = sorted({day for day in patient.days.tolist() if last_day < day < horizon} | {horizon})
    maps = density_maps(
        prediction.at(maps_at),
        domain.from_grid(background_image(patient.visits[0].scan), patient.visits[0].scan.affine),
        thresholds=visibility_levels(posterior),
        truth=_true_densities(patient, prediction, maps_at),
        observed={
            visit.day: segmented_regions(visit.scan, domain)["whole_tumor"] for visit in patient.visits_after(last_day)
        },
    )
    course = patient.laboratory
    laboratory = []
    if course is not None and prediction.laboratory is not None:
        laboratory = [("Laboratory values.", measurement_figure(course, prediction.laboratory, last_day))]
    return Section(
        "Forecast",
        "Volumes over time with 50 % and 90 % intervals of what a segmentation would measure: the uncertainty of "
        "the parameters, the scatter of segmentation, and the error of the model at the visits it was fitted to.\n\n"
        + coverage_text(coverage),
        [
            ("Volume over time.", _volume_figure(patient, prediction, last_day)),
            *laboratory,
            ("Predicted density of tumour cells.", maps),
        ],
        [*([progression_table(progression)] if progression else []), *coverage_tables(coverage)],
        viewer=orthogonal_viewer(
            patient.visits, prediction, last_day=last_day, treatments=treatment_marks(patient.regimen)
        ),
    )


def _displacement_section(patient: PatientData, displacement: BrainDisplacement) -> Section:
    scan, domain = patient.visits[0].scan, displacement.domain
    days = [row["day"] for row in displacement.rows]
    maps = displacement_maps(
        displacement.magnitude, days, domain.from_grid(background_image(scan), scan.affine), domain
    )
    cells = [[row["day"], *(f"{row[key]:.1f}" for key in SHIFTS)] for row in displacement.rows]
    return Section(
        "Mass effect",
        "How far the cells that are forecast push the brain, by linear elasticity under a pressure that is the same "
        "for all patients: an order of magnitude. The forecast itself does not move the tissue.",
        [("Length of the displacement.", maps)],
        [Table(["day", *SHIFTS.values()], cells, "Displacement by the mean density.")],
    )


def _accuracy_section(
    held: list[dict[str, Any]], metrics: list[dict[str, Any]], laboratory: Sequence[dict[str, Any]]
) -> Section:
    measured = [score for score in laboratory if score["held_out"]]
    days = [f"day {score['day']:g}" for score in held]
    bars = {label: [score[f"{region}_dice"] for score in held] for region, label in REGIONS.items()}
    return Section(
        "How good was it",
        "The forecast of the held-out visits against their segmentations and, for a synthetic patient, the truth "
        "that it was made with.",
        [
            ("Overlap at the held-out visits.", score_bars(days, bars, title="Dice", target=0.85)),
            (CAPTION, accuracy_figure(metrics, shares_below(held) | shares_below(measured))),
        ]
        if held
        else [],
        [
            metrics_table(metric_cells(metrics), "Accuracy at the held-out visits, against the project's targets."),
            *([measurement_table(measured)] if measured else []),
        ],
    )


def _timeline(patient: PatientData, prediction: Forecast, last_day: float) -> Figure:
    measured = {"scan": patient.days.tolist()}
    for name, (days, _) in ({} if patient.laboratory is None else patient.laboratory.measurements).items():
        measured[quantity_label(name)[0]] = days.tolist()
    marks = treatment_marks(patient.regimen)
    return timeline(measured, marks, last_day=last_day, horizon=float(prediction.times[-1]))


def _volume_figure(patient: PatientData, prediction: Forecast, last_day: float) -> Figure:
    days = [visit.day for visit in patient.visits]
    used = [day <= last_day for day in days]
    names = {f"{region}_volume_mm3": region for region in REGIONS if region in prediction.volume_noise}
    observed = {}
    for name, region in names.items():
        values = [volume_mm3(getattr(visit.scan, region), visit.scan.affine) for visit in patient.visits]
        observed[name] = ObservedPoints(days, values, used)
    truth = None
    if patient.truth is not None:
        truth = {name: true_volume(patient.truth, region, prediction.times) for name, region in names.items()}
    return volume_curve(
        prediction.times,
        {name: prediction.measured(name) for name in names},
        observed=observed,
        truth=truth,
        treatments=treatment_marks(patient.regimen),
        forecast_start=last_day,
    )


def _true_densities(patient: PatientData, prediction: Forecast, days: Sequence[float]) -> np.ndarray | None:
    """(days, X, Y, Z) true densities of a synthetic patient, NaN on days without a visit."""
    if patient.truth is None:
        return None
    known = set(patient.truth.days)
    unknown = np.full(prediction.domain.shape, np.nan, np.float32)
    return np.stack([true_density(patient.truth, d, prediction.domain) if d in known else unknown for d in days])
