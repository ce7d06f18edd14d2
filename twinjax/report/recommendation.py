"""The section of a recommended plan: what it is, what is expected of it, and what that rests on."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from twinjax.report.figure import legend_below
from twinjax.report.progression import criterion_words
from twinjax.report.report import KeyFigure, Section, Table
from twinjax.report.section import sensitivity_table, words
from twinjax.report.style import COLORS, SERIES, lower_first, quantity_label, styled, with_unit
from twinjax.report.table import three_digits
from twinjax.twin.adjustable import dose_unit
from twinjax.twin.recommendation import AT_DECISION, CAVEAT, Recommendation

PLANS = {"standard": SERIES[1], "recommended": SERIES[0]}
CONTROL = {
    "final_size": "{} on the last day (its logarithm)",
    "expected_size": "{} on the last day, over that at the decision",
    "time_to_progression": "the time until {} has progressed over that of the decision",
    "tumor_control_probability": "the probability that no clonogenic cell is left where {} is smallest",
}

CLONOGENS = (
    "The probability of tumour control is exp(-N), N the volume times {:g} clonogenic cells a mm³. That number is not "
    "known of a patient: read the probabilities against each other, not by themselves."
)

# What is no reason to change a treatment (`AbstractControl.negligible`).
NOTICED = {
    "final_size": "1 % of the size or a day",
    "expected_size": "1 % of the size at the decision or a day",
    "time_to_progression": "1 % of the size or a day",
    "tumor_control_probability": "one of a hundred in the probability of tumour control",
}


def recommendation_section(made: Recommendation) -> Section:
    """Plan, evidence, limits, sensitivity and the front of control against burden."""
    label = lower_first(quantity_label(made.outcome)[0])
    sought = CONTROL[made.question.control].format(f"the {label}")
    over = "all draws" if made.question.tail == 1 else f"the worst {100 * made.question.tail:g} % of the draws"
    changed = ", ".join(words(name) for name in made.question.adjust)
    text = (
        f"Doses of {changed} were sought that do best in {sought}, as the mean over {over} of the posterior, while the "
        "patient bears no more than under the standard plan. The search works on other draws than those that tell of "
        f"the plan here. {criterion_words(made.criterion, AT_DECISION)}\n\n{verdict(made)}\n\n{CAVEAT}"
    )
    if made.tumor_control is not None:
        text += f"\n\n{CLONOGENS.format(made.question.clonogens_per_mm3)}"
    if made.doubts:
        text += f"\n\nIn doubt: {'; '.join(made.doubts)}."
    tables = [_limits_table(made), _evidence_table(made), _front_table(made)]
    if made.sensitivity:
        tables.append(sensitivity_table(made.sensitivity, len(made.log_ratio), "the ratio"))
    return Section("Recommended plan", text, [("Plan, course and burden.", recommendation_figure(made))], tables)


def verdict(made: Recommendation) -> str:
    """What is expected of the plan, in a sentence."""
    found, label = made.evidence(), lower_first(quantity_label(made.outcome)[0])
    if not made.better:
        return (
            "No plan within the limits did better than the standard by what can be noticed, "
            f"{NOTICED[made.question.control]}, on draws that the search had not seen: it stays."
        )
    ratio, gained = found["ratio"], found["days_gained"]
    return (
        f"Against the standard, the plan leaves {ratio['median']:.2f} times (90 % interval {ratio['lower']:.2f} to "
        f"{ratio['upper']:.2f}) the {label} on day {made.times[-1]:g}, less in "
        f"{100 * found['probability_smaller']:.0f} % of the draws; progression ({made.criterion.label}, over the size "
        f"at the decision) comes {gained['median']:.0f} days later ({gained['lower']:.0f} to {gained['upper']:.0f})."
        + ("" if made.tumor_control is None else f" Tumour control: {_control_row(made)[2]}.")
    )


def recommendation_key_figure(made: Recommendation) -> KeyFigure:
    """The large number of the summary."""
    found = made.evidence()
    if not made.better:
        return KeyFigure("Plan beside the standard", "none better", "within the same limits")
    change = 100 * (found["ratio"]["median"] - 1)
    label = lower_first(quantity_label(made.outcome)[0])
    value = f"{change:+.0f} %".replace("-", "−")
    return KeyFigure(f"Best plan, {label}", value, f"less in {100 * found['probability_smaller']:.0f} % of draws")


@styled
def recommendation_figure(made: Recommendation) -> Figure:
    """Doses of either plan, the outcome under them, and the front of control against burden."""
    names = list(made.question.adjust)
    figure = Figure(figsize=(10.0, 3.0 + 1.5 * len(names)))
    grid = figure.add_gridspec(len(names) + 1, 2, height_ratios=[*[1] * len(names), 2])
    for row, name in enumerate(names):
        _dose_panel(figure.add_subplot(grid[row, :]), made, name)
    course, front = (figure.add_subplot(grid[-1, column]) for column in range(2))
    _course_panel(course, made)
    _front_panel(front, made)
    legend_below(figure, [course, front], 4)
    return figure


def _dose_panel(panel: Axes, made: Recommendation, name: str) -> None:
    for offset, (plan, (color, line, marker, _)) in zip((-0.12, 0.12), PLANS.items(), strict=True):
        for treatment in (t for t in made.plans[plan].treatments if t.name == name):
            days, doses = np.asarray(treatment.times) + offset, np.asarray(getattr(treatment, "doses", []))
            panel.vlines(days, 0, doses, color=color, linestyle=line, linewidth=1.2)
            face = color if plan == "recommended" else "white"
            panel.plot(days, doses, marker, color=color, markerfacecolor=face, markersize=5)
    unit = quantity_label(
        "dose" + next((dose_unit(t) for t in made.plans["standard"].treatments if t.name == name), "")
    )[1]
    panel.set(title=f"Each dose, {words(name)}", xlabel="days since the decision", ylabel=unit, ylim=(0, None))
    panel.grid(axis="y")


def _course_panel(panel: Axes, made: Recommendation) -> None:
    label, unit, scale = quantity_label(made.outcome)
    for plan, (color, line, marker, _) in PLANS.items():
        low, middle, high = np.quantile(made.courses[plan] * scale, [0.05, 0.5, 0.95], axis=0)
        panel.fill_between(made.times, low, high, color=color, alpha=0.12, linewidth=0)
        face = color if plan == "recommended" else "white"
        panel.plot(
            made.times,
            middle,
            color=color,
            linestyle=line,
            marker=marker,
            markevery=[-1],
            markerfacecolor=face,
            label=plan,
        )
    panel.set(title=f"{label}, median and 90 %", xlabel="days since baseline", ylabel=unit, ylim=(0, None))
    panel.grid(axis="y")


def _front_panel(panel: Axes, made: Recommendation) -> None:
    label, unit, scale = quantity_label(made.outcome)
    rows = made.front_rows()
    used = [100 * row["used"] for row in rows]
    middle, low, high = (np.asarray([row[key] for row in rows]) * scale for key in ("median", "lower", "upper"))
    panel.errorbar(
        used,
        middle,
        [middle - low, high - middle],
        color=COLORS["muted"],
        fmt=".-",
        capsize=3,
        label="best at a burden",
    )
    at = next(i for i, row in enumerate(rows) if row["share_of_limits"] == 1.0)
    standard = float(np.median(made.final["standard"])) * scale
    for plan, x, y in (("standard", 100 * made.standard_used, standard), ("recommended", used[at], middle[at])):
        color, _, marker, _ = PLANS[plan]
        face = color if plan == "recommended" else "white"
        panel.plot(x, y, marker, color=color, markerfacecolor=face, markersize=9, zorder=5)
    panel.set(
        title="Control against burden", xlabel="burden (% of the limits)", ylabel=with_unit(lower_first(label), unit)
    )
    panel.set_ylim(0, None)
    panel.grid()


def _limits_table(made: Recommendation) -> Table:
    rows = []
    for row in made.limits:
        label, unit, scale = quantity_label(row["measure"])
        values = [None if row[key] is None else scale * row[key] for key in ("standard", "recommended", "bound")]
        rows.append([words(row["treatment"]), with_unit(label, unit), *values])
    return Table(["treatment", "measure", "standard", "recommended", "at most"], rows, "What the patient bears.")


def _evidence_table(made: Recommendation) -> Table:
    found, label = made.evidence(), lower_first(quantity_label(made.outcome)[0])
    ratio, gained = found["ratio"], found["days_gained"]
    equal = found["burden_at_equal_control"]
    rows = [
        [f"{label} on day {made.times[-1]:g}, times the standard's", *(f"{ratio[k]:.2f}" for k in ratio)],
        ["progression later by, days", *(f"{gained[k]:.1f}".replace("-", "−") for k in gained)],
        *([] if made.tumor_control is None else [_control_row(made)]),
        ["probability of a smaller tumour", "", f"{100 * found['probability_smaller']:.0f} %", ""],
        ["probability of later progression", "", f"{100 * found['probability_later']:.0f} %", ""],
        [
            "burden at the standard's control",
            "",
            "not reached" if equal is None else f"{100 * equal:.0f} % of the limits",
            "",
        ],
    ]
    caption = f"Recommended against standard, over {found['draws']} draws."
    return Table(["measure", "90 % from", "median", "90 % to"], rows, caption)


def _control_row(made: Recommendation) -> list[str]:
    assert made.tumor_control is not None
    chances = [f"{100 * made.tumor_control[plan]:.3g} %" for plan in ("recommended", "standard")]
    return ["probability of tumour control, mean", "", f"{chances[0]}, standard {chances[1]}", ""]


def _front_table(made: Recommendation) -> Table:
    label, unit, scale = quantity_label(made.outcome)
    rows = []
    for row in made.front_rows():
        ends = f"{three_digits(scale * row['lower'])} to {three_digits(scale * row['upper'])}"
        sums = [row[key] for key in made.front[0].sums]
        middle = three_digits(scale * row["median"])
        rows.append([f"{100 * row['share_of_limits']:g} %", *sums, middle, ends, round(row["days_to_progression"])])
    heads = [with_unit(lower_first(text), u) for text, u, _ in map(quantity_label, made.front[0].sums)]
    columns = [
        "within",
        *heads,
        with_unit(f"{lower_first(label)}, median", unit),
        "90 % interval",
        "days to progression",
    ]
    return Table(
        columns,
        rows,
        "The best plan within shares of the limits. Days count from the decision, at most until the horizon.",
    )
