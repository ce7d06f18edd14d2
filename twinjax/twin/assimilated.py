"""A visit that a twin was told, in numbers alone: what a job keeps of an `Assimilation`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from twinjax.twin.course import CourseForecast
from twinjax.twin.draws import levels
from twinjax.twin.forecast import Forecast
from twinjax.twin.twin import Assimilation


@dataclass(frozen=True)
class AssimilatedVisit:
    """**Fields:** `day`; `by` what the posterior was renewed and `because` of what; `expected`, a row a measurement:
    `Expected` and whether it was `inside`; `change`, the rows of `change_of`; `warnings`; `ahead`, a row a quantity:
    median and 90 % interval on the last day of the forecast, before the visit was known and after."""

    day: float
    by: str
    because: str
    expected: list[dict[str, Any]]
    change: list[dict[str, Any]]
    warnings: list[str]
    ahead: list[dict[str, Any]]

    @classmethod
    def of(
        cls,
        day: float,
        made: Assimilation,
        quantities: Sequence[str],
        before: Forecast | CourseForecast,
        after: Forecast | CourseForecast,
    ) -> "AssimilatedVisit":
        """`before` and `after`: forecasts of the horizon, one day each, by the twins without and with the visit."""
        record = made.twin.posterior.diagnostics["assimilation"][-1]
        ahead = [
            {"quantity": name, "day": float(after.times[-1])}
            | {
                f"{key}_{when}": value
                for when, forecast in (("before", before), ("after", after))
                for key, value in levels(forecast.quantities[name][:, -1]).items()
            }
            for name in quantities
        ]
        expected = [asdict(one) | {"inside": bool(one.inside)} for one in made.expected]
        return cls(day, record["by"], record["because"], expected, made.change, made.warnings, ahead)
