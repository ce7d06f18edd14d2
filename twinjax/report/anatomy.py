"""Figures of the anatomy: axial slices in radiological convention with tumour contours."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.imaging.scan import Scan
from twinjax.patient.visit import Visit
from twinjax.report.style import COLORS, styled
from twinjax.twin import Forecast

# (colour, line style); the style alone tells the lines apart in print.
Line = tuple[str, Any]
CORE_LINE: Line = (COLORS["orange"], "-")
WHOLE_LINE: Line = (COLORS["sky"], "--")
PLANNING_LINE: Line = ("white", ":")
SEGMENTED_LINE: Line = ("#7fe3ff", ":")
PLAN_LINES: tuple[Line, ...] = (
    (COLORS["sky"], "--"),
    (COLORS["orange"], "-"),
    (COLORS["green"], "-."),
    (COLORS["purple"], (0, (1, 1))),
)
# White on the maps: the density's colours hold both of the others.
LEVEL_LINES: tuple[Line, ...] = (("white", "-"), ("white", "--"))


@dataclass(frozen=True)
class AxialView:
    """One axial plane of a voxel grid, shown as radiologists do: anterior up, the patient's right on the left.

    **Fields:** `order` and `flipped` turn the voxel axes into right, anterior, superior (nearest axes, no
    interpolation); `index` is the plane, `aspect` the height of a pixel over its width, `rows` and `columns`
    (first, past the last) the part that is shown.
    """

    order: tuple[int, ...]
    flipped: tuple[int, ...]
    index: int
    aspect: float
    rows: tuple[int, int | None] = (0, None)
    columns: tuple[int, int | None] = (0, None)

    @classmethod
    def through(cls, region, affine, *, frame=None, index: int | None = None, margin_mm: float = 6.0) -> "AxialView":
        """The plane where `region` (X, Y, Z; a mask or weights) is largest, or plane `index` from below.

        `frame` (X, Y, Z) limits the picture to the extent of its non-zero part over all planes, with `margin_mm`
        around, so that the pictures of several planes have one size.
        Raises `InputError` where the region is empty or not of three axes.
        """
        region = np.asarray(region)
        if region.ndim != 3 or not region.any():
            raise InputError(f"an axial view needs a non-empty (X, Y, Z) region, got shape {region.shape}")
        directions = np.asarray(affine, float)[:3, :3]
        spacing = np.linalg.norm(directions, axis=0)
        cosines = directions / spacing
        order = max(itertools.permutations(range(3)), key=lambda p: sum(abs(cosines[w, p[w]]) for w in range(3)))
        flipped = tuple(world for world in range(3) if cosines[world, order[world]] < 0)
        view = cls(order, flipped, index or 0, float(spacing[order[1]] / spacing[order[0]]))
        if index is None:
            view = replace(view, index=int(np.argmax(view.areas(region))))
        if frame is None or not np.any(frame):
            return view
        extent = np.any(view._to_ras(np.asarray(frame)), axis=2)[::-1, ::-1].T
        box = []
        for axis, step in ((1, spacing[order[1]]), (0, spacing[order[0]])):
            inside, margin = np.flatnonzero(extent.any(axis=axis)), int(np.ceil(margin_mm / step))
            box.append((max(0, int(inside[0]) - margin), min(extent.shape[1 - axis], int(inside[-1]) + 1 + margin)))
        return replace(view, rows=box[0], columns=box[1])

    def areas(self, region) -> np.ndarray:
        """Sum of `region` (X, Y, Z) over each axial plane, from below."""
        return self._to_ras(np.asarray(region)).sum(axis=(0, 1), dtype=float)

    def height_over_width(self, volume) -> float:
        rows, columns = self.cut(volume).shape
        return self.aspect * rows / columns

    def cut(self, volume) -> np.ndarray:
        """The (rows, columns) picture of an (X, Y, Z) volume: row 0 is anterior, column 0 the patient's right."""
        plane = self._to_ras(np.asarray(volume))[:, :, self.index]
        return plane[::-1, ::-1].T[slice(*self.rows), slice(*self.columns)]

    def _to_ras(self, volume: np.ndarray) -> np.ndarray:
        return np.flip(np.transpose(volume, self.order), axis=self.flipped)


@styled
def scan_overview(visits: Sequence[Visit]) -> Figure:
    """One row per visit, one column per modality: the axial plane with the largest tumour, core and whole outlined.

    Visits on one grid show the same plane; a visit on a grid of its own shows its own.
    """
    scans = [visit.scan for visit in visits]
    modalities = list(dict.fromkeys(modality for scan in scans for modality in scan.images))
    if not modalities:
        raise InputError("scan_overview needs at least one visit with an image")
    tumors = [scan.whole_tumor if scan.segmentation is not None else np.zeros(scan.shape, bool) for scan in scans]
    if all(s.shape == scans[0].shape and np.allclose(s.affine, scans[0].affine, atol=1e-3) for s in scans):
        tumors = [np.sum(tumors, axis=0)] * len(scans)
    frames = [_frame(scan) for scan in scans]
    views = [
        AxialView.through(tumor if tumor.any() else frame, scan.affine, frame=frame)
        for tumor, frame, scan in zip(tumors, frames, scans, strict=True)
    ]
    ratios = [view.height_over_width(frame) for view, frame in zip(views, frames, strict=True)]
    width = min(2.3, 9.8 / len(modalities))
    figure = Figure(figsize=(max(4.5, width * len(modalities) + 0.3), width * sum(ratios) + 0.7))
    panels = figure.subplots(len(scans), len(modalities), squeeze=False, height_ratios=ratios)
    for (row, column), panel in np.ndenumerate(panels):
        scan, view, modality = scans[row], views[row], modalities[column]
        if modality in scan.images:
            show_anatomy(panel, view, scan.images[modality])
            if scan.segmentation is not None:
                draw_contour(panel, view.cut(scan.whole_tumor), WHOLE_LINE)
                draw_contour(panel, view.cut(scan.core), CORE_LINE)
        else:
            _bare(panel, "#f2f4f6")
            panel.set_box_aspect(ratios[row])
            panel.text(0.5, 0.5, "not acquired", transform=panel.transAxes, ha="center", color=COLORS["muted"])
        if row == 0:
            panel.set_title(modality, loc="center")
        if column == 0:
            panel.set_ylabel(f"day {visits[row].day:g}", fontweight="bold")
    if any(scan.segmentation is not None for scan in scans):
        _legend(figure, {"tumour core": CORE_LINE, "whole tumour": WHOLE_LINE})
    return figure


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
                panel.text(0.5, 0.5, "not known", transform=panel.transAxes, color="white", ha="center", fontsize=8)
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
    _legend(figure, legend)
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
    target = next(iter(plans.values())) if recurrence is None else recurrence
    middle = AxialView.through(target, affine, frame=background)
    filled = np.flatnonzero(middle.areas(target))
    chosen = np.unique(np.quantile(filled, (np.arange(planes) + 0.5) / planes).round().astype(int))
    width = min(2.6, 9.8 / len(chosen))
    figure = Figure(figsize=(max(5.5, width * len(chosen)), width * middle.height_over_width(background) + 0.6))
    outlines = {name: (plans[name], line) for name, line in zip(plans, PLAN_LINES, strict=False)}
    if tumor is not None:
        outlines["tumour at planning"] = (tumor, PLANNING_LINE)
    patches = []
    for panel, index in zip(figure.subplots(1, len(chosen), squeeze=False)[0], chosen, strict=True):
        view = replace(middle, index=int(index))
        show_anatomy(panel, view, background)
        panel.set_title(f"plane {index + 1} of {len(view.areas(target))}", loc="center")
        if recurrence is not None and (found := view.cut(recurrence).astype(float)).any():
            panel.contourf(found, levels=[0.5, 1.5], colors=[COLORS["vermillion"]], alpha=0.7)
            panel.contourf(found, levels=[0.5, 1.5], colors="none", hatches=["////"])
            patches = [Patch(facecolor=COLORS["vermillion"], alpha=0.7, hatch="////", label="recurrence")]
        for mask, line in outlines.values():
            draw_contour(panel, view.cut(mask), line)
    _legend(figure, {name: line for name, (_, line) in outlines.items()}, patches)
    return figure


def show_anatomy(panel: Axes, view: AxialView, volume) -> None:
    """Draw one plane in grey with R and L in the corners.

    The window ends at the 99.5th percentile of the non-zero pixels; it starts at 0, or at the 1st where that is less.
    """
    picture = view.cut(volume).astype(float)
    inside = picture[picture != 0]
    low, high = np.percentile(inside, [1, 99.5]) if inside.size else (0.0, 1.0)
    panel.imshow(picture, vmin=min(low, 0.0), vmax=high, aspect=view.aspect)
    _bare(panel, "black")
    halo = [withStroke(linewidth=1.6, foreground="black")]
    font = {"color": "white", "fontsize": 8, "fontweight": "bold", "va": "top", "path_effects": halo}
    panel.text(0.03, 0.97, "R", transform=panel.transAxes, ha="left", **font)
    panel.text(0.97, 0.97, "L", transform=panel.transAxes, ha="right", **font)


def draw_contour(panel: Axes, picture: np.ndarray, line: Line, *, level: float = 0.5) -> None:
    """Outline where `picture` (rows, columns; mask or density) passes `level`; nothing where it never does."""
    picture = np.asarray(picture, dtype=float)
    if picture.min() < level < picture.max():
        contours = panel.contour(picture, levels=[level], linewidths=1.4, colors=[line[0]], linestyles=[line[1]])
        contours.set_path_effects([withStroke(linewidth=2.6, foreground="black", alpha=0.55)])


def _frame(scan: Scan) -> np.ndarray:
    """Where there is something to look at: the brain, else what is not zero in the first image."""
    for volume in (scan.brain_mask, *scan.images.values()):
        if volume is not None and np.any(volume):
            return np.asarray(volume) != 0
    return np.ones(scan.shape, bool)


def _bare(panel: Axes, color: str) -> None:
    panel.set(facecolor=color, xticks=[], yticks=[])
    for spine in panel.spines.values():
        spine.set_visible(False)


def _legend(figure: Figure, lines: Mapping[str, Line], patches: Sequence[Patch] = ()) -> None:
    halo = [withStroke(linewidth=3.4, foreground=COLORS["muted"])]
    handles = [
        Line2D([], [], color=color, linestyle=style, label=label, path_effects=halo)
        for label, (color, style) in lines.items()
    ]
    figure.legend(handles=[*handles, *patches], loc="outside lower center", ncols=len(lines) + len(patches))
