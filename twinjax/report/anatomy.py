"""Figures of the anatomy: axial slices in radiological convention with tumour contours."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.imaging.axial_view import AxialView, Line, draw_contour, draw_legend, show_anatomy
from twinjax.imaging.contact_sheet import contact_sheet
from twinjax.patient.visit import Visit
from twinjax.report.style import COLORS, styled
from twinjax.twin import Forecast

PLANNING_LINE: Line = ("white", ":")
SEGMENTED_LINE: Line = ("#7fe3ff", ":")
PLAN_LINES: tuple[Line, ...] = (
    (COLORS["sky"], "--"),
    (COLORS["orange"], "-"),
    (COLORS["green"], "-."),
    (COLORS["purple"], (0, (1, 1))),
)
ON_DARK = {"color": "white", "ha": "center", "fontsize": 8, "bbox": {"facecolor": "black", "linewidth": 0}}
# White on the maps: the density's colours hold both of the others.
LEVEL_LINES: tuple[Line, ...] = (("white", "-"), ("white", "--"))


@styled
def scan_overview(visits: Sequence[Visit]) -> Figure:
    """The visits' `contact_sheet` in the style of the reports."""
    return contact_sheet({visit.day: visit.scan for visit in visits})


@styled
def density_maps(
    forecast: Forecast,
    background,
    *,
    thresholds: Mapping[str, float],
    truth=None,
    observed: Mapping[float, np.ndarray] | None = None,
    columns: int = 5,
) -> Figure:
    """Predicted cell density over the anatomy: mean, uncertainty and, where known, the truth, one column per time.

    **Arguments:**

    - `background`: (X, Y, Z) anatomy on the forecast's domain.
    - `thresholds`: density at which up to two regions become visible, for example `{"core": 0.6, "oedema": 0.2}`;
      the first is outlined solid, the second dashed. The pictures show 30 mm around the lowest.
    - `truth`: (T, X, Y, Z) density at the forecast's times (synthetic patients); NaN on days without.
    - `observed`: day to segmented whole tumour (X, Y, Z) bool, dotted on the column of that day.
    - `columns`: at most so many of the forecast's times are shown, evenly chosen, the last one included.
    """
    times, domain = np.asarray(forecast.times, float), forecast.domain
    affine = np.diag([*domain.spacing, 1.0]) if domain.affine is None else domain.affine
    chosen = np.unique(np.linspace(0, len(times) - 1, min(columns, len(times))).round().astype(int))
    region = np.max(forecast.density_mean, axis=0) > min(thresholds.values())
    region = region if region.any() else np.asarray(background) != 0
    view = AxialView.through(region, affine, frame=region, margin_mm=30.0)
    lines = list(zip(thresholds.items(), LEVEL_LINES, strict=False))
    legend = {f"{name} (density {level:.2g})": line for (name, level), line in lines}
    fields = {"mean density": forecast.density_mean, "uncertainty (s.d.)": forecast.density_std}
    if truth is not None:
        fields["synthetic truth"] = truth
    height = 1.75 * view.height_over_width(background) * len(fields)
    # The legend needs some width, however few the columns.
    figure = Figure(figsize=(max(5.6, 1.75 * len(chosen) + 1.2), height + 0.75))
    panels = figure.subplots(len(fields), len(chosen), squeeze=False)
    for row, (title, field) in enumerate(fields.items()):
        uncertain = field is forecast.density_std
        top, cmap = (max(float(np.max(field)), 1e-3), "viridis") if uncertain else (1.0, "inferno")
        panels[row, 0].set_ylabel(title, fontweight="bold")
        for panel, time in zip(panels[row], chosen, strict=True):
            show_anatomy(panel, view, background)
            values = view.cut(field[time])
            if np.isnan(values).any():
                panel.text(0.5, 0.5, "not known", transform=panel.transAxes, **ON_DARK)
                continue
            opacity = 0.8 * np.clip(values / (0.15 * top), 0, 1)
            panel.imshow(values, vmin=0, vmax=top, cmap=cmap, alpha=opacity, aspect=view.aspect)
            for (_, level), line in [] if uncertain else lines:
                draw_contour(panel, values, line, level=level)
        bar = figure.colorbar(
            ScalarMappable(Normalize(0, top), cmap), ax=list(panels[row]), shrink=0.8, aspect=14, pad=0.015
        )
        bar.set_label("fraction of capacity", fontsize=8)
    for panel, day in zip(panels[0], times[chosen], strict=True):
        panel.set_title(f"day {day:g}", loc="center")
        for seen, mask in (observed or {}).items():
            if abs(seen - day) < 0.5:
                draw_contour(panel, view.cut(mask), SEGMENTED_LINE)
                legend["observed whole tumour"] = SEGMENTED_LINE
    draw_legend(figure, legend)
    return figure


@styled
def displacement_maps(magnitude, days: Sequence[float], background, domain: Domain, *, columns: int = 5) -> Figure:
    """The length of a displacement over the anatomy, one column per day, in the plane where it is largest.

    **Arguments:** `magnitude` (days, X, Y, Z) mm and `background` (X, Y, Z) on the grid of `domain`; at most `columns`
    of the days are shown, the last one included.
    """
    magnitude = np.asarray(magnitude)
    affine = np.diag([*domain.spacing, 1.0]) if domain.affine is None else domain.affine
    chosen = np.unique(np.linspace(0, len(days) - 1, min(columns, len(days))).round().astype(int))
    view = AxialView.through(magnitude.max(axis=0) + 1e-9, affine, frame=background)
    figure = Figure(figsize=(1.75 * len(chosen) + 1.2, 1.75 * view.height_over_width(background) + 0.4))
    panels = figure.subplots(1, len(chosen), squeeze=False)[0]
    top = max(float(magnitude.max()), 0.1)
    for panel, time in zip(panels, chosen, strict=True):
        show_anatomy(panel, view, background)
        values = view.cut(magnitude[time])
        opacity = 0.8 * np.clip(values / (0.15 * top), 0, 1)
        panel.imshow(values, vmin=0, vmax=top, cmap="viridis", alpha=opacity, aspect=view.aspect)
        panel.set_title(f"day {days[time]:g}", loc="center")
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, top), "viridis"), ax=list(panels), shrink=0.8, aspect=14, pad=0.015
    )
    bar.set_label("displacement (mm)", fontsize=8)
    return figure


@styled
def plan_overlay(
    background, affine, plans: Mapping[str, np.ndarray], *, recurrence=None, tumor=None, planes: int = 4
) -> Figure:
    """Target volumes of treatment plans, the tumour they were made for and the recurrence, on axial planes.

    **Arguments:** everything (X, Y, Z) on the grid of `affine`; `plans` names the masks (up to four), `planes` are
    spread over the extent of the recurrence, or of the first plan where there is none.
    """
    if not 1 <= len(plans) <= len(PLAN_LINES):
        raise InputError(f"plan_overlay draws one to {len(PLAN_LINES)} plans, got {len(plans)}")
    views = planes_through(next(iter(plans.values())) if recurrence is None else recurrence, affine, background, planes)
    width = min(2.6, 9.8 / len(views))
    figure = Figure(figsize=(max(5.5, width * len(views)), width * views[0].height_over_width(background) + 0.6))
    outlines = {name: (plans[name], line) for name, line in zip(plans, PLAN_LINES, strict=False)}
    if tumor is not None:
        outlines["tumour at planning"] = (tumor, PLANNING_LINE)
    patches = []
    for panel, view in zip(figure.subplots(1, len(views), squeeze=False)[0], views, strict=True):
        show_anatomy(panel, view, background)
        panel.set_title(f"plane {view.index + 1} of {len(view.areas(background))}", loc="center")
        if recurrence is not None and (found := view.cut(recurrence).astype(float)).any():
            panel.contourf(found, levels=[0.5, 1.5], colors=[COLORS["vermillion"]], alpha=0.7)
            panel.contourf(found, levels=[0.5, 1.5], colors="none", hatches=["////"])
            patches = [Patch(facecolor=COLORS["vermillion"], alpha=0.7, hatch="////", label="recurrence")]
        for mask, line in outlines.values():
            draw_contour(panel, view.cut(mask), line)
    draw_legend(figure, {name: line for name, (_, line) in outlines.items()}, patches)
    return figure


@styled
def dose_overlay(background, affine, dose, targets: Mapping[str, np.ndarray], *, planes: int = 4) -> Figure:
    """A dose (X, Y, Z; Gy) over the anatomy, with the outlines of up to four targets, on axial planes.

    Everything is on the grid of `affine`; `planes` are spread over the extent of the first target.
    """
    views = planes_through(next(iter(targets.values())), affine, background, planes)
    width, top = min(2.3, 8.6 / len(views)), float(np.max(dose))
    height = width * views[0].height_over_width(background) + 0.6
    figure = Figure(figsize=(max(5.5, width * len(views) + 1.0), height))
    panels = figure.subplots(1, len(views), squeeze=False)[0]
    lines = dict(zip(targets, PLAN_LINES, strict=False))
    for panel, view in zip(panels, views, strict=True):
        show_anatomy(panel, view, background)
        panel.set_title(f"plane {view.index + 1} of {len(view.areas(background))}", loc="center")
        values = view.cut(dose)
        opacity = 0.8 * np.clip(values / (0.15 * top), 0, 1)
        panel.imshow(values, vmin=0, vmax=top, cmap="inferno", alpha=opacity, aspect=view.aspect)
        for name, line in lines.items():
            draw_contour(panel, view.cut(targets[name]), line)
    bar = figure.colorbar(ScalarMappable(Normalize(0, top), "inferno"), ax=list(panels), shrink=0.8, pad=0.015)
    bar.set_label("dose (Gy)", fontsize=8)
    draw_legend(figure, lines)
    return figure


def planes_through(region, affine, background, planes: int) -> list[AxialView]:
    """At most so many axial planes, spread over the extent of a region, in the frame of the background."""
    middle = AxialView.through(region, affine, frame=background)
    filled = np.flatnonzero(middle.areas(region))
    chosen = np.unique(np.quantile(filled, (np.arange(planes) + 0.5) / planes).round().astype(int))
    return [replace(middle, index=int(index)) for index in chosen]
