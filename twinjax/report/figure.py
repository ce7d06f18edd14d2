"""Figures of forecasts, posteriors and treatment options. Each function returns a matplotlib `Figure`."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from twinjax.calibration import Posterior
from twinjax.report.style import COLORS, SERIES, quantity_label, styled, with_unit
from twinjax.treatment import AbstractContinuousTreatment, Regimen
from twinjax.twin.draws import probability_best

Draws = Mapping[str, np.ndarray]
TRUTH: dict[str, Any] = {"color": COLORS["green"], "linestyle": "-."}


@dataclass(frozen=True)
class ObservedPoints:
    """Measurements of one quantity: `days` (n,), `values` (n,) in the quantity's unit, `calibrated` (n,) bool.

    A point that was not used in the calibration is drawn as held out.
    """

    days: Sequence[float]
    values: Sequence[float]
    calibrated: Sequence[bool]


@dataclass(frozen=True)
class TreatmentMark:
    """One line of the treatment strip: `times` (days) are bars if `continuous` (a drug), else single marks."""

    label: str
    times: Sequence[float]
    continuous: bool


def treatment_marks(regimen: Regimen) -> list[TreatmentMark]:
    """The strip of a regimen: one mark per kind of treatment, in the order of the regimen."""
    kinds: dict[tuple[str, bool], list[float]] = {}
    for treatment in regimen.treatments:
        kind = treatment.name, isinstance(treatment, AbstractContinuousTreatment)
        kinds.setdefault(kind, []).extend(np.asarray(treatment.times, float).tolist())
    return [TreatmentMark(label.replace("_", " "), times, continuous) for (label, continuous), times in kinds.items()]


def day_blocks(days) -> list[tuple[float, float]]:
    """First and last day of each block; days in a row are one block."""
    days = np.sort(np.asarray(days, float))
    blocks = np.split(days, np.flatnonzero(np.diff(days) > 1.5) + 1)
    return [(float(block[0]), float(block[-1])) for block in blocks if block.size]


@styled
def timeline(
    measured: Mapping[str, Sequence[float]],
    treatments: Sequence[TreatmentMark] = (),
    *,
    last_day: float,
    horizon: float,
) -> Figure:
    """What was measured and given, and when: a row for each of `measured` and of `treatments`, days on one axis.

    Measurements up to `last_day` were calibrated on (filled), later ones held out (open); the forecast ends at
    `horizon`.
    """
    figure = Figure(figsize=(9.8, 0.36 * (len(measured) + len(treatments)) + 1.1))
    panels = figure.subplots(1 + bool(treatments), 1, squeeze=False, sharex=True)[:, 0]
    if treatments:
        grid = panels[0].get_gridspec()
        grid.set_height_ratios([len(measured), len(treatments)])
        _treatment_strip(panels[1], treatments, named=True)
    panel = panels[0]
    for row, days in enumerate(measured.values()):
        days = np.asarray(days, float)
        for keep, face, label in (
            (days <= last_day, COLORS["ink"], "used in calibration"),
            (days > last_day, "white", "held out"),
        ):
            if keep.any():
                edge = {"color": COLORS["ink"], "markerfacecolor": face, "markeredgewidth": 1.4}
                marker = "o" if face != "white" else "D"
                panel.plot(days[keep], np.full(keep.sum(), row), marker, label=label, **edge)
    panel.set_yticks(range(len(measured)), list(measured), fontsize=8.5)
    panel.set_ylim(len(measured) - 0.45, -0.55)
    panel.tick_params(axis="y", length=0)
    panel.spines["left"].set_visible(False)
    for each in panels:
        each.axvline(last_day, color=COLORS["muted"], linestyle=(0, (4, 3)), linewidth=1)
        each.axvspan(last_day, horizon, color=COLORS["grid"], alpha=0.5, linewidth=0)
    panels[-1].set_xlabel("days since baseline; grey: forecast")
    legend_below(figure, [panel], 2)
    return figure


@styled
def volume_curve(
    times,
    quantities: Draws,
    *,
    observed: Mapping[str, ObservedPoints] | None = None,
    truth: Draws | None = None,
    treatments: Sequence[TreatmentMark] = (),
    forecast_start: float | None = None,
) -> Figure:
    """Quantities over time, side by side: median, 50 % and 90 % bands, measurements, truth and treatments.

    **Arguments:**

    - `times`: (T,) days; `quantities`: name to draws (S, T) in the unit that ends the name
      (`"whole_tumor_volume_mm3"` is shown in mL); `truth`: name to (T,).
    - `observed`: name to `ObservedPoints`; `treatments`: from `treatment_marks`.
    - `forecast_start`: day from which nothing was calibrated.
    """
    strips = [0.22 * len(treatments) + 0.1] if treatments else []
    figure = Figure(figsize=(max(6.5, 4.9 * len(quantities)), 3.6 + sum(strips)))
    shape = (1 + len(strips), len(quantities))
    panels = figure.subplots(*shape, squeeze=False, sharex="col", height_ratios=[3.1, *strips])
    for column, (name, draws) in enumerate(quantities.items()):
        panel = panels[0, column]
        label, unit, scale = quantity_label(name)
        low, lower, middle, upper, high = _bands(draws, scale)
        panel.plot(times, middle, color=COLORS["blue"], label="median")
        panel.fill_between(times, lower, upper, color=COLORS["blue"], alpha=0.32, linewidth=0, label="50 % interval")
        panel.fill_between(times, low, high, color=COLORS["blue"], alpha=0.14, linewidth=0, label="90 % interval")
        if truth and name in truth:
            panel.plot(times, np.asarray(truth[name]) * scale, label="truth (synthetic)", **TRUTH)
        if observed and name in observed:
            _points(panel, observed[name], scale)
        if forecast_start is not None:
            panel.axvline(forecast_start, color=COLORS["muted"], linestyle=(0, (4, 3)), linewidth=1)
            place = panel.get_xaxis_transform()
            panel.text(
                forecast_start, 0.99, "  forecast →", transform=place, va="top", color=COLORS["muted"], fontsize=8.5
            )
        panel.set(title=label, ylabel=unit, ylim=(0, None))
        panel.grid(axis="y")
        if treatments:
            _treatment_strip(panels[1, column], treatments, named=column == 0)
        panels[-1, column].set_xlabel("days since baseline")
    legend_below(figure, panels[0], 3)
    return figure


@styled
def posterior_marginals(
    posterior: Posterior,
    *,
    prior_draws: Draws | None = None,
    truth: Mapping[str, float] | None = None,
    units: Mapping[str, str] | None = None,
) -> Figure:
    """Histogram of each parameter's posterior with the prior (dashed), the 90 % interval and the truth."""
    names, intervals = list(posterior.names), posterior.credible_interval(0.9)
    rows = -(-len(names) // 5)
    figure, panels = _panels(names, columns=max(2, -(-len(names) // rows)), size=(2.45, 2.3))
    bar = {"color": COLORS["blue"], "linewidth": 5, "solid_capstyle": "butt", "clip_on": False}
    for name, panel in panels.items():
        draws = np.asarray(posterior.samples[name], float).ravel()
        prior = np.asarray((prior_draws or {}).get(name, []), float).ravel()
        low, high = _window(draws, prior)
        bins = np.linspace(low, high, 46).tolist()
        panel.hist(draws, bins, density=True, histtype="stepfilled", color=COLORS["sky"], alpha=0.75, label="posterior")
        if prior.size:
            # Not density=True: what falls outside the window still belongs to the prior's total.
            density = np.histogram(prior, bins)[0] / (prior.size * (bins[1] - bins[0]))
            panel.stairs(density, bins, color=COLORS["ink"], linestyle="--", linewidth=1.3, label="prior")
        panel.plot(intervals[name], [0, 0], label="90 % interval", **bar)
        panel.plot(posterior.map_estimate[name], 0, "^", color=COLORS["ink"], label="most probable", clip_on=False)
        if truth and name in truth:
            panel.axvline(truth[name], label="truth (synthetic)", **TRUTH)
        panel.set(xlabel=(units or {}).get(name, ""), xlim=(low, high), ylim=(0, None), yticks=[])
        panel.locator_params(axis="x", nbins=3)
        panel.spines["left"].set_visible(False)
    legend_below(figure, panels.values(), 5)
    return figure


@styled
def posterior_pairs(
    posterior: Posterior, *, truth: Mapping[str, float] | None = None, max_parameters: int = 5
) -> Figure:
    """Corner plot of the first `max_parameters` parameters, with their correlations above the diagonal."""
    names = list(posterior.names)[:max_parameters]
    draws = [np.asarray(posterior.samples[name], float).ravel() for name in names]
    shown = np.linspace(0, draws[0].size - 1, min(600, draws[0].size)).astype(int)
    side = 1.45 * len(names) + 0.6
    figure = Figure(figsize=(side + 0.5, side))
    panels = figure.subplots(len(names), len(names), squeeze=False, sharex="col")
    for (row, column), panel in np.ndenumerate(panels):
        y, x = names[row], names[column]
        panel.locator_params(nbins=3)
        if row == column:
            panel.hist(draws[row], 30, histtype="stepfilled", color=COLORS["sky"], alpha=0.75)
            panel.set_yticks([])
            panel.spines["left"].set_visible(False)
        elif row > column:
            panel.scatter(draws[column][shown], draws[row][shown], s=4, color=COLORS["blue"], alpha=0.35, linewidths=0)
            if truth and x in truth and y in truth:
                panel.plot(truth[x], truth[y], "X", color=COLORS["vermillion"], markersize=8, markeredgecolor="white")
            panel.tick_params(labelleft=column == 0)
        else:
            varies = min(np.std(draws[row]), np.std(draws[column])) > 0
            text = f"r = {np.corrcoef(draws[row], draws[column])[0, 1]:+.2f}" if varies else "fixed"
            panel.text(0.5, 0.5, text.replace("-", "−"), transform=panel.transAxes, ha="center", va="center")
            panel.set_axis_off()
        if row == len(names) - 1:
            panel.set_xlabel(textwrap.fill(quantity_label(x)[0], 16))
            panel.tick_params(axis="x", rotation=30)
        if column == 0:
            panel.set_ylabel(textwrap.fill(quantity_label(y)[0], 16))
    return figure


@styled
def posterior_traces(posterior: Posterior, *, max_draws: int = 300) -> Figure:
    """The draws of each parameter in order, one line style per chain; chains that agree lie on each other."""
    figure, panels = _panels(list(posterior.names), columns=2, size=(4.9, 1.7))
    for name, panel in panels.items():
        for chain, draws in enumerate(np.asarray(posterior.samples[name], float)):
            kept = np.unique(np.linspace(0, draws.size - 1, min(max_draws, draws.size)).astype(int))
            color, line, _, _ = SERIES[chain % len(SERIES)]
            panel.plot(kept, draws[kept], color=color, linestyle=line, linewidth=0.7, label=f"chain {chain + 1}")
        panel.locator_params(axis="y", nbins=3)
        panel.set_xlabel("draw")
    legend_below(figure, panels.values(), 6)
    return figure


@styled
def option_comparison(outcomes: Draws, *, quantity: str, curves: Draws | None = None, times=None) -> Figure:
    """Treatment options against each other: course, outcome with intervals, probability of being best.

    **Arguments:** `outcomes`: option to paired draws (S,) of `quantity` (unit at the end of its name; lower is
    better); `curves`: option to (S, T) of the same quantity at `times` (T,) days.
    """
    label, unit, scale = quantity_label(quantity)
    chances, count = probability_best(outcomes), len(outcomes)
    ratios = [1.35, 1, 0.75] if curves else [1, 0.75]
    figure = Figure(figsize=(10.0 if curves else 7.2, max(3.3, 0.55 * count + 1.6)))
    *course, spread, chance = figure.subplots(1, len(ratios), width_ratios=ratios)
    for row, option in enumerate(outcomes):
        color, line, marker, hatch = SERIES[row % len(SERIES)]
        low, lower, middle, upper, high = _bands(outcomes[option], scale)
        spread.plot([low, high], [row, row], color=color, linewidth=1.5)
        spread.plot([lower, upper], [row, row], color=color, linewidth=6, alpha=0.5, solid_capstyle="butt")
        spread.plot(middle, row, marker, color=color, markersize=7.5, markeredgecolor="white")
        chance.barh(row, chances[option], height=0.58, color=color, alpha=0.85, hatch=hatch, edgecolor="white")
        chance.text(chances[option] + 0.02, row, f"{100 * chances[option]:.0f} %", va="center", fontsize=9)
        if curves:
            low, _, middle, _, high = _bands(curves[option], scale)
            course[0].fill_between(times, low, high, color=color, alpha=0.1, linewidth=0)
            course[0].plot(times, middle, color=color, linestyle=line, marker=marker, markevery=[-1], label=option)
    for panel in course:
        panel.set(title=f"{label} over time", xlabel="days since baseline", ylabel=unit, ylim=(0, None))
        panel.grid(axis="y")
        panel.legend(loc="upper left", fontsize=8)
    spread.set(title="At the horizon", xlabel=with_unit("median, 50 % and 90 %", unit))
    spread.set_yticks(range(count), [textwrap.fill(option, 20) for option in outcomes])
    spread.grid(axis="x")
    chance.set(title="Probability\nof being best", xlim=(0, 1.18), yticks=[])
    chance.set_xticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
    for panel in (spread, chance):
        panel.set_ylim(count - 0.4, -0.6)
        panel.tick_params(axis="y", length=0)
    return figure


@styled
def score_bars(
    labels: Sequence[str], scores: Mapping[str, Sequence[float]], *, title: str, target: float | None = None
) -> Figure:
    """Scores in [0, 1] (Dice, say) as grouped bars: one group per label (a visit), one hatch per kind of score."""
    figure = Figure(figsize=(max(4.8, 1.2 * len(labels) + 1.2), 3.4))
    panel = figure.subplots()
    width = 0.8 / len(scores)
    halo = [withStroke(linewidth=3, foreground="white")]
    for index, (name, values) in enumerate(scores.items()):
        color, _, _, hatch = SERIES[index % len(SERIES)]
        places = np.arange(len(labels)) + (index - (len(scores) - 1) / 2) * width
        bars = panel.bar(places, values, 0.9 * width, color=color, hatch=hatch, edgecolor="white", label=name)
        panel.bar_label(bars, fmt="%.2f", fontsize=8.5, padding=2, path_effects=halo)
    if target is not None:
        panel.axhline(target, color=COLORS["ink"], linestyle="--", linewidth=1.2, label=f"target {target:g}")
    panel.set(title=title, ylim=(0, 1.12), yticks=[0, 0.25, 0.5, 0.75, 1])
    panel.set_xticks(range(len(labels)), labels)
    panel.grid(axis="y")
    legend_below(figure, [panel], len(scores) + 1)
    return figure


@styled
def timing_bars(seconds: Mapping[str, float]) -> Figure:
    """Wall-clock seconds of the stages, in the order given."""
    figure = Figure(figsize=(7.2, 0.34 * len(seconds) + 0.9))
    panel = figure.subplots()
    bars = panel.barh(list(seconds), list(seconds.values()), height=0.6, color=COLORS["blue"])
    panel.bar_label(bars, [f"{s:.2g} s" if s < 10 else f"{s:,.0f} s" for s in seconds.values()], padding=5, fontsize=9)
    panel.set_xlabel("seconds")
    panel.margins(x=0.12)
    panel.invert_yaxis()
    panel.tick_params(axis="y", length=0)
    return figure


def _bands(draws, scale: float) -> np.ndarray:
    """(5, ...) quantiles of draws (S, ...): the ends of the 90 % and 50 % intervals and the median, in order."""
    return np.quantile(np.asarray(draws, float) * scale, [0.05, 0.25, 0.5, 0.75, 0.95], axis=0)


def _panels(names: Sequence[str], *, columns: int, size: tuple[float, float]) -> tuple[Figure, dict[str, Axes]]:
    """A figure with one titled panel of `size` (inches) per parameter."""
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(min(9.8, size[0] * columns), size[1] * rows + 0.5))
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels[len(names) :]:
        panel.set_axis_off()
    for name, panel in zip(names, panels, strict=False):
        panel.set_title(textwrap.fill(quantity_label(name)[0], 18))
    return figure, dict(zip(names, panels, strict=False))


def legend_below(figure: Figure, panels: Iterable[Axes], columns: int) -> None:
    handles = {str(h.get_label()): h for panel in panels for h in panel.get_legend_handles_labels()[0]}
    figure.legend(handles=list(handles.values()), loc="outside lower center", ncols=columns)


def _points(panel: Axes, points: ObservedPoints, scale: float) -> None:
    days, values = np.asarray(points.days, float), np.asarray(points.values, float) * scale
    used = np.asarray(points.calibrated, bool)
    for keep, marker, face, label in (
        (used, "o", COLORS["ink"], "observed, used in calibration"),
        (~used, "D", "white", "observed, held out"),
    ):
        if keep.any():
            edge = {"color": COLORS["ink"], "markerfacecolor": face, "markeredgewidth": 1.4}
            panel.plot(days[keep], values[keep], marker, label=label, zorder=5, **edge)


def _treatment_strip(panel: Axes, treatments: Sequence[TreatmentMark], *, named: bool) -> None:
    for row, mark in enumerate(treatments):
        color, _, marker, hatch = SERIES[row % len(SERIES)]
        days = np.sort(np.asarray(mark.times, float))
        if mark.continuous:
            spans = [(first, last - first + 1) for first, last in day_blocks(days)]
            panel.broken_barh(spans, (row - 0.3, 0.6), color=color, hatch=hatch, edgecolor="white", linewidth=0)
        elif days.size > 1:
            panel.vlines(days, row - 0.32, row + 0.32, color=color, linewidth=1.1)
        else:
            panel.plot(days, [row], marker, color=color)
    panel.set_ylim(len(treatments) - 0.45, -0.55)
    panel.set_yticks(range(len(treatments)), [mark.label if named else "" for mark in treatments], fontsize=8.5)
    panel.tick_params(axis="y", length=0)
    panel.spines["left"].set_visible(False)


def _window(draws: np.ndarray, prior: np.ndarray) -> tuple[float, float]:
    """Limits that hold the posterior and most of the prior, but never shrink the posterior to a spike."""
    low, high = np.quantile(draws, [0.001, 0.999])
    width = max(high - low, 1e-9 * max(1.0, abs(high)))
    first, last = np.quantile(prior, [0.02, 0.98]) if prior.size else (low, high)
    left, right = max(min(low, first), low - 4 * width), min(max(high, last), high + 4 * width)
    return float(left - 0.05 * width), float(right + 0.05 * width)
