"""The report of a cohort: accuracy against the targets, coverage, each patient, failures and computing time."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure, FigureBase
from matplotlib.ticker import MaxNLocator
from scipy import stats

from twinjax.report.report import KeyFigure, PatientReport, Section, Table, format_cell
from twinjax.report.style import COLORS, lower_first, quantity_label, styled

# More patients are in cohort.csv alone.
MOST_ROWS = 200
HISTOGRAMS_A_LINE = 3
LIMITATIONS = (
    "Research software: not a medical device, and not for decisions about a patient.",
    "Each patient was calibrated alone: nothing is learned from the others.",
)


def cohort_report(
    summary: Mapping[str, Any],
    patients: Sequence[Mapping[str, Any]],
    metrics: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    title: str,
    synthetic: bool,
    effort: Mapping[str, float | None],
    provenance: Mapping[str, Any],
) -> PatientReport:
    """The report of `twinjax.job.cohort.run_cohort`.

    **Arguments:** `summary` of `cohort.json`; `patients`, the lines of `cohort.csv`; `metrics`, name of a patient to
    the rows of `metric_row`; `effort`, what it took to its number; `provenance` without data.
    """
    total, failed = summary["patients"], summary["failed"]
    sections = []
    if summary["metrics"]:
        sections.append(_accuracy_section(summary["metrics"], metrics, summary["held_out"]))
    if summary["parameters"]:
        sections.append(_parameter_section(summary["parameters"]))
    sections.append(_patients_section(patients, metrics))
    if failed:
        rows = [[name, message] for name, message in failed.items()]
        text = "They have no results, and a second run tries them again. Each has its log in the folder failed."
        sections.append(Section("Failures", text, tables=[Table(["patient", "why"], rows, "Patients that failed.")]))
    rows = [[name, value] for name, value in effort.items() if value is not None]
    sections.append(Section("Effort", _EFFORT, tables=[Table(["quantity", "found"], rows, "What the cohort took.")]))
    return PatientReport(
        title=title,
        subject="Cohort of",
        patient_id=f"{total} patients",
        synthetic=synthetic,
        summary=_sentences(summary),
        key_figures=_key_figures(summary),
        warnings=_warnings(summary),
        sections=sections,
        provenance=provenance,
        limitations=LIMITATIONS,
    )


_EFFORT = (
    "Programs are compiled for the shapes of a patient: patients of the same shapes share them, and processes share "
    "them on disk."
)


def _warnings(summary: Mapping[str, Any]) -> list[str]:
    found, doubtful = [], len(summary["not_converged"])
    if summary["failed"]:
        found.append(f"{len(summary['failed'])} of {summary['patients']} patients have no results: see Failures.")
    if doubtful:
        found.append(
            f"The calibration of {doubtful} of {summary['done']} patients has not converged: do not use their numbers. "
            "They are part of the figures below."
        )
    return found


def _sentences(summary: Mapping[str, Any]) -> list[str]:
    sentences = [f"{summary['done']} of {summary['patients']} patients were calibrated and forecast, each by itself."]
    for row in summary["metrics"]:
        if row["met"] is not None and row["error"] is None:
            name = lower_first(row["metric"])
            sentences.append(f"The target of {name} ({row['target']}) is met in {row['met']} of {row['patients']}.")
    return sentences


def _key_figures(summary: Mapping[str, Any]) -> list[KeyFigure]:
    figures = [KeyFigure("Patients with results", f"{summary['done']} of {summary['patients']}")]
    for row in summary["metrics"]:
        if row["error"] is not None:
            note = f"± {row['error']:.0f}, target {row['target'].lstrip('≥ ')} %, of {format_cell(row['n'])} values"
            figures.append(KeyFigure(row["metric"], f"{row['value']:.0f} %", note))
    return figures


def _accuracy_section(
    rows: Sequence[Mapping[str, Any]], metrics: Mapping[str, Sequence], held_out: Sequence[Mapping[str, Any]]
) -> Section:
    table = [
        [
            row["metric"],
            row["unit"],
            row["value"],
            f"{format_cell(row['low'])} to {format_cell(row['high'])}",
            row["target"] or "—",
            "—" if row["met"] is None or row["error"] is not None else f"{row['met']} of {row['patients']}",
            row["n"],
            row["patients"],
        ]
        for row in rows
    ]
    for row in held_out:
        name = f"concordance of forecast medians, {lower_first(quantity_label(row['quantity'])[0])}, over all patients"
        table.append([name, "", row["concordance"], "—", "—", "—", row["n"], "—"])
    columns = [
        "measure",
        "unit",
        "value",
        "5th to 95th percentile of patients",
        "target",
        "met by",
        "values",
        "patients",
    ]
    text = (
        "What was held out of each patient's calibration, against its forecast. The value is the median over patients; "
        "of a coverage it is the share of all held-out values, and the target is for that share: one patient has too "
        "few of them to meet it or not."
    )
    caption = "Each patient a point, the value of the table a bar; the target is dashed."
    if held_out:
        text += (
            "\n\nDo the intervals hold? The histograms show where in its forecast each held-out measurement lay: the "
            "share of the forecast below it. Bars of one height say that the intervals hold what they say; high ends "
            "that they are too narrow, a high middle that they are too wide, a slope that forecasts are too high or "
            "too low."
        )
        caption += (
            " Below: held-out measurements by the share of their forecast below them. Grey: what 99 of 100 bars of "
            "right forecasts keep to, were all measurements independent; those of one patient are not, and bars then "
            "scatter more."
        )
    shares = {quantity_label(row["quantity"])[0]: row["shares_below"] for row in held_out}
    figure = accuracy_over_patients(rows, metrics, shares)
    return Section("Accuracy", text, [(caption, figure)], [Table(columns, table, "Accuracy over the cohort.")])


def _parameter_section(rows: Sequence[Mapping[str, Any]]) -> Section:
    table = [
        [
            quantity_label(row["parameter"])[0],
            row["median_error_percent"],
            f"{100 * row['covered'] / row['patients']:.0f} %",
            row["patients"],
        ]
        for row in rows
    ]
    text = (
        "The truth that these synthetic patients were made with. A parameter that the data say little about has a "
        "large error and, if all is well, an interval as wide."
    )
    columns = ["parameter", "median error (%)", "truth in 90 % interval", "patients"]
    return Section("Recovery of the truth", text, tables=[Table(columns, table, "True parameters, recovered.")])


def _patients_section(patients: Sequence[Mapping[str, Any]], metrics: Mapping[str, Sequence]) -> Section:
    names = list(dict.fromkeys(metric["metric"] for of_it in metrics.values() for metric in of_it))
    units = {metric["metric"]: metric["unit"] for of_it in metrics.values() for metric in of_it}
    shown = patients[:MOST_ROWS]
    rows = [[p["patient"], p["state"], p.get("converged"), *(_rounded(p.get(name)) for name in names)] for p in shown]
    columns = ["patient", "state", "converged", *(f"{n} ({units[n]})" if units[n] else n for n in names)]
    text = "Each patient's own report lies in the folder patients, beside its maps, posterior and tables."
    if len(shown) < len(patients):
        text += f" Here are the first {len(shown)} of {len(patients)}; cohort.csv has all of them."
    return Section("Patients", text, tables=[Table(columns, rows, "Each patient.")])


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.3g}")


@styled
def accuracy_over_patients(
    rows: Sequence[Mapping[str, Any]],
    metrics: Mapping[str, Sequence[Mapping[str, Any]]],
    shares: Mapping[str, Sequence[float]],
) -> Figure:
    """`rows` of the summary, with medians and targets, the `metrics` of each patient, and `shares` in [0, 1] of each
    quantity's forecasts below its held-out values.
    """
    units = list(dict.fromkeys(row["unit"] for row in rows))
    heights = [0.55 * sum(row["unit"] == unit for row in rows) + 0.55 for unit in units]
    lines = -(-len(shares) // HISTOGRAMS_A_LINE)
    below = 2.5 * lines + 0.3 * bool(lines)
    figure = Figure(figsize=(9.0, sum(heights) + below))
    if not shares:
        _metric_strips(figure, heights, units, rows, metrics)
        return figure
    parts = figure.subfigures(2, 1, squeeze=False, height_ratios=[sum(heights), below])
    upper, lower = parts[:, 0]
    _metric_strips(upper, heights, units, rows, metrics)
    _share_histograms(lower, lines, shares)
    return figure


def _share_histograms(figure: FigureBase, lines: int, shares: Mapping[str, Sequence[float]], bins: int = 10) -> None:
    """A panel a quantity: how many of `shares` fall into each of `bins` equal parts."""
    panels = figure.subplots(lines, min(HISTOGRAMS_A_LINE, len(shares)), squeeze=False).ravel()
    for panel, (name, values) in zip(panels, shares.items(), strict=False):
        low, high = stats.binom.interval(0.99, len(values), 1 / bins)
        panel.axhspan(low, high, color=COLORS["grid"], linewidth=0)
        panel.axhline(len(values) / bins, color=COLORS["ink"], linestyle="--", linewidth=1)
        panel.hist(values, np.linspace(0, 1, bins + 1), color=COLORS["blue"], edgecolor="white")
        for bound in (low, high):
            panel.axhline(bound, color=COLORS["muted"], linewidth=0.8)
        panel.yaxis.set_major_locator(MaxNLocator(integer=True))
        panel.set(title=name, xlim=(0, 1), xlabel="share of the forecast below")
    panels[0].set_ylabel("measurements")
    for panel in panels[len(shares) :]:
        panel.set_axis_off()


def _metric_strips(
    figure: FigureBase,
    heights: Sequence[float],
    units: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    metrics: Mapping[str, Sequence[Mapping[str, Any]]],
) -> None:
    """A panel a unit, a line a metric, a point a patient."""
    panels = figure.subplots(len(units), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    rng = np.random.default_rng(0)
    for panel, unit in zip(panels, units, strict=True):
        of_it = [row for row in rows if row["unit"] == unit]
        for place, row in enumerate(of_it):
            values = [m["value"] for ms in metrics.values() for m in ms if m["metric"] == row["metric"]]
            known = np.asarray([value for value in values if value is not None])
            # Apart from each other, where many patients have the same value.
            height = place + rng.uniform(-0.22, 0.22, known.size)
            panel.plot(known, height, "o", color=COLORS["blue"], alpha=0.45, markersize=4.5, markeredgewidth=0)
            panel.plot([row["value"]] * 2, [place - 0.34, place + 0.34], color=COLORS["ink"], linewidth=2.2)
            if row["target"]:
                target = float(row["target"].lstrip("≥≤ "))
                panel.plot([target] * 2, [place - 0.42, place + 0.42], "--", color=COLORS["vermillion"])
        panel.set_yticks(range(len(of_it)), [row["metric"] for row in of_it])
        panel.set_ylim(len(of_it) - 0.45, -0.55)
        panel.set_xlabel(unit or "no unit")
        panel.grid(axis="x")
