"""The section of a recommended target: where it is, what it is expected to cover, and what dose painting would add."""

from collections.abc import Callable, Mapping

import numpy as np

from twinjax.report.anatomy import dose_overlay, plan_overlay
from twinjax.report.report import KeyFigure, Section, Table
from twinjax.report.section import background_image, sensitivity_table
from twinjax.twin.recommendation import CAVEAT
from twinjax.twin.target_recommendation import TargetRecommendation

COUNTED = {"all": "the cells", "infiltrating": "the cells below what is seen"}


def target_section(made: TargetRecommendation) -> Section:
    """Targets, doses and the evidence for them."""
    question, names = made.question, _names(made)
    text = (
        f"The standard target is the organ within {question.margin_mm:g} mm of the segmented core. "
        f"Two others hold the core and as much of the organ: one covers the largest expected share of "
        f"{COUNTED[question.cells]}, one the largest share in the worst {100 * question.tail:g} % of the draws of the "
        "posterior. The painted dose leaves the fewest cells in expectation, by the linear-quadratic law in "
        f"{question.fractions} fractions of at most {question.largest_dose:g} Gy, at the integral dose of the standard "
        f"({question.dose * question.fractions:g} Gy in {question.fractions} fractions); it knows no machine and no "
        "penumbra, and cannot be delivered as it stands. The numbers are from other draws than those "
        f"that targets and dose were made for.\n\n{target_verdict(made)}\n\n{CAVEAT}"
    )
    if question.largest_dose_at_risk is not None:
        text += f"\n\nThe painted dose gives the organ at risk at most {question.largest_dose_at_risk:g} Gy a fraction."
    if made.doubts:
        text += f"\n\nIn doubt: {'; '.join(made.doubts)}."
    background, affine = np.asarray(background_image(made.planning), float), made.planning.affine
    targets = {names[name]: made.on_scan(target) for name, target in made.targets.items()}
    standard = {names["standard"]: targets[names["standard"]], "core": made.planning.core}
    figures = [
        ("The targets.", plan_overlay(background, affine, targets, tumor=made.planning.core)),
        ("The painted dose.", dose_overlay(background, affine, made.on_scan(made.doses["painted"]), standard)),
    ]
    tables = [_targets_table(made), _doses_table(made)]
    if made.recurrences:
        tables.append(_recurrence_table(made))
    if made.sensitivity:
        draws = len(made.covered["standard"])
        tables.append(sensitivity_table(made.sensitivity, draws, "what the target covers more"))
    return Section("Recommended radiotherapy target", text, figures, tables)


def target_verdict(made: TargetRecommendation) -> str:
    """What is expected of targets and dose, in two sentences."""
    found = made.evidence()
    covered, gained, tail = found["covered"], found["covered_gained"]["mean"], found["covered_in_tail"]
    what = COUNTED[made.question.cells]
    target = (
        f"The target covers {_percent(covered['mean']['mean'])} of {what}, the standard "
        f"{_percent(covered['standard']['mean'])}: {_points(gained['mean'])} points more in the mean (90 % interval "
        f"{_points(gained['lower'])} to {_points(gained['upper'])}; more in "
        f"{100 * found['probability_more_covered']['mean']:.0f} % of the draws). In the worst "
        f"{100 * made.question.tail:g} % of the draws it covers {_percent(tail['mean'])}, the target made for them "
        f"{_percent(tail['tail'])}, the standard {_percent(tail['standard'])}."
    )
    if not made.better:
        target = "No target covers more than the standard by 0.1 % of the cells: it stays. " + target
    ratio, expected = found["surviving_ratio"]["painted"], found["expected_surviving_ratio"]["painted"]
    return (
        f"{target} At the same integral dose the painted dose leaves {expected:.2f} times the expected cells that the "
        f"standard leaves (by draw {ratio['lower']:.2f} to {ratio['upper']:.2f} times; fewer in "
        f"{100 * found['probability_fewer']['painted']:.0f} % of the draws)."
    )


def target_key_figure(made: TargetRecommendation) -> KeyFigure:
    """The large number of the summary."""
    found = made.evidence()
    if not made.better:
        return KeyFigure("Radiotherapy target", "none better", "at the volume of the standard")
    note = f"standard {_percent(found['covered']['standard']['mean'])}"
    return KeyFigure("Cells inside the best target", _percent(found["covered"]["mean"]["mean"]), note)


def _names(made: TargetRecommendation) -> dict[str, str]:
    return {
        "standard": f"standard, {made.question.margin_mm:g} mm",
        "mean": "most cells",
        "tail": "most in the worst draws",
        "painted": "painted dose",
    }


def _targets_table(made: TargetRecommendation) -> Table:
    found, rows = made.evidence(), []
    for name, label in _names(made).items():
        if name not in made.targets:
            continue
        one, more = found["covered"][name], found["covered_gained"].get(name)
        gained, chance = "—", "—"
        if more is not None:
            gained = _with_interval(more, "mean", _points)
            chance = f"{100 * found['probability_more_covered'][name]:.0f} %"
        share = _with_interval(one, "mean", _percent)
        volume = f"{made.volume_mm3(name) / 1000:.1f}"
        rows.append([label, volume, share, _percent(found["covered_in_tail"][name]), gained, chance])
    columns = ["target", "volume (mL)", "cells inside, mean (90 % interval)"]
    columns += [f"in the worst {100 * made.question.tail:g} %", "points more than the standard", "more in"]
    return Table(columns, rows, f"What the targets cover, over {found['draws']} draws.")


def _doses_table(made: TargetRecommendation) -> Table:
    found, rows = made.evidence(), []
    for name, label in _names(made).items():
        one, ratio = found["surviving"][name], found["surviving_ratio"].get(name)
        times, chance = "—", "—"
        if ratio is not None:
            times = _with_interval(ratio, "median", "{:.2f}".format)
            chance = f"{100 * found['probability_fewer'][name]:.0f} %"
        share = _with_interval(one, "mean", _percent)
        dose, integral = found["largest_dose_gy"][name], found["integral_dose_gy_mm3"][name] / 1e6
        rows.append([label, f"{dose:.1f}", f"{integral:.2f}", share, times, chance])
    columns = ["dose", "largest (Gy)", "integral (Gy·L)", "cells that survive, mean (90 % interval)"]
    columns += ["times the standard's, median", "fewer in"]
    return Table(columns, rows, "What survives: the even dose of the standard on each target, and the painted dose.")


def _recurrence_table(made: TargetRecommendation) -> Table:
    scored = made.recurrences or {}
    rows = [[region, *(_percent(shares[name]) for name in made.targets)] for region, shares in scored.items()]
    columns = ["segmented later", *(_names(made)[name] for name in made.targets)]
    return Table(columns, rows, "Share inside each target of what was segmented later, and held out.")


def _with_interval(levels: Mapping[str, float], middle: str, shown: Callable[[float], str]) -> str:
    return f"{shown(levels[middle])} ({shown(levels['lower'])} to {shown(levels['upper'])})"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _points(difference: float) -> str:
    return f"{100 * difference:+.2f}".replace("-", "−")
