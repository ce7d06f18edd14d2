"""When to give androgen deprivation and when not: the thresholds of PSA that keep control for longest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from twinjax.core.errors import InputError
from twinjax.model import AbstractLumpedModel, AbstractTumorModel
from twinjax.model.androgen_cell_quota import ACTION
from twinjax.model.model import Forcing
from twinjax.twin.adjustable import is_not_negative, is_number
from twinjax.twin.ahead import Ahead
from twinjax.twin.closed_loop import SwitchedCourses, SwitchingRule, switched
from twinjax.twin.control import TimeToProgression, tail_weights
from twinjax.twin.draws import interval, mean_and_levels
from twinjax.twin.recommendation import CAVEAT, rank_correlations, share_above_zero, without_rounding

OUTCOME = "psa_ng_ml"
# More draws than this that keep control until the horizon make its days too few to compare.
MOST_UNDECIDED = 0.1


@dataclass(frozen=True)
class SwitchingQuestion:
    """Which thresholds of PSA switch androgen deprivation best, of all pairs of `off_below` and `on_above`.

    Treatment goes on at a review (every `review_days`) where PSA is at or above `on_above`, and off where it is at or
    below `off_below` after `least_on_days` of treatment (`SwitchingRule`); best is what has the most days of control,
    as the mean over the worst share `tail` of the draws (1: all). Control is lost at the first review at which PSA is
    at or above `ceiling_ng_ml` and so again at the next, under treatment or not: no rule gains by treating late. The
    default, 40 ng/mL, is our own choice: twice the highest PSA at which a rule of the default treats again.

    **Fields:** these, and `trial_off_below` and `trial_on_above`, the thresholds of the fixed protocol to compare with.
    After Bruchovsky et al. 2006 (Cancer 107:389) that is 36 weeks of treatment, and treatment again at 10 ng/mL; 4
    ng/mL, below which treatment may stop, is that of de la Taille et al. 2002 (Prog Urol 12:240).

    Raises `InputError` for values that are none of these.
    """

    off_below: Sequence[float] = (0.5, 1.0, 2.0, 4.0)
    on_above: Sequence[float] = (2.5, 5.0, 10.0, 20.0)
    least_on_days: float = 252.0
    review_days: float = 28.0
    trial_off_below: float = 4.0
    trial_on_above: float = 10.0
    ceiling_ng_ml: float = 40.0
    tail: float = 1.0

    def __post_init__(self):
        for name in ("off_below", "on_above"):
            values = getattr(self, name)
            if isinstance(values, str) or not all(is_number(value, above=0) for value in values):
                raise InputError(f"{name} must be a list of positive numbers (ng/mL), got {values}")
        if not self.pairs:
            raise InputError(
                f"no value of off_below ({list(self.off_below)}) lies below one of on_above ({list(self.on_above)})"
            )
        trial = (self.trial_off_below, self.trial_on_above)
        if not (all(is_number(value, above=0) for value in trial) and trial[0] < trial[1]):
            raise InputError(f"trial_off_below must be positive and below trial_on_above (ng/mL), got {trial}")
        if not is_number(self.review_days, above=0):
            raise InputError(f"review_days must be a positive number of days, got {self.review_days}")
        if not is_not_negative(self.least_on_days):
            raise InputError(f"least_on_days must be a number of days >= 0, got {self.least_on_days}")
        if not is_number(self.ceiling_ng_ml, above=(highest := max(*self.on_above, self.trial_on_above))):
            raise InputError(
                f"ceiling_ng_ml must lie above {highest:g}, the highest PSA (ng/mL) at which a rule treats, got "
                f"{self.ceiling_ng_ml}"
            )
        tail_weights(np.zeros(1), self.tail)

    @property
    def pairs(self) -> list[tuple[float, float]]:
        """All (off_below, on_above) that leave room between them."""
        return [(float(off), float(on)) for off in self.off_below for on in self.on_above if off < on]

    @property
    def trial(self) -> tuple[float, float]:
        return float(self.trial_off_below), float(self.trial_on_above)

    def reviews(self, decision_day: float, horizon_days: float) -> np.ndarray:
        """The days of the reviews, the first the decision; `InputError` where fewer than three fit."""
        count = int((horizon_days - decision_day) / self.review_days + 1e-9)
        if count < 2:
            raise InputError(
                f"the horizon leaves {count} reviews after the decision; make it (decision.horizon_days) longer than "
                f"{2 * self.review_days:g} days"
            )
        return decision_day + self.review_days * np.arange(count + 1)

    def check(self, model: AbstractTumorModel) -> None:
        """`InputError` for a model without PSA that androgen deprivation changes."""
        if isinstance(model, AbstractLumpedModel) and model.size_quantity == OUTCOME and _responds(model):
            return
        raise InputError(
            "switching androgen deprivation needs a model of PSA under it, without space, which "
            f"{type(model).__name__} is not; choose model=prostate_androgen_deprivation"
        )


@dataclass(frozen=True, eq=False)
class SwitchingRecommendation:
    """The best thresholds beside continuous treatment and the fixed protocol, and how sure that is.

    **Fields:** `question`; `decision_day`; `times` (T,) of the reviews, days since baseline; `thresholds`, plan
    (`"continuous"`, `"trial"`, `"recommended"`) to (off_below, on_above), None for continuous; `courses`, likewise to
    what comes of it in draws that the choice has not seen; `risk`, likewise to minus the mean days of control over the
    tail; `front`, rows of all rules in the same draws; `sensitivity`, parameter to Spearman's rank correlation with
    the days gained against continuous treatment; `doubts`.
    """

    question: SwitchingQuestion
    decision_day: float
    times: np.ndarray
    thresholds: dict[str, tuple[float, float] | None]
    courses: dict[str, SwitchedCourses]
    risk: dict[str, float]
    front: list[dict[str, Any]]
    sensitivity: dict[str, float]
    doubts: list[str]

    @property
    def better(self) -> bool:
        """Whether the thresholds keep control for longer than continuous treatment, by more than a day.

        On draws that the choice has not seen.
        """
        return self.risk["recommended"] < self.risk["continuous"] - TimeToProgression.negligible

    def days_gained(self, than: str) -> np.ndarray:
        """(draws,) by how many days longer control lasts than under the plan `than`."""
        return _gained(self.courses, than)

    def days_off_gained(self, than: str) -> np.ndarray:
        """(draws,) by how many days longer treatment is off, under control, than under the plan `than`."""
        off = {name: one.days_of_control - one.days_on_treatment for name, one in self.courses.items()}
        return without_rounding(off["recommended"] - off[than])

    def evidence(self, level: float = 0.9) -> dict[str, Any]:
        """What is expected of the thresholds, draw by draw, and what that rests on."""
        others = ("continuous", "trial")
        return {
            "better": self.better,
            "outcome": OUTCOME,
            "draws": len(self.days_gained("continuous")),
            "thresholds": {
                name: None if pair is None else dict(zip(("off_below", "on_above"), pair, strict=True))
                for name, pair in self.thresholds.items()
            },
            "days_of_control": {n: mean_and_levels(one.days_of_control, level) for n, one in self.courses.items()},
            "share_lost": {n: float(one.lost.mean()) for n, one in self.courses.items()},
            "share_on_treatment": {n: float(one.share_on_treatment.mean()) for n, one in self.courses.items()},
            "days_gained": {other: mean_and_levels(self.days_gained(other), level) for other in others},
            "probability_later": {other: share_above_zero(self.days_gained(other)) for other in others},
            "days_off_gained": {other: mean_and_levels(self.days_off_gained(other), level) for other in others},
            "risk": self.risk,
            "sensitivity": self.sensitivity,
            "doubts": self.doubts,
            "caveat": CAVEAT,
        }

    def rows(self, level: float = 0.9) -> list[dict[str, Any]]:
        """One row per plan and review, for CSV: PSA, and the share of draws that is under treatment from then on."""
        found = []
        for name, one in self.courses.items():
            low, middle, high = interval(one.psa[:, :-1], level)
            for i, share in enumerate(one.treated.mean(axis=0).tolist()):
                values = {"psa_ng_ml": middle[i], "psa_ng_ml_lower": low[i], "psa_ng_ml_upper": high[i]}
                day = float(self.times[i] - self.decision_day)
                found.append({"plan": name, "day": day, **values, "share_on_treatment": share})
        return found

    def front_rows(self) -> list[dict[str, Any]]:
        """One row per rule, the least treatment first."""
        return sorted(self.front, key=lambda row: row["share_on_treatment"])


def best_switching(
    question: SwitchingQuestion, seen: Ahead, unseen: Ahead, times: np.ndarray, since: float, names: Mapping[str, int]
) -> SwitchingRecommendation:
    """The best pair of thresholds on the draws of `seen`, and what those of `unseen` show of it.

    Common random numbers: every rule meets the same draws. `times` of the reviews, the first the decision; `since`,
    when the treatment began that is given then; `names`: parameter to its column of z.
    """

    def course(ahead: Ahead, pair: tuple[float, float] | None) -> SwitchedCourses:
        rule = SwitchingRule.continuous() if pair is None else SwitchingRule(*pair, question.least_on_days)
        return switched(ahead, rule, times, since, question.ceiling_ng_ml)

    tried = {pair: course(seen, pair) for pair in question.pairs}
    best = min(tried, key=lambda pair: (round(_risk(question, tried[pair]), 6), tried[pair].share_on_treatment.mean()))
    thresholds = {"continuous": None, "trial": question.trial, "recommended": best}
    rules = dict.fromkeys([*thresholds.values(), *question.pairs])
    shown = {pair: course(unseen, pair) for pair in rules}
    courses = {name: shown[pair] for name, pair in thresholds.items()}
    return SwitchingRecommendation(
        question,
        float(times[0]),
        times,
        thresholds,
        courses,
        {name: _risk(question, one) for name, one in courses.items()},
        _front(question, shown),
        rank_correlations(_gained(courses, "continuous"), np.asarray(unseen.z), names),
        _doubts(question, best, courses),
    )


def _risk(question: SwitchingQuestion, course: SwitchedCourses) -> float:
    losses = -course.days_of_control
    return float(tail_weights(losses, question.tail) @ losses)


def _gained(courses: Mapping[str, SwitchedCourses], than: str) -> np.ndarray:
    return without_rounding(courses["recommended"].days_of_control - courses[than].days_of_control)


def _front(question: SwitchingQuestion, shown: Mapping) -> list[dict[str, Any]]:
    """A row per rule; `efficient` where no other has both less treatment and more control."""
    points = {pair: (float(one.share_on_treatment.mean()), _risk(question, one)) for pair, one in shown.items()}
    rows = []
    for pair, (share, risk) in points.items():
        beaten = any(s <= share and r <= risk and (s, r) != (share, risk) for s, r in points.values())
        off, on = (None, None) if pair is None else pair
        days = {f"days_of_control_{k}": v for k, v in mean_and_levels(shown[pair].days_of_control).items()}
        rows.append(
            {"off_below": off, "on_above": on, "share_on_treatment": share, **days, "risk": risk}
            | {"highest_psa_ng_ml": float(np.median(shown[pair].psa.max(axis=1))), "efficient": not beaten}
        )
    return rows


def _doubts(question: SwitchingQuestion, best: tuple[float, float], courses: Mapping) -> list[str]:
    doubts = []
    undecided = {name: 1 - float(one.lost.mean()) for name, one in courses.items()}
    if (most := max(undecided.values())) > MOST_UNDECIDED:
        name = max(undecided, key=lambda name: undecided[name])
        doubts.append(
            f"under the plan '{name}' {100 * most:.0f} % of the draws keep control until the last review and count as "
            "if they lost it then, so that differences come out too small; a longer decision.horizon_days may show them"
        )
    for value, values, name in zip(
        best, (question.off_below, question.on_above), ("off_below", "on_above"), strict=True
    ):
        if len(values) > 1 and value in (min(values), max(values)):
            doubts.append(f"{name} is at the end of what was tried ({min(values):g} to {max(values):g} ng/mL)")
    return doubts


def _responds(model: AbstractLumpedModel) -> bool:
    """Whether androgen deprivation changes the rates of the model; a model without that action ignores it."""
    # Half of a start, in which supply may be at its balance.
    state = jax.tree.map(lambda leaf: 0.5 * leaf, model.initial_state(jnp.asarray(10.0)))
    off, on = (
        model.vector_field(0.0, state, Forcing(jnp.zeros(()), None, {ACTION: jnp.asarray(u)})) for u in (0.0, 1.0)
    )
    return not bool(eqx.tree_equal(off, on))
