"""Treatment options side by side, under the same draws of the posterior."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from tqdm import tqdm

from twinjax.core.errors import InputError
from twinjax.treatment import Regimen
from twinjax.twin.course import CourseForecast
from twinjax.twin.criteria import criterion_for
from twinjax.twin.draws import interval, levels, probability_best
from twinjax.twin.forecast import Forecast
from twinjax.twin.progression import SMALLEST_OUTCOME, Criterion, of_draws
from twinjax.twin.recommendation import CAVEAT, rank_correlations, share_above_zero, without_rounding
from twinjax.twin.twin import DigitalTwin

# What progression is counted over.
SINCE_DECISION = "the smallest since the decision"


@dataclass(frozen=True, eq=False)
class Comparison:
    """What each option would do, and how sure we are that one is better.

    **Fields:**

    - `forecasts`: option to its `Forecast` (quantities only).
    - `burden`: option to the rows of `Regimen.burden`, for what is still to be given.
    - `decision_day`; `horizon_days`, both since baseline.
    - `outcome`: the quantity that is compared, its unit at the end of its name; lower is better.
    - `final`: option to (draws,) the outcome at the horizon.
    - `criterion` of progression.
    - `days_to_progression`: option to (draws,) days from the decision until the outcome has progressed over its
      smallest since then; capped at the horizon.
    - `probability_best`: option to the share of draws in which its outcome is the lowest at the horizon; options that
      are equal in a draw share it.
    - `best`: the option with the smallest mean log outcome at the horizon.
    - `sensitivity`: parameter to Spearman's rank correlation, over the draws, with the logarithm of the ratio of the
      outcome at the horizon, `best` over `next_best`.

    Draws in which the solver failed under one of the options are left out of all.
    """

    forecasts: dict[str, Forecast | CourseForecast]
    burden: dict[str, list[dict]]
    decision_day: float
    horizon_days: float
    outcome: str
    final: dict[str, np.ndarray]
    criterion: Criterion
    days_to_progression: dict[str, np.ndarray]
    probability_best: dict[str, float]
    best: str
    sensitivity: dict[str, float] = field(default_factory=dict)

    @property
    def ranked(self) -> list[str]:
        """The options, best first."""
        return sorted(self.final, key=lambda option: np.log(self.final[option]).mean())

    @property
    def next_best(self) -> str:
        """The option that comes next to `best`, which is told against it."""
        return next(option for option in self.ranked if option != self.best)

    def evidence(self, level: float = 0.9) -> dict[str, Any]:
        """What is expected of the best option against the next, draw by draw, and what that rests on."""
        ratio = without_rounding(np.log(self.final[self.best]) - np.log(self.final[self.next_best]))
        later = self.days_to_progression[self.best] - self.days_to_progression[self.next_best]
        return {
            "best": self.best,
            "against": self.next_best,
            "outcome": self.outcome,
            "draws": len(ratio),
            "ratio": {name: float(np.exp(value)) for name, value in levels(ratio, level).items()},
            "probability_smaller": share_above_zero(-ratio),
            "days_gained": levels(later, level),
            "progression": self.criterion.told(SINCE_DECISION),
            "probability_later": share_above_zero(without_rounding(later)),
            "sensitivity": self.sensitivity,
            "caveat": CAVEAT,
        }

    def rows(self, level: float = 0.9) -> list[dict]:
        """One row per option, best first."""
        rows = []
        for name in self.ranked:
            low, median, high = interval(self.final[name], level)
            against = interval(self.final[name] / self.final[self.best], level)
            rows.append(
                {
                    "option": name,
                    "outcome": self.outcome,
                    "median": float(median),
                    "lower": float(low),
                    "upper": float(high),
                    "ratio_to_best": float(against[1]),
                    "ratio_lower": float(against[0]),
                    "ratio_upper": float(against[2]),
                    "days_to_progression": float(np.median(self.days_to_progression[name])),
                    "probability_best": self.probability_best[name],
                    **self.criterion.told(SINCE_DECISION),
                }
            )
        return rows


def compare(
    twin: DigitalTwin,
    options: Mapping[str, Regimen],
    *,
    decision_day: float,
    horizon_days: float,
    given: Regimen | None = None,
    draws: int = 50,
    outcome: str = "whole_tumor_volume_mm3",
    progression: str | None = None,
    progress: bool = False,
) -> Comparison:
    """Forecast every option with the same posterior draws (common random numbers).

    An option is a regimen whose day 0 is `decision_day`; before it stays what was given (`given`, default: the
    twin's own regimen up to that day). Sensitivities that were calibrated go over to every treatment of the same
    name; those of treatments that the patient has not had are drawn from their prior, and what has no prior keeps its
    nominal value.

    `outcome` is a key of the forecast's quantities; lower is better. `progression` names its criterion (default: the
    usual one of its unit, `criterion_for`).

    Raises `InputError` for fewer than two options, a horizon before the decision, or a criterion that the outcome does
    not have.
    """
    criterion = criterion_for(outcome, progression)
    if len(options) < 2:
        raise InputError(f"a comparison needs at least two treatment options, got {list(options)}")
    if not horizon_days > decision_day:
        raise InputError(f"the horizon (day {horizon_days:g}) must lie after the decision (day {decision_day:g})")
    past = (twin.regimen if given is None else given).before(decision_day)
    times = np.unique(np.append(np.arange(decision_day, horizon_days, 7.0), horizon_days))
    forecasts, burden = {}, {}
    for name, option in tqdm(options.items(), desc="  options", unit="option", disable=not progress):
        ahead = option.shifted(decision_day)
        burden[name] = ahead.burden()
        forecasts[name] = twin.predict(horizon_days, times.tolist(), regimen=past + ahead, draws=draws, fields=False)
    kept = _in_all(forecasts, draws)
    courses = {
        name: np.maximum(f.quantities[outcome][np.isin(f.drawn, kept)], SMALLEST_OUTCOME)
        for name, f in forecasts.items()
    }
    final = {name: course[:, -1] for name, course in courses.items()}
    best = min(final, key=lambda name: np.log(final[name]).mean())
    made = Comparison(
        forecasts,
        burden,
        decision_day,
        horizon_days,
        outcome,
        final,
        criterion,
        {name: of_draws(criterion.progression_day, times, course) - decision_day for name, course in courses.items()},
        probability_best(final),
        best,
    )
    ratio = without_rounding(np.log(final[best]) - np.log(final[made.next_best]))
    z = twin.whitened_draws(draws)[kept] if twin.draw_uncertainty else np.zeros((1, 0))
    columns = twin.scalar_columns if twin.draw_uncertainty else {}
    return replace(made, sensitivity=rank_correlations(ratio, z, columns))


def _in_all(forecasts: Mapping[str, Forecast | CourseForecast], draws: int) -> np.ndarray:
    """The draws that were solved under every option: draw s of one is draw s of the others."""
    kept = np.arange(draws)
    for one in forecasts.values():
        assert one.drawn is not None
        kept = np.intersect1d(kept, one.drawn)
    return kept
