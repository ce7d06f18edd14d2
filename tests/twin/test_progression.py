"""Resistance: PSA that rises under treatment, on made-up courses."""

import numpy as np
import pytest

from twinjax.twin.progression import resistance_day

TIMES = 100.0 + 28.0 * np.arange(9)
# Down to 1, and from the sixth review on 25 % and 2 ng/mL above it.
RISING = [10.0, 4.0, 1.0, 1.0, 1.2, 3.5, 5.0, 8.0, 9.0]


def day(psa, treated=True, **options) -> float | None:
    on = np.broadcast_to(treated, (1, len(TIMES) - 1))
    found, there = resistance_day(TIMES, np.asarray(psa, float)[None], on, **options)
    assert found[0] == TIMES[-1] or there[0]
    return float(found[0]) if there[0] else None


def test_the_first_of_two_risen_reviews_is_the_day():
    assert day(RISING) == TIMES[5]


def test_a_rise_that_is_not_confirmed_does_not_count():
    assert day([10, 4, 1, 1, 1.2, 3.5, 1.0, 1.0, 9.0]) is None


@pytest.mark.parametrize(
    "psa",
    [[1, 1, 1, 1, 1, 2.9, 2.9, 2.9, 2.9], [50, 50, 50, 50, 50, 60, 60, 60, 60]],
    ids=["below 2 ng/mL", "below 25 %"],
)
def test_a_small_rise_does_not_count(psa):
    assert day(psa) is None


def test_the_least_rise_may_be_smaller():
    assert day([1, 1, 1, 1, 1, 1.3, 1.3, 1.3, 1.3], least_rise_ng_ml=0.2) == TIMES[5]


def test_what_rises_without_treatment_is_not_resistant():
    assert day(RISING, treated=False) is None


def test_rises_of_the_first_twelve_weeks_do_not_count():
    """From the decision on, or from the day on which the treatment began that is going on then."""
    early = [1, 4, 5, 6, 7, 8, 9, 10, 11]
    assert day(early) == TIMES[3]
    assert day(early, since=TIMES[0] - 100.0) == TIMES[1]


def test_a_new_treatment_has_a_nadir_of_its_own():
    """Off from the third review to the sixth: PSA falls again from 12, and never by itself rises."""
    treated = np.array([1, 1, 0, 0, 0, 1, 1, 1], bool)
    assert day([10, 4, 1, 3, 6, 12, 9, 6, 5], treated) is None
    assert day([10, 4, 1, 3, 6, 12, 9, 6, 5]) == TIMES[3]
