"""The table and the figure of a comparison of models."""

from matplotlib.figure import Figure

from twinjax.calibration import ModelComparison
from twinjax.report.report import Table
from twinjax.report.style import COLORS, SERIES, styled


def model_choice_table(comparison: ModelComparison, caption: str = "Models compared, the best first.") -> Table:
    """One row per model: leave-one-out, WAIC, stacking weight, evidence, and whether they can be trusted."""
    columns = ["model", "elpd (leave-one-out)", "difference to the best", "elpd (WAIC)", "effective parameters"]
    columns += ["stacking weight", "log evidence", "largest Pareto k", "to be trusted"]
    rows = [
        [
            score.model,
            f"{score.elpd_loo:.1f} ± {score.se:.1f}".replace("-", "−"),
            f"{score.difference:.1f} ± {score.difference_se:.1f}",
            round(score.elpd_waic, 1),
            round(score.p_loo, 1),
            round(score.weight, 2),
            None if score.log_evidence is None else round(score.log_evidence, 1),
            round(score.worst_pareto_k, 2),
            not score.unreliable,
        ]
        for score in comparison.scores
    ]
    return Table(columns, rows, caption)


@styled
def model_choice_figure(comparison: ModelComparison) -> Figure:
    """How far each model is behind the best, with one standard error of the difference, and its stacking weight."""
    scores = comparison.scores
    figure = Figure(figsize=(8.2, 0.5 * len(scores) + 1.3))
    spread, weight = figure.subplots(1, 2, width_ratios=[1.5, 1], sharey=True)
    for row, score in enumerate(scores):
        color, _, marker, hatch = SERIES[row % len(SERIES)]
        spread.errorbar(
            -score.difference, row, xerr=score.difference_se, fmt=marker, color=color, capsize=3, linewidth=1.5
        )
        weight.barh(row, score.weight, height=0.58, color=color, alpha=0.85, hatch=hatch, edgecolor="white")
        weight.text(score.weight + 0.02, row, f"{score.weight:.2f}", va="center", fontsize=9)
        if score.unreliable:
            count = len(score.unreliable)
            spread.annotate(
                f"Pareto k ≥ 0.7 for {count} of {len(comparison.left_out)}",
                (-score.difference, row),
                (0, 7),
                textcoords="offset points",
                ha="right",
                fontsize=8,
                color=COLORS["vermillion"],
            )
    spread.axvline(0, color=COLORS["muted"], linewidth=1)
    spread.set_yticks(range(len(scores)), [score.model for score in scores])
    spread.set(title="Behind the best model", xlabel="log predictive density, left out")
    weight.set(title="Stacking weight", xlim=(0, 1.18))
    spread.set_ylim(len(scores) - 0.4, -0.6)
    spread.grid(axis="x")
    for panel in (spread, weight):
        panel.tick_params(axis="y", length=0)
    return figure
