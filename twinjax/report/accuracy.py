"""One figure of how near a patient's forecast came: every metric beside its target, and where each measurement lay."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from twinjax.imaging.scan import REGIONS
from twinjax.report.style import COLORS, SERIES, quantity_label, styled

CAPTION = (
    "Left: metrics that have a target, as shares of it; filled and with a tick where it is met. Right: how much of its "
    "forecast lay below each held-out measurement, grey the 90 % interval. Where intervals hold what they say these "
    "shares are spread evenly: crowds at the ends say that intervals are too narrow, in the middle that they are too "
    "wide."
)
# Longer bars say no more.
MOST = 2.0


def shares_below(scores: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """What was measured to the shares of its forecasts below the held-out values, of the rows of `course_scores`, or of
    `forecast_scores` against the segmentation."""
    found: dict[str, list[float]] = {}
    for score in (score for score in scores if score["held_out"]):
        if "quantity" in score:
            if score["share_below"] is not None:
                found.setdefault(quantity_label(score["quantity"])[0], []).append(score["share_below"])
        elif score["reference"] == "segmentation":
            for region, label in REGIONS.items():
                found.setdefault(f"volume of the {label}", []).append(score[f"{region}_share_below"])
    return found


@styled
def accuracy_figure(metrics: Sequence[Mapping[str, Any]], shares: Mapping[str, Sequence[float]]) -> Figure:
    """**Arguments:** `metrics`, rows of `metric_row`; `shares`, those of `shares_below`."""
    aimed = [row for row in metrics if row["target"] and np.isfinite(row["value"])]
    figure = Figure(figsize=(10.0, max(2.4, 0.42 * max(len(aimed), 1.5 * len(shares)) + 1.1)))
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.15])
    for place, row in enumerate(aimed):
        color, hatch = (COLORS["blue"], "") if row["met"] else (COLORS["vermillion"], "///")
        length = min(row["value"] / float(row["target"].lstrip("≥≤ ")), MOST)
        left.barh(place, length, height=0.6, color=color, hatch=hatch, edgecolor="white")
        told = f"{'✓' if row['met'] else '✗'} {row['value']:.3g} {row['unit']}".rstrip()
        # The line of the target runs behind the words and not through them.
        behind = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
        left.text(length + 0.04, place, f"{told} ({row['target']})", va="center", fontsize=8.5, bbox=behind)
    left.axvline(1.0, color=COLORS["ink"], linestyle="--", linewidth=1.2, zorder=0)
    left.set_yticks(range(len(aimed)), [textwrap.fill(row["metric"], 34) for row in aimed], fontsize=8)
    left.set(title="Against the targets", xlim=(0, MOST + 1.0), xlabel="share of the target (dashed)")
    left.set_xticks([0, 1, 2])
    left.set_ylim(max(len(aimed), 1) - 0.45, -0.55)
    right.axvspan(0.05, 0.95, color=COLORS["grid"], alpha=0.6, linewidth=0)
    for quartile in (0.25, 0.75):
        right.axvline(quartile, color=COLORS["muted"], linewidth=0.8, linestyle=":")
    for place, values in enumerate(shares.values()):
        # Values that are the same stand above each other.
        ordered = np.sort(np.round(np.asarray(values, float), 2))
        height = place - 0.12 * (np.arange(ordered.size) - np.searchsorted(ordered, ordered))
        _, _, marker, _ = SERIES[place % len(SERIES)]
        right.plot(ordered, height, marker, color=COLORS["blue"], markersize=5.5, alpha=0.75)
    names = [textwrap.fill(f"{name} (n\u00a0=\u00a0{len(values)})", 22) for name, values in shares.items()]
    right.set_yticks(range(len(shares)), names, fontsize=8)
    right.set(title="Held out, in their forecasts", xlim=(0, 1), xlabel="share of the forecast below")
    right.set_ylim(max(len(shares), 1) - 0.45, -0.75)
    for panel in (left, right):
        panel.tick_params(axis="y", length=0)
    return figure
