"""The one look of all figures: colours, line styles, fonts, and how quantities are named and scaled."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec

import matplotlib
from matplotlib.figure import Figure

# Okabe and Ito's palette (jfly.uni-koeln.de/color): told apart with any colour vision.
COLORS = {
    "ink": "#1c2b39",
    "muted": "#5f6f7d",
    "grid": "#dfe5ea",
    "blue": "#0072b2",
    "vermillion": "#d55e00",
    "green": "#009e73",
    "orange": "#e69f00",
    "sky": "#56b4e9",
    "purple": "#cc79a7",
}
# Colour, line style, marker and hatch change together, so that a series is known in print without colour.
SERIES = (
    (COLORS["blue"], "-", "o", ""),
    (COLORS["vermillion"], "--", "s", "///"),
    (COLORS["green"], "-.", "^", "..."),
    (COLORS["purple"], ":", "D", "xxx"),
    (COLORS["orange"], (0, (5, 1, 1, 1, 1, 1)), "v", "\\\\\\"),
    (COLORS["ink"], (0, (8, 2)), "P", "---"),
)
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Arial", "Helvetica", "Liberation Sans", "DejaVu Sans"],
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.labelsize": 9.5,
    "axes.labelcolor": COLORS["ink"],
    "axes.titlecolor": COLORS["ink"],
    "axes.edgecolor": COLORS["muted"],
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": COLORS["ink"],
    "xtick.color": COLORS["muted"],
    "ytick.color": COLORS["muted"],
    "xtick.labelcolor": COLORS["ink"],
    "ytick.labelcolor": COLORS["ink"],
    "grid.color": COLORS["grid"],
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.8,
    "lines.markersize": 6.5,
    "hatch.linewidth": 0.7,
    "image.cmap": "gray",
    "image.interpolation": "bilinear",
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}
UNITS = {
    "_mm3": ("mL", 1e-3),
    "_mm": ("mm", 1.0),
    "_ng_ml": ("ng/mL", 1.0),
    "_u_ml": ("U/mL", 1.0),
    "_nmol_l": ("nmol/L", 1.0),
    "_mg_m2": ("mg/m²", 1.0),
    "_mg": ("mg", 1.0),
    "_gy": ("Gy", 1.0),
    "_days": ("days", 1.0),
}

_Arguments = ParamSpec("_Arguments")


def styled(draw: Callable[_Arguments, Figure]) -> Callable[_Arguments, Figure]:
    """Run a drawing function under `STYLE`; matplotlib's own settings are as before afterwards."""

    @functools.wraps(draw)
    def wrapped(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> Figure:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return wrapped


def quantity_label(name: str) -> tuple[str, str, float]:
    """`(label, unit, scale)` of a quantity whose unit is the end of its name.

    `"whole_tumor_volume_mm3"` gives `("Whole tumour volume", "mL", 0.001)`: `scale` brings stored values to
    the shown unit. A name without a known unit has the unit `""`.
    """
    suffix = next((s for s in UNITS if name.endswith(s)), "")
    unit, scale = UNITS[suffix] if suffix else ("", 1.0)
    words = name.removesuffix(suffix).replace("_", " ").replace("tumor", "tumour")
    words = words.replace("ca19 9", "CA19-9")
    for acronym in ("psa", "bed", "eqd2", "adc"):
        words = " ".join(acronym.upper() if word == acronym else word for word in words.split(" "))
    return words[:1].upper() + words[1:], unit, scale


def with_unit(label: str, unit: str) -> str:
    return f"{label} ({unit})" if unit else label


def lower_first(label: str) -> str:
    """`label` for the middle of a line: "Whole tumour" loses its capital, "PSA" keeps it."""
    return label if label[:2].isupper() else label[:1].lower() + label[1:]
