"""Axial slices in radiological convention, in grey, with contours and a legend."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from twinjax.core.errors import InputError

# (colour, line style); the style alone tells the lines apart in print. Orange and sky of Okabe and Ito's palette.
Line = tuple[str, Any]
CORE_LINE: Line = ("#e69f00", "-")
WHOLE_LINE: Line = ("#56b4e9", "--")
MUTED = "#5f6f7d"


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


def show_anatomy(panel: Axes, view: AxialView, volume) -> None:
    """Draw one plane in the greys of `grey_window` with R and L in the corners."""
    picture = view.cut(volume).astype(float)
    low, high = grey_window(picture)
    panel.imshow(picture, cmap="gray", interpolation="bilinear", vmin=low, vmax=high, aspect=view.aspect)
    bare_panel(panel, "black")
    halo = [withStroke(linewidth=1.6, foreground="black")]
    font = {"color": "white", "fontsize": 8, "fontweight": "bold", "va": "top", "path_effects": halo}
    panel.text(0.03, 0.97, "R", transform=panel.transAxes, ha="left", **font)
    panel.text(0.97, 0.97, "L", transform=panel.transAxes, ha="right", **font)


def grey_window(values: np.ndarray) -> tuple[float, float]:
    """What is black and what white: 0, or the 1st percentile where that is less, and the 99.5th, of what is not 0."""
    inside = values[values != 0]
    low, high = np.percentile(inside, [1, 99.5]) if inside.size else (0.0, 1.0)
    return min(float(low), 0.0), float(high)


def draw_contour(panel: Axes, picture: np.ndarray, line: Line, *, level: float = 0.5) -> None:
    """Outline where `picture` (rows, columns; mask or density) passes `level`; nothing where it never does."""
    picture = np.asarray(picture, dtype=float)
    if picture.min() < level < picture.max():
        contours = panel.contour(picture, levels=[level], linewidths=1.4, colors=[line[0]], linestyles=[line[1]])
        contours.set_path_effects([withStroke(linewidth=2.6, foreground="black", alpha=0.55)])


def bare_panel(panel: Axes, color: str) -> None:
    """Nothing but `color`: no ticks and no frame."""
    panel.set(facecolor=color, xticks=[], yticks=[])
    for spine in panel.spines.values():
        spine.set_visible(False)


def draw_legend(figure: Figure, lines: Mapping[str, Line], patches: Sequence[Patch] = ()) -> None:
    """Names of lines and patches in one row below the panels; `figure` has a constrained layout."""
    halo = [withStroke(linewidth=3.4, foreground=MUTED)]
    handles = [
        Line2D([], [], color=color, linestyle=style, label=label, path_effects=halo)
        for label, (color, style) in lines.items()
    ]
    columns = {"loc": "outside lower center", "ncols": len(lines) + len(patches)}
    figure.legend(handles=[*handles, *patches], frameon=False, **columns)
