"""Contact sheet: every visit with every image on one page, tumour outlined, for a first look at the data."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from twinjax.core.errors import InputError
from twinjax.imaging.axial_view import (
    CORE_LINE,
    MUTED,
    WHOLE_LINE,
    AxialView,
    bare_panel,
    draw_contour,
    draw_legend,
    show_anatomy,
)
from twinjax.imaging.scan import Scan


def contact_sheet(scans: Mapping[float, Scan]) -> Figure:
    """One row per visit, one column per modality: the axial plane with the largest tumour, core and whole outlined.

    Visits on one grid show the same plane; a visit on a grid of its own shows its own, one without tumour the largest
    plane of the brain or of the image. `scans` maps the day since baseline to the scan, of any organ. Raises
    `InputError` where no visit has an image.
    """
    days = sorted(scans)
    visits = [scans[day] for day in days]
    modalities = list(dict.fromkeys(modality for scan in visits for modality in scan.images))
    if not modalities:
        raise InputError("a contact sheet needs at least one visit with an image")
    tumors = [scan.whole_tumor if scan.segmentation is not None else np.zeros(scan.shape, bool) for scan in visits]
    if all(s.shape == visits[0].shape and np.allclose(s.affine, visits[0].affine, atol=1e-3) for s in visits):
        tumors = [np.sum(tumors, axis=0)] * len(visits)
    frames = [frame_of(scan) for scan in visits]
    views = [
        AxialView.through(tumor if tumor.any() else frame, scan.affine, frame=frame)
        for tumor, frame, scan in zip(tumors, frames, visits, strict=True)
    ]
    ratios = [view.height_over_width(frame) for view, frame in zip(views, frames, strict=True)]
    width = min(2.3, 9.8 / len(modalities))
    figure = Figure(figsize=(max(4.5, width * len(modalities) + 0.3), width * sum(ratios) + 0.7), layout="constrained")
    panels = figure.subplots(len(visits), len(modalities), squeeze=False, height_ratios=ratios)
    for (row, column), panel in np.ndenumerate(panels):
        scan, view, modality = visits[row], views[row], modalities[column]
        if modality in scan.images:
            show_anatomy(panel, view, scan.images[modality])
            if scan.segmentation is not None:
                draw_contour(panel, view.cut(scan.whole_tumor), WHOLE_LINE)
                draw_contour(panel, view.cut(scan.core), CORE_LINE)
        else:
            bare_panel(panel, "#f2f4f6")
            panel.set_box_aspect(ratios[row])
            panel.text(0.5, 0.5, "not acquired", transform=panel.transAxes, ha="center", color=MUTED)
        if row == 0:
            panel.set_title(modality, loc="center")
        if column == 0:
            panel.set_ylabel(f"day {days[row]:g}", fontweight="bold")
    if any(scan.segmentation is not None for scan in visits):
        draw_legend(figure, {"tumour core": CORE_LINE, "whole tumour": WHOLE_LINE})
    return figure


def write_contact_sheet(path: str | Path, scans: Mapping[float, Scan], *, dots_per_inch: int = 150) -> None:
    """Write `contact_sheet(scans)` as a picture; the suffix of `path` is the format (`.png`). Errors as there."""
    contact_sheet(scans).savefig(path, dpi=dots_per_inch)


def frame_of(scan: Scan) -> np.ndarray:
    """Where there is something to look at: the brain, else what is not zero in the first image."""
    for volume in (scan.brain_mask, *scan.images.values()):
        if volume is not None and np.any(volume):
            return np.asarray(volume) != 0
    return np.ones(scan.shape, bool)
