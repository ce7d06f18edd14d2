"""What a new visit did to a twin: how its parameters moved, and whether it was foreseen."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from twinjax.calibration import Datum, InverseProblem, Posterior
from twinjax.imaging.scan import REGIONS
from twinjax.model import AbstractSpatialModel
from twinjax.observation import QuantityObservation
from twinjax.twin.course import CourseForecast
from twinjax.twin.forecast import Forecast
from twinjax.twin.solution import measured_volume

LEVEL = 0.9
# RANO 2.0 (Wen et al. 2023, J Clin Oncol 41:5187): within so many days of radiotherapy growth may be pseudoprogression.
PSEUDOPROGRESSION_DAYS = 84.0
ABOVE = "resistance, treatment not given as recorded, swelling or inflammation seen as tumour, a scan read otherwise"
BELOW = "a treatment that the record does not have, a better response than any before, a scan read otherwise"


@dataclass(frozen=True)
class Expected:
    """A new measurement beside what was expected of it.

    **Fields:** `day`; `quantity`, the unit at the end of its name; `measured`; `lower`, `median` and `upper` of the
    90 % interval of a measurement, forecast before it was known.
    """

    day: float
    quantity: str
    measured: float
    lower: float
    median: float
    upper: float

    @property
    def inside(self) -> bool:
        return self.lower <= self.measured <= self.upper


def new_data(old: InverseProblem, new: InverseProblem) -> list[Datum]:
    """The data of `new` that are one number, or a region's mask, and were not in `old`; no limits of a device."""
    seen = {(datum.day, datum.observation) for datum in old.data}
    return [
        datum
        for datum in new.data
        if (datum.day, datum.observation) not in seen
        and (datum.observation in REGIONS or isinstance(new.whole.observation[datum.observation], QuantityObservation))
        and datum.readings.side is None
    ]


def expectations(problem: InverseProblem, data: Sequence[Datum], forecast: Forecast | CourseForecast) -> list[Expected]:
    """Each of `data` beside its forecast, made without it."""
    found, model = [], problem.tumor.model
    for datum in data:
        observation = problem.whole.observation[datum.observation]
        values, here = np.asarray(datum.values, float), forecast.at([datum.day])
        if isinstance(observation, QuantityObservation):
            quantity = observation.quantity
            measured = float(observation.untransform(values[0]))
            course = here.laboratory if isinstance(here, Forecast) else here
            assert course is not None
            interval = course.interval(quantity, LEVEL, measured=True)
        else:
            assert isinstance(model, AbstractSpatialModel) and isinstance(here, Forecast)
            quantity, measured = f"{datum.observation}_volume_mm3", measured_volume(datum, model.domain)
            interval = here.interval(quantity, LEVEL, measured=True)
        low, middle, high = interval[:, 0].tolist()
        found.append(Expected(datum.day, quantity, measured, low, middle, high))
    return found


def surprises(expected: Sequence[Expected], radiotherapy_days: np.ndarray) -> list[str]:
    """A sentence for each measurement outside its interval, with what may explain it."""
    sentences = []
    for one in (one for one in expected if not one.inside):
        above = one.measured > one.upper
        since = one.day - radiotherapy_days[radiotherapy_days <= one.day]
        reasons = ABOVE if above else BELOW
        if above and since.size and since.min() <= PSEUDOPROGRESSION_DAYS:
            reasons = f"pseudoprogression ({since.min():.0f} days after radiotherapy), {reasons}"
        sentences.append(
            f"{one.quantity.replace('_', ' ')} on day {one.day:g} was {one.measured:.4g}, "
            f"{'above' if above else 'below'} the 90 % interval of the forecast ({one.lower:.4g} to {one.upper:.4g}): "
            f"the model may no longer describe this patient. Possible reasons: {reasons}."
        )
    return sentences


def change_of(before: Posterior, after: Posterior) -> list[dict[str, Any]]:
    """One row per parameter: median and 90 % interval before and after.

    `shift` is that of the median in deviations of before, `width_left` the share of the interval's width; None where
    the parameter was not there before.
    """
    old = {row["parameter"]: row for row in before.rows(LEVEL)}
    rows = []
    for row in after.rows(LEVEL):
        name, was = row["parameter"], old.get(row["parameter"])
        shift = width = None
        if was is not None:
            spread = float(np.std(before.samples[name]))
            shift = (row["median"] - was["median"]) / spread if spread > 0 else None
            width = (row["upper"] - row["lower"]) / (was["upper"] - was["lower"]) if spread > 0 else None
        ends = {f"{key}_before": None if was is None else was[key] for key in ("median", "lower", "upper")}
        ends |= {f"{key}_after": row[key] for key in ("median", "lower", "upper")}
        rows.append({"parameter": name, "unit": row["unit"], **ends, "shift": shift, "width_left": width})
    return rows
