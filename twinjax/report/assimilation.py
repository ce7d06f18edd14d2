"""The section of visits that came after the fit: what was expected of them, and what they changed."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from twinjax.report.report import Section, Table
from twinjax.report.style import COLORS, quantity_label, styled, with_unit
from twinjax.report.table import three_digits
from twinjax.twin.assimilated import AssimilatedVisit

BY_CHANCE = "One of ten measurements lies outside a 90 % interval by chance."


def assimilation_sentence(visits: Sequence[AssimilatedVisit]) -> str:
    """For the summary: how many later measurements were foreseen."""
    inside = [one["inside"] for visit in visits for one in visit.expected]
    text = f"{sum(inside)} of {len(inside)} later measurements lay in the 90 % interval that was forecast just before."
    if all(inside):
        return text
    return f"{text} {len(inside) - sum(inside)} did not: the model may no longer describe this patient. {BY_CHANCE}"


def assimilation_section(visits: Sequence[AssimilatedVisit]) -> Section:
    """Each later visit beside its forecast, what may explain a surprise, and how parameters and forecast moved."""
    text = (
        "The visits after the fit, told to the twin one after the other: each was forecast from all before it, and "
        f"then changed the posterior. {BY_CHANCE}"
    )
    if surprises := [sentence for visit in visits for sentence in visit.warnings]:
        text += "\n\n⚠ " + "\n\n⚠ ".join(surprises)
        text += "\n\nThese reasons are a list to think of, and no finding."
    tables = [_expected_table(visits), _change_table(visits), _ahead_table(visits)]
    figure = posterior_by_visit(visits)
    return Section("Visits after the fit", text, [("Median and 90 % interval of each parameter.", figure)], tables)


@styled
def posterior_by_visit(visits: Sequence[AssimilatedVisit]) -> Figure:
    """A panel a parameter: median and 90 % interval of the fit and after each visit."""
    names = list(dict.fromkeys(row["parameter"] for visit in visits for row in visit.change))
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.2 * rows + 0.2))
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    labels = ["fit", *(f"{visit.day:g}" for visit in visits)]
    for name, panel in zip(names, panels, strict=False):
        found = [next((row for row in visit.change if row["parameter"] == name), {}) for visit in visits]
        # A parameter of a treatment that began since is not there from the first.
        ends = [[found[0].get(f"{key}_before") for key in ("lower", "median", "upper")]]
        ends += [[row.get(f"{key}_after") for key in ("lower", "median", "upper")] for row in found]
        low, middle, high = np.asarray(ends, float).T
        places = np.arange(len(labels))
        panel.errorbar(
            places, middle, [middle - low, high - middle], fmt="o-", color=COLORS["blue"], capsize=3, linewidth=1.2
        )
        panel.set(title=quantity_label(name)[0], ylabel=found[-1]["unit"], xlabel="known up to day")
        panel.set_xticks(places, labels)
        panel.grid(axis="y")
    for panel in panels[len(names) :]:
        panel.set_axis_off()
    return figure


def _expected_table(visits: Sequence[AssimilatedVisit]) -> Table:
    rows = []
    for one in (one for visit in visits for one in visit.expected):
        label, unit, scale = quantity_label(one["quantity"])
        measured, median, low, high = (
            three_digits(scale * one[key]) for key in ("measured", "median", "lower", "upper")
        )
        rows.append([one["day"], with_unit(label, unit), measured, median, f"{low} to {high}", one["inside"]])
    columns = ["day", "quantity", "measured", "forecast without it, median", "90 % interval", "inside"]
    return Table(columns, rows, "What was expected of each later measurement.")


def _change_table(visits: Sequence[AssimilatedVisit]) -> Table:
    rows = []
    for visit in visits:
        for row in visit.change:
            ends = [
                "not there"
                if row[f"median_{when}"] is None
                else f"{three_digits(row[f'median_{when}'])} ({three_digits(row[f'lower_{when}'])} to "
                f"{three_digits(row[f'upper_{when}'])})"
                for when in ("before", "after")
            ]
            shift = None if row["shift"] is None else f"{row['shift']:+.2f}".replace("-", "\u2212")
            width = None if row["width_left"] is None else f"{100 * row['width_left']:.0f} %"
            first = row is visit.change[0]
            name = with_unit(quantity_label(row["parameter"])[0], row["unit"])
            rows.append([visit.day if first else None, name, *ends, shift, width, visit.by if first else ""])
    columns = ["day", "parameter", "before, median (90 %)", "after, median (90 %)"]
    columns += ["shift of the median, in deviations", "width that is left", "renewed by"]
    return Table(columns, rows, "How each visit moved the parameters.")


def _ahead_table(visits: Sequence[AssimilatedVisit]) -> Table:
    rows = []
    for visit in visits:
        for one in visit.ahead:
            label, unit, scale = quantity_label(one["quantity"])
            ends = [
                f"{three_digits(scale * one[f'median_{when}'])} ({three_digits(scale * one[f'lower_{when}'])} to "
                f"{three_digits(scale * one[f'upper_{when}'])})"
                for when in ("before", "after")
            ]
            rows.append([visit.day, with_unit(f"{label}, day {one['day']:g}", unit), *ends])
    columns = ["day of the visit", "forecast of", "before it, median (90 %)", "after it, median (90 %)"]
    return Table(columns, rows, "How each visit moved the forecast; without the scatter of a measurement.")
