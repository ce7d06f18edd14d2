"""When a forecast progresses: of forecasts that are made, not solved, and whose days are known."""

import json
from dataclasses import replace

import bar
import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.twin import CourseForecast

TIMES = np.arange(0.0, 99.0, 7.0)
# 100 draws that shrink until day 28 and grow then, each by its own rate; a tenth of them does not.
RATES = np.r_[np.zeros(10), np.linspace(0.007, 0.05, 90)]
SIZES = 50.0 * np.exp(-0.01 * np.minimum(TIMES, 28.0)) * np.exp(RATES[:, None] * np.maximum(TIMES - 28.0, 0.0))
KNOWN = np.r_[np.full(10, 70.0), np.log(1.2) / RATES[10:]]


@pytest.fixture(scope="module")
def forecast() -> CourseForecast:
    quantities = {"sum_of_diameters_mm": SIZES, "ca19_9_u_ml": SIZES}
    return CourseForecast(TIMES, quantities, {"sum_of_diameters_mm": 0.1}, {"sum_of_diameters_mm": 0.5}, 0)


def test_days_interval_and_share_are_those_of_the_draws(forecast):
    found = forecast.progression("sum_of_diameters_mm", since=28.0)
    np.testing.assert_allclose(found.days, KNOWN)
    assert found.without_progression == 0.1 and found.already_progressed == 0.0
    lower, median, upper = found.levels().values()
    assert (lower, median) == pytest.approx((np.sort(KNOWN)[4], np.sort(KNOWN)[49]))
    # The upper end lies beyond the horizon: nobody knows where.
    assert upper is None


def test_a_row_tells_days_criterion_and_source(forecast):
    row = json.loads(json.dumps(forecast.progression("sum_of_diameters_mm", since=28.0).row()))
    assert row["criterion"] == "RECIST 1.1" and row["source"].endswith("Eur J Cancer 45:228)")
    assert row["rule"] == "a (sum of) diameters 20 % and 5 mm above the smallest since day 0"
    assert (row["since_day"], row["baseline_day"], row["horizon_day"]) == (28.0, 0.0, 98.0)
    assert row["upper_days"] is None and row["lower_days"] < row["median_days"]


def test_the_smallest_counts_from_the_baseline_and_days_from_the_day_asked_for(forecast):
    """On day 56 the nadir of day 28 counts: the quick ones have progressed; over day 56 itself none has."""
    over_all = forecast.progression("sum_of_diameters_mm", since=56.0)
    np.testing.assert_allclose(over_all.days, np.maximum(KNOWN - 28.0, 0.0))
    assert over_all.already_progressed == pytest.approx(np.mean(KNOWN <= 28.0))
    anew = forecast.progression("sum_of_diameters_mm", baseline=56.0)
    assert anew.since_day == 56.0 and anew.already_progressed == 0.0 and (anew.days >= over_all.days).all()


def test_a_criterion_may_be_named(forecast):
    found = forecast.progression("sum_of_diameters_mm", since=28.0, by="forty_percent")
    np.testing.assert_allclose(found.days, np.minimum(np.log(1.4) / np.maximum(RATES, 1e-9), 70.0))
    assert "no published criterion was asked for" in found.row()["source"]
    assert "no published criterion is known" in forecast.progression("ca19_9_u_ml").row()["source"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"quantity": "x_mm"}, "'x_mm' is not forecast; choose one of sum_of_diameters_mm, ca19_9_u_ml"),
        ({"by": "pcwg3"}, "'pcwg3' is no criterion for 'sum_of_diameters_mm'"),
        ({"since": 98.0}, r"must follow each other within the forecast \(day 0 to 98\)"),
        ({"since": 14.0, "baseline": 21.0}, r"the baseline \(day 21\) and the day from which days count \(14\)"),
        ({"baseline": -1.0}, "must follow each other"),
    ],
)
def test_what_cannot_be_asked(forecast, asked, message):
    with pytest.raises(InputError, match=message):
        forecast.progression(**{"quantity": "sum_of_diameters_mm"} | asked)


def test_a_forecast_of_scans_has_it_too():
    made = bar.prediction(bar.slab(20, 26), bar.slab(18, 30), TIMES.tolist())
    grown = {"core_volume_mm3": SIZES**3 * np.pi / 6}
    found = replace(made, quantities=grown).progression("core_volume_mm3", since=28.0)
    assert found.criterion.name == "rano_2_0"
    np.testing.assert_allclose(found.days, np.minimum(np.log(1.4) / np.maximum(3 * RATES, 1e-9), 70.0))
