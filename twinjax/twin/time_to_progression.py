"""How long until a forecast quantity progresses: draws of it, their interval, and how many do not by the horizon."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from twinjax.core.errors import InputError
from twinjax.twin.criteria import criterion_for
from twinjax.twin.draws import levels_within
from twinjax.twin.progression import Criterion, of_draws


@dataclass(frozen=True, eq=False)
class ProgressionForecast:
    """When a quantity has progressed over its smallest so far, in each draw of the posterior.

    It is that of the course of the model, without the scatter of a measurement.

    **Fields:** `quantity`; `criterion`; `baseline_day`, from which on the smallest counts, and `since_day`, from which
    on progression and days do, both since baseline; `horizon_day`; `days` (draws,), at most until the horizon.
    """

    quantity: str
    criterion: Criterion
    baseline_day: float
    since_day: float
    horizon_day: float
    days: Float[np.ndarray, " draws"]

    @property
    def over(self) -> str:
        """What it has progressed over."""
        return f"the smallest since day {self.baseline_day:g}"

    @property
    def longest(self) -> float:
        """Days to the horizon."""
        return self.horizon_day - self.since_day

    @property
    def without_progression(self) -> float:
        """The share of draws that have not progressed by the horizon."""
        return float(np.mean(self.days >= self.longest))

    @property
    def already_progressed(self) -> float:
        """The share of draws that have progressed on the day from which days count."""
        return float(np.mean(self.days <= 0))

    def levels(self, level: float = 0.9) -> dict[str, float | None]:
        """`lower`, `median` and `upper` of the days; None for what lies beyond the horizon."""
        return levels_within(self.days, self.longest, level)

    def row(self, level: float = 0.9) -> dict[str, Any]:
        """Days, shares, criterion, rule and source, for tables and files; None for days beyond the horizon."""
        days = {f"{name}_days": value for name, value in self.levels(level).items()}
        return {
            "quantity": self.quantity,
            "since_day": self.since_day,
            "baseline_day": self.baseline_day,
            "horizon_day": self.horizon_day,
            **days,
            "without_progression": self.without_progression,
            "already_progressed": self.already_progressed,
            **self.criterion.told(self.over),
        }


def time_to_progression(
    quantity: str,
    times: Float[np.ndarray, " T"],
    quantities: dict[str, np.ndarray],
    *,
    since: float | None = None,
    baseline: float | None = None,
    by: str | None = None,
) -> ProgressionForecast:
    """Of `quantity`, one of `quantities`, name to (draws, T) at `times`; the arguments are those of the forecasts.

    Raises `InputError` for a quantity that is not there, a criterion that is not its own, or days that leave fewer than
    two of `times`.
    """
    if quantity not in quantities:
        raise InputError(f"'{quantity}' is not forecast; choose one of {', '.join(quantities)}")
    criterion = criterion_for(quantity, by)
    first, horizon = float(times[0]), float(times[-1])
    baseline = first if baseline is None else float(baseline)
    since = baseline if since is None else float(since)
    counted = times >= baseline
    if not first <= baseline <= since < horizon or counted.sum() < 2:
        raise InputError(
            f"progression: the baseline (day {baseline:g}) and the day from which days count ({since:g}) must follow "
            f"each other within the forecast (day {first:g} to {horizon:g})"
        )

    def day_of(days, course):
        return criterion.progression_day(days, course, since)

    days = of_draws(day_of, times[counted], quantities[quantity][:, counted]) - since
    return ProgressionForecast(quantity, criterion, baseline, since, horizon, days)
