"""The report of a patient as numbers over time: fit, forecast, how good it was, and treatment options."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from twinjax.calibration import Identifiability, Posterior
from twinjax.patient import ClinicalCourse
from twinjax.report.accuracy import CAPTION, accuracy_figure, shares_below
from twinjax.report.assimilation import assimilation_section, assimilation_sentence
from twinjax.report.coverage import coverage_tables, coverage_text, coverage_words
from twinjax.report.figure import ObservedPoints, timeline, treatment_marks, volume_curve
from twinjax.report.identifiability import identifiability_section
from twinjax.report.progression import progression_sentence, progression_table
from twinjax.report.recommended import Advice, recommended
from twinjax.report.report import KeyFigure, PatientReport, Section, Table
from twinjax.report.section import best_option, calibration_section, options_section, timing_section
from twinjax.report.style import quantity_label, with_unit
from twinjax.report.table import interval_text, metric_cells, metrics_table, posterior_warnings
from twinjax.treatment import Regimen
from twinjax.twin import Comparison, CourseForecast
from twinjax.twin.assimilated import AssimilatedVisit
from twinjax.twin.coverage import MeasuredCoverage
from twinjax.twin.recommendation import CAVEAT
from twinjax.twin.time_to_progression import ProgressionForecast

LIMITATIONS = (
    "Research software: not a medical device, and not for decisions about a patient.",
    "The model has no space: it says how much tumour there is, not where.",
)


def course_report(
    patient: ClinicalCourse,
    posterior: Posterior,
    identifiability: Identifiability,
    prediction: CourseForecast,
    *,
    title: str,
    last_day: float,
    scores: list[dict[str, Any]],
    metrics: list[dict[str, Any]],
    progression: Sequence[ProgressionForecast] = (),
    coverage: Sequence[MeasuredCoverage] = (),
    assimilated: Sequence[AssimilatedVisit] = (),
    comparison: Comparison | None,
    recommendation: Advice | None = None,
    options: Mapping[str, Regimen],
    uncalibrated: Sequence[str] = (),
    provenance: Mapping[str, Any],
    seconds: Mapping[str, float],
) -> PatientReport:
    """The report of a calibration up to `last_day` and its forecast.

    **Arguments:** `identifiability`, what `twinjax.calibration.identify` says of the posterior;
    `scores` and `metrics` of `twinjax.twin.course_accuracy`; `progression` of the forecast; `coverage`, what
    such intervals held (`measured_coverage`); `assimilated`, the visits after the fit; `comparison` of `options`,
    whose day 0 is `last_day`, or None; `recommendation`, a plan from `last_day` on; `uncalibrated`, the parameters that
    forecasts draw from their prior; `seconds` per stage.
    """
    assert posterior.problem is not None
    held = [score for score in scores if score["held_out"]]
    summary, key_figures = _summary(posterior, prediction, last_day, held, comparison)
    summary += [progression_sentence(one) for one in progression]
    if coverage:
        summary.append(coverage_words(coverage))
    sections = [_forecast_section(patient, prediction, last_day, progression, coverage)]
    if metrics:
        sections.append(_accuracy_section(held, metrics))
    sections.append(
        calibration_section(
            posterior,
            "What the measurements say about the parameters. A parameter whose posterior is as wide as its prior has "
            "not been informed by this patient.",
            truth={name: value for name, value in patient.truth.items() if name in posterior.names} or None,
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


def _summary(posterior, prediction, last_day, held, comparison) -> tuple[list[str], list[KeyFigure]]:
    horizon = float(prediction.times[-1])
    summary = [
        f"A model without space was calibrated to the measurements up to day {last_day:g} by "
        f"{posterior.diagnostics['method']}; the calibration is {posterior.diagnostics['verdict']}."
    ]
    key_figures = []
    for name in prediction.noise:
        label, _, _ = quantity_label(name)
        expected = interval_text(prediction.measured(name)[:, -1], name)
        summary.append(f"{label} on day {horizon:g}, under the treatment as planned: {expected}.")
        value, _, note = expected.removesuffix(")").partition(" (")
        key_figures.append(KeyFigure(f"{label}, day {horizon:g}", value, note))
    if held:
        inside = sum(score["in_interval"] for score in held)
        summary.append(f"{inside} of {len(held)} held-out measurements lay inside their 90 % interval.")
        key_figures.append(KeyFigure("Held out, in interval", f"{inside} of {len(held)}", "target 90 %"))
    if comparison is not None:
        sentence, figure = best_option(comparison, "the lowest value")
        summary.append(sentence)
        key_figures.append(figure)
    return summary, key_figures


def _timeline(patient: ClinicalCourse, prediction: CourseForecast, last_day: float) -> Figure:
    measured = {quantity_label(name)[0]: days.tolist() for name, (days, _) in patient.measurements.items()}
    marks = treatment_marks(patient.regimen)
    return timeline(measured, marks, last_day=last_day, horizon=float(prediction.times[-1]))


def measurement_figure(patient: ClinicalCourse, prediction: CourseForecast, last_day: float) -> Figure:
    """Each measured quantity over time, with what was measured and given."""
    observed = {
        name: ObservedPoints(days.tolist(), values.tolist(), [day <= last_day for day in days.tolist()])
        for name, (days, values) in patient.measurements.items()
    }
    return volume_curve(
        prediction.times,
        {name: prediction.measured(name) for name in prediction.noise},
        observed=observed,
        treatments=treatment_marks(patient.regimen),
        forecast_start=last_day,
    )


def measurement_table(held: list[dict[str, Any]]) -> Table:
    """The held-out rows of `course_scores`: measured, forecast and interval."""
    rows = []
    for score in held:
        label, unit, scale = quantity_label(score["quantity"])
        measured, predicted, low, high = (
            f"{scale * score[key]:.3g}" for key in ("measured", "predicted", "lower_90", "upper_90")
        )
        rows.append(
            [
                score["day"],
                with_unit(label, unit),
                {-1: "< ", 1: "> "}.get(score["side"], "") + measured,
                predicted,
                f"{low} to {high}",
                score["in_interval"],
            ]
        )
    columns = ["day", "quantity", "measured", "forecast, median", "90 % interval", "inside"]
    return Table(columns, rows, "Held-out measurements.")


def _forecast_section(
    patient: ClinicalCourse,
    prediction: CourseForecast,
    last_day: float,
    progression: Sequence[ProgressionForecast],
    coverage: Sequence[MeasuredCoverage],
) -> Section:
    return Section(
        "Forecast",
        "Each measured quantity over time with 50 % and 90 % intervals of what would be measured: the uncertainty of "
        "the parameters and the scatter of the measurement.\n\n" + coverage_text(coverage),
        [
            ("What was measured and given, and when.", _timeline(patient, prediction, last_day)),
            ("Measurements and forecast.", measurement_figure(patient, prediction, last_day)),
        ],
        [*([progression_table(progression)] if progression else []), *coverage_tables(coverage)],
    )


def _accuracy_section(held: list[dict[str, Any]], metrics: list[dict[str, Any]]) -> Section:
    return Section(
        "How good was it",
        "The forecast of the held-out measurements, beside carrying the last value forward.",
        [(CAPTION, accuracy_figure(metrics, shares_below(held)))] if held else [],
        [
            measurement_table(held),
            metrics_table(metric_cells(metrics), "Accuracy at the held-out measurements."),
        ],
    )
