"""The figure of a training."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from twinjax.report.style import SERIES, styled


@styled
def loss_curves(rows: Sequence[Mapping[str, float]], *, label: str) -> Figure:
    """`training` and `validation` losses over `step`, on a logarithmic axis with that label; the lowest is marked."""
    figure = Figure(figsize=(5.5, 3.4), layout="constrained")
    axes, steps = figure.subplots(), [row["step"] for row in rows]
    for name, (color, line, _, _) in zip(("training", "validation"), SERIES, strict=False):
        axes.plot(steps, [row[name] for row in rows], color=color, linestyle=line, label=name)
    lowest = min(rows, key=lambda row: row["validation"])
    axes.plot(lowest["step"], lowest["validation"], SERIES[1][2], color=SERIES[1][0], label="kept")
    axes.set(xlabel="steps", ylabel=label, yscale="log", title="Training")
    axes.grid(axis="y")
    axes.legend()
    return figure
