"""The section of androgen deprivation switched by PSA: the thresholds, and what is expected of them."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from twinjax.report.figure import legend_below
from twinjax.report.report import KeyFigure, Section, Table
from twinjax.report.section import words
from twinjax.report.style import COLORS, SERIES, styled
from twinjax.twin.recommendation import CAVEAT
from twinjax.twin.switching import SwitchingRecommendation

PLANS = {"continuous": SERIES[2], "trial": SERIES[1], "recommended": SERIES[0]}
# ng/mL: what is less is not measured, and has no place on a logarithmic axis.
SMALLEST_SHOWN = 0.01
# Parameters that are named.
MOST_NAMED = 3


def switching_section(made: SwitchingRecommendation) -> Section:
    """Thresholds, evidence and the front of days of control against treatment."""
    question = made.question
    over = "all draws" if question.tail == 1 else f"the worst {100 * question.tail:g} % of the draws"
    text = (
        f"Androgen deprivation is reviewed every {question.review_days:g} days: on where PSA is at or above one "
        "threshold, off where it is at or below another after at least "
        f"{question.least_on_days:g} days of treatment. Of {len(question.pairs)} pairs of thresholds that one was "
        f"chosen that keeps control for longest, as the mean over {over} of the posterior. Control is lost at the "
        f"first review at which PSA is at or above {question.ceiling_ng_ml:g} ng/mL and so again at the next, under "
        "treatment or not; that ceiling is no clinical standard. The choice rests on other draws than those that tell "
        "of it here. PSA at a review is that of the model, without the scatter of a measurement.\n\n"
        f"{switching_verdict(made)}\n\n{CAVEAT}"
    )
    if made.sensitivity:
        strongest = list(made.sensitivity.items())[:MOST_NAMED]
        named = ", ".join(f"{words(name)} ({value:+.2f})".replace("-", "−") for name, value in strongest)
        chance = 1.645 / np.sqrt(len(made.days_gained("continuous")))
        text += f"\n\nThe days gained hang most on (rank correlation; ± {chance:.2f} by chance alone): {named}."
    if made.doubts:
        text += f"\n\nIn doubt: {'; '.join(made.doubts)}."
    figure = ("PSA, treatment, and days of control against treatment.", switching_figure(made))
    return Section("Recommended switching of androgen deprivation", text, [figure], [_table(made)])


def switching_verdict(made: SwitchingRecommendation) -> str:
    """What is expected of the thresholds, in a sentence."""
    found = made.evidence()
    off, on = made.thresholds["recommended"] or (0.0, 0.0)
    less = 100 * (1 - found["share_on_treatment"]["recommended"])
    rule = f"on at a PSA of {on:g} ng/mL and off at {off:g}"
    if not any(found["share_lost"].values()):
        return (
            f"Under none of the plans is control lost by day {made.times[-1]:g}, so that they differ in treatment "
            f"alone: {rule} leaves {less:.0f} % of the time without it."
        )
    gained = found["days_gained"]
    parts = [
        f"{_signed(gained[other]['mean'])} days of control in the mean ({_range(gained[other])}; longer in "
        f"{100 * found['probability_later'][other]:.0f} % of the draws) against {plan}"
        for other, plan in (("continuous", "continuous treatment"), ("trial", "the fixed protocol"))
    ]
    verdict = f"Androgen deprivation {rule}: {' and '.join(parts)}, {less:.0f} % of the time without treatment."
    none = "No thresholds keep control for longer than continuous treatment on draws that the choice had not seen. "
    return verdict if made.better else none + verdict


def switching_key_figure(made: SwitchingRecommendation) -> KeyFigure:
    """The large number of the summary."""
    found = made.evidence()
    off, on = made.thresholds["recommended"] or (0.0, 0.0)
    less = f"{100 * (1 - found['share_on_treatment']['recommended']):.0f} % of time off"
    if not made.better:
        return KeyFigure("Androgen deprivation, PSA", "none better", f"on {on:g}, off {off:g} ng/mL: {less}")
    gained = f"{_signed(found['days_gained']['continuous']['mean'])} days of control"
    return KeyFigure("Androgen deprivation, PSA", f"on {on:g}, off {off:g} ng/mL", f"{gained}, {less}")


@styled
def switching_figure(made: SwitchingRecommendation) -> Figure:
    """PSA and the share of draws under treatment of each plan, and all rules by treatment and days of control."""
    figure = Figure(figsize=(10.0, 6.4))
    grid = figure.add_gridspec(2, 2, height_ratios=[3, 2], width_ratios=[3, 2])
    psa = figure.add_subplot(grid[0, 0])
    treated, front = figure.add_subplot(grid[1, 0], sharex=psa), figure.add_subplot(grid[:, 1])
    days = made.times - made.decision_day
    for plan, (color, line, _, _) in PLANS.items():
        one = made.courses[plan]
        low, middle, high = np.maximum(np.quantile(one.psa, [0.05, 0.5, 0.95], axis=0), SMALLEST_SHOWN)
        psa.fill_between(days, low, high, color=color, alpha=0.1, linewidth=0)
        psa.plot(days, middle, color=color, linestyle=line, label=plan)
        treated.step(days[:-1], 100 * one.treated.mean(axis=0), where="post", color=color, linestyle=line)
    psa.axhline(made.question.ceiling_ng_ml, color=COLORS["muted"], linestyle=":", label="control is lost")
    psa.set(title="PSA at the reviews, median and 90 %", ylabel="ng/mL", yscale="log")
    psa.yaxis.set_major_formatter("{x:g}")
    treated.set(title="Draws under treatment", xlabel="days since the decision", ylabel="%", ylim=(-3, 103))
    _front_panel(front, made)
    for panel in (psa, treated):
        panel.grid(axis="y")
    legend_below(figure, [psa, front], 5)
    return figure


def _front_panel(panel: Axes, made: SwitchingRecommendation) -> None:
    rows = made.front_rows()
    points = np.array([[100 * row["share_on_treatment"], -row["risk"]] for row in rows])
    efficient = np.array([row["efficient"] for row in rows])
    panel.plot(*points.T, ".", color=COLORS["muted"], label="other thresholds")
    if efficient.sum() > 1:
        panel.plot(*points[efficient].T, "-", color=COLORS["muted"], linewidth=0.8)
    for plan, (color, _, marker, _) in PLANS.items():
        share = 100 * float(made.courses[plan].share_on_treatment.mean())
        face = color if plan == "recommended" else "white"
        panel.plot(share, -made.risk[plan], marker, color=color, markerfacecolor=face, markersize=9, zorder=5)
    mean = "mean" if made.question.tail == 1 else f"mean of the worst {100 * made.question.tail:g} %"
    panel.set(
        title="Control against treatment",
        xlabel="time under treatment while in control (%)",
        ylabel=f"days of control, {mean}",
    )
    panel.grid()


def _table(made: SwitchingRecommendation) -> Table:
    found, rows = made.evidence(), []
    for plan, pair in made.thresholds.items():
        days, other = found["days_of_control"][plan], plan != "recommended"
        gained, off = (found[key][plan] if other else None for key in ("days_gained", "days_off_gained"))
        rows.append(
            [
                plan,
                "always on" if pair is None else f"off {pair[0]:g}, on {pair[1]:g}",
                f"{days['median']:.0f} ({_range(days)})",
                f"{100 * found['share_lost'][plan]:.0f} %",
                f"{100 * found['share_on_treatment'][plan]:.0f} %",
                f"{_signed(gained['median'])} ({_range(gained)})" if gained else "",
                f"{100 * found['probability_later'][plan]:.0f} %" if other else "",
                f"{_signed(off['median'])} ({_range(off)})" if off else "",
            ]
        )
    columns = [
        "plan",
        "PSA (ng/mL)",
        "days of control",
        "lost by the end",
        "time on treatment",
        "days gained by the recommended",
        "longer under it",
        "days off treatment gained by it",
    ]
    caption = (
        f"Medians with 90 % intervals over {found['draws']} draws, paired. Days count from the decision to the last "
        f"review (day {made.times[-1]:g}) at most; time and days off treatment while in control. A draw without a "
        "difference counts by half as longer."
    )
    return Table(columns, rows, caption)


def _signed(value: float) -> str:
    return f"{value:+.0f}".replace("-", "−") if round(value) else "0"


def _range(found: dict[str, float]) -> str:
    return f"{found['lower']:.0f} to {found['upper']:.0f}".replace("-", "−")
