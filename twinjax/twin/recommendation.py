"""`recommend`: the plan that serves a patient best under the posterior, and the evidence for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import spearmanr

from twinjax.core.count import check_counts
from twinjax.core.errors import InputError
from twinjax.treatment import Regimen
from twinjax.twin.adjustable import Adjustable, PlanVariables, dose_unit, is_number, named_regimen
from twinjax.twin.ahead import Ahead
from twinjax.twin.control import CLONOGENS_PER_MM3, AbstractControl, TumorControl, control_named, tail_weights
from twinjax.twin.dose_limits import DoseLimits
from twinjax.twin.draws import interval, levels
from twinjax.twin.plan_search import FoundPlan, search
from twinjax.twin.progression import SMALLEST_OUTCOME, Criterion, of_draws

CAVEAT = "Research software: a hypothesis for those who plan, not a treatment plan."
# What progression is counted over.
AT_DECISION = "that of the decision"
# Of a logarithm, or of days: what differs by less is the same.
SAME = 1e-6


@dataclass(frozen=True)
class PlanQuestion:
    """What is asked: the standard of care, what of it may change, and what counts as control.

    **Fields:** `standard`, a name of conf/treatment or a regimen whose day 0 is the decision; `adjust`, name of a
    treatment to how far it may change; `control`, `"final_size"`, `"expected_size"`, `"time_to_progression"` or
    `"tumor_control_probability"`; `tail`, the worst share of draws whose mean is minimised (1: all, the mean; less: the
    conditional value at risk); `burdens`, the shares of the limits at which the front of control against burden is
    drawn; `starts` and `max_iterations` of each search; `clonogens_per_mm3`, of the probability of tumour control.

    Raises `InputError` for values that are none of these, or for what `adjust` asks that the standard does not have.
    """

    standard: str | Regimen
    adjust: Mapping[str, Adjustable]
    control: str = "final_size"
    tail: float = 1.0
    burdens: Sequence[float] = (0.6, 0.8, 1.2)
    starts: int = 2
    max_iterations: int = 60
    clonogens_per_mm3: float = CLONOGENS_PER_MM3
    regimen: Regimen = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "regimen", named_regimen(self.standard))
        control_named(self.control)
        tail_weights(np.zeros(1), self.tail)
        check_counts(self, "starts", "max_iterations")
        if not is_number(self.clonogens_per_mm3, above=0):
            raise InputError(f"clonogens_per_mm3 must be a positive number, got {self.clonogens_per_mm3}")
        if not all(isinstance(share, int | float) and 0 < share < np.inf for share in self.burdens):
            raise InputError(f"burdens must be positive shares of the limits, got {list(self.burdens)}")
        wrong = [name for name, limits in self.adjust.items() if not isinstance(limits, Adjustable)]
        if wrong:
            raise InputError(f"adjust: {', '.join(wrong)} must be an Adjustable")
        # What the plan itself can tell is refused before anything is solved.
        PlanVariables(self.regimen, self.adjust, first=0, decision_day=0.0)

    def controlled(self, criterion: Criterion) -> AbstractControl:
        """The loss of a draw's course."""
        control = control_named(self.control)(criterion)
        if isinstance(control, TumorControl):
            return replace(control, clonogens_per_mm3=float(self.clonogens_per_mm3))
        return control

    def check(self, outcome: str) -> None:
        """`InputError` for an outcome that the control cannot look at."""
        if self.control == "tumor_control_probability" and not outcome.endswith("_mm3"):
            raise InputError(
                f"control: tumor_control_probability counts cells and needs a volume, not '{outcome}'; choose an "
                "outcome in mm3, or another control"
            )


@dataclass(frozen=True, eq=False)
class FrontPoint:
    """The best plan within a share of the limits, as the draws that the search did not see show it.

    **Fields:** `share`; `used`, the largest share of a limit that it needs; `sums`, of each limit its sum;
    `course` (draws, T) of the outcome; `risk`.
    """

    share: float
    used: float
    sums: dict[str, float]
    course: np.ndarray
    risk: float


@dataclass(frozen=True, eq=False)
class Recommendation:
    """The plan found, beside the standard, and how sure that is.

    **Fields:** `question`; `outcome`, the unit at the end of its name, lower is better; `criterion` of its progression,
    over its value at the decision; `decision_day`; `times` (T,) days since baseline; `plans`, `"standard"` and
    `"recommended"` to a regimen whose day 0 is the decision; `courses`, likewise to (draws, T) of the outcome: under
    the same draws, none of which the search saw; `risk`, likewise; `limits`, rows of `DoseLimits.rows`;
    `standard_used`, the largest share of a limit that the standard needs; `sensitivity`, parameter to Spearman's rank
    correlation, over the draws, with the logarithm of the ratio of the outcome at the horizon (recommended over
    standard); `front`; `doubts`.
    """

    question: PlanQuestion
    outcome: str
    criterion: Criterion
    decision_day: float
    times: np.ndarray
    plans: dict[str, Regimen]
    courses: dict[str, np.ndarray]
    risk: dict[str, float]
    limits: list[dict[str, Any]]
    standard_used: float
    sensitivity: dict[str, float]
    front: list[FrontPoint]
    doubts: list[str]

    @property
    def final(self) -> dict[str, np.ndarray]:
        """Plan to (draws,) the outcome at the horizon."""
        return {name: np.maximum(course[:, -1], SMALLEST_OUTCOME) for name, course in self.courses.items()}

    @property
    def days_to_progression(self) -> dict[str, np.ndarray]:
        """Plan to (draws,) days from the decision until the outcome has progressed over its value then.

        They are capped at the horizon.
        """
        return {name: self._days(course) for name, course in self.courses.items()}

    @property
    def control(self) -> AbstractControl:
        return self.question.controlled(self.criterion)

    @property
    def better(self) -> bool:
        """Whether the plan has less risk than the standard on draws that the search did not see, by what is noticeable.

        That is 1 % of the outcome at the horizon, a day to progression, or one of a hundred in the probability of
        tumour control (`AbstractControl.negligible`).
        """
        return self.risk["recommended"] < self.risk["standard"] - self.control.negligible

    @property
    def log_ratio(self) -> np.ndarray:
        """(draws,) logarithm of the outcome at the horizon under the plan over that under the standard."""
        final = self.final
        return without_rounding(np.log(final["recommended"]) - np.log(final["standard"]))

    @property
    def days_gained(self) -> np.ndarray:
        """(draws,) by how much later the outcome progresses under the plan."""
        days = self.days_to_progression
        return without_rounding(days["recommended"] - days["standard"])

    def evidence(self, level: float = 0.9) -> dict[str, Any]:
        """What is expected of the plan against the standard, draw by draw, and what that rests on."""
        return {
            "better": self.better,
            "outcome": self.outcome,
            "draws": len(self.log_ratio),
            "ratio": {name: float(np.exp(value)) for name, value in levels(self.log_ratio, level).items()},
            "probability_smaller": share_above_zero(-self.log_ratio),
            "days_gained": levels(self.days_gained, level),
            "progression": self.criterion.told(AT_DECISION),
            "probability_later": share_above_zero(self.days_gained),
            **({} if self.tumor_control is None else {"tumor_control_probability": self.tumor_control}),
            "risk": self.risk,
            "sensitivity": self.sensitivity,
            "burden_at_equal_control": self.burden_at_equal_control,
            "doubts": self.doubts,
            "caveat": CAVEAT,
        }

    @property
    def tumor_control(self) -> dict[str, float] | None:
        """Plan to the mean over the draws of the probability of tumour control; None where it is not what is sought."""
        control = self.control
        if not isinstance(control, TumorControl):
            return None
        return {name: float(control.probability(course).mean()) for name, course in self.courses.items()}

    @property
    def burden_at_equal_control(self) -> float | None:
        """The share of the limits at which the front has the risk of the standard; None where it does not reach it.

        Linear between the points of the front.
        """
        points = sorted(self.front, key=lambda point: point.used)
        risk, used, wanted = [p.risk for p in points], [p.used for p in points], self.risk["standard"]
        for i in range(len(points) - 1):
            if risk[i] >= wanted >= risk[i + 1] and risk[i] > risk[i + 1]:
                return float(used[i] + (risk[i] - wanted) / (risk[i] - risk[i + 1]) * (used[i + 1] - used[i]))
        return None

    def rows(self) -> list[dict[str, Any]]:
        """One row per dose of either plan, for CSV: days since the decision, the unit as the end of a name."""
        return [
            {
                "plan": name,
                "treatment": treatment.name,
                "day": day,
                "dose": dose,
                "unit": dose_unit(treatment).strip("_"),
            }
            for name, regimen in self.plans.items()
            for treatment in regimen.treatments
            if hasattr(treatment, "doses")
            for day, dose in np.transpose([treatment.times, treatment.doses]).tolist()  # pyright: ignore
        ]

    def front_rows(self, level: float = 0.9) -> list[dict[str, Any]]:
        """One row per point of the front, the lightest first."""
        rows = []
        for point in sorted(self.front, key=lambda point: point.share):
            final = np.maximum(point.course[:, -1], SMALLEST_OUTCOME)
            low, median, high = interval(final, level).tolist()
            days = float(np.median(self._days(point.course)))
            rows.append(
                {"share_of_limits": point.share, "used": point.used, **point.sums}
                | {"outcome": self.outcome, "median": median, "lower": low, "upper": high}
                | {"days_to_progression": days, "risk": point.risk}
            )
        return rows

    def _days(self, course: np.ndarray) -> np.ndarray:
        return of_draws(self.criterion.regrowth_day, self.times, course) - self.decision_day


def recommend(
    question: PlanQuestion,
    criterion: Criterion,
    limits: DoseLimits,
    seen: Ahead,
    unseen: Ahead,
    times: np.ndarray,
    names: Mapping[str, int],
) -> Recommendation:
    """Search on the draws of `seen`, and tell of the plan what those of `unseen` show.

    Common random numbers: every plan meets the same draws. `criterion` of progression; `times`, days since baseline,
    the first the decision and the last the horizon; `names`: parameter to its column of z.
    """
    control = question.controlled(criterion)
    found = _found(question, control, limits, seen, times)
    front = [_point(question, control, limits, unseen, times, plan) for plan in found]
    standard = unseen.courses(limits.variables.regimen, times)
    best, point = next((p, at) for p, at in zip(found, front, strict=True) if p.share == 1.0)
    made = Recommendation(
        question,
        unseen.outcome,
        criterion,
        float(unseen.day),
        times,
        {"standard": limits.variables.plan(), "recommended": limits.variables.plan(best.x)},
        {"standard": standard, "recommended": point.course},
        {"standard": _risk(question, control, times, standard), "recommended": point.risk},
        limits.rows(best.x),
        limits.used_by_standard,
        {},
        front,
        [
            f"the search within {100 * plan.share:g} % of the limits did not converge: {plan.message}"
            for plan in found
            if not plan.converged
        ],
    )
    return replace(made, sensitivity=rank_correlations(made.log_ratio, np.asarray(unseen.z), names))


def _found(
    question: PlanQuestion, control: AbstractControl, limits: DoseLimits, seen: Ahead, times: np.ndarray
) -> list[FoundPlan]:
    """The best plan within each share of the limits, the lightest first, each one a start for the next."""

    def risk(x):
        losses, gradients = seen.losses(limits.variables, control, x, times)
        weights = tail_weights(losses, question.tail)
        return float(weights @ losses), weights @ gradients

    found: list[FoundPlan] = []
    for share in sorted({1.0, *map(float, question.burdens)}):
        also = tuple(plan.x for plan in found[-1:])
        options = {"starts": question.starts, "max_iterations": question.max_iterations}
        found.append(search(risk, limits, share, also=also, **options))
    return found


def _point(
    question: PlanQuestion,
    control: AbstractControl,
    limits: DoseLimits,
    unseen: Ahead,
    times: np.ndarray,
    plan: FoundPlan,
) -> FrontPoint:
    x = jnp.asarray(plan.x)
    course, sums = unseen.courses(limits.variables.at(x), times), np.asarray(limits.sums_of(x))
    named = {f"{name}_{kind}": float(value) for (name, kind), value in zip(limits.sums, sums, strict=True)}
    used = float((sums / np.asarray(limits.largest)).max())
    return FrontPoint(plan.share, used, named, course, _risk(question, control, times, course))


def _risk(question: PlanQuestion, control: AbstractControl, times: np.ndarray, course: np.ndarray) -> float:
    """Of a course (draws, T) at `times`."""
    days = control.times(times)
    at = np.searchsorted(times, days)
    losses = np.asarray(jax.vmap(control.loss, (None, 0))(jnp.asarray(days), jnp.asarray(course[:, at])))
    return float(tail_weights(losses, question.tail) @ losses)


def without_rounding(difference: np.ndarray) -> np.ndarray:
    """`difference`, zero where it is below `SAME`."""
    return np.where(np.abs(difference) < SAME, 0.0, difference)


def share_above_zero(difference: np.ndarray) -> float:
    """A draw without a difference counts by half."""
    return float(np.mean((difference > 0) + 0.5 * (difference == 0)))


def rank_correlations(ratio: np.ndarray, z: np.ndarray, names: Mapping[str, int]) -> dict[str, float]:
    """Parameter to its rank correlation with `ratio`, the strongest first; what does not vary is left out.

    A parameter is ascending in its z, so that both have the same ranks.
    """
    if np.ptp(ratio) == 0:
        return {}
    found = {name: float(spearmanr(z[:, i], ratio).statistic) for name, i in names.items() if np.ptp(z[:, i]) > 0}  # pyright: ignore
    return dict(sorted(found.items(), key=lambda pair: -abs(pair[1])))
