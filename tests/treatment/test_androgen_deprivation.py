"""Androgen deprivation: levels, their exact means, and how a course is cut."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from twinjax.core.errors import InputError
from twinjax.treatment import AndrogenDeprivation, Regimen, androgen_deprivation_cycles


def test_level_is_on_from_start_to_before_stop():
    treatment = AndrogenDeprivation.on_intervals([10, 200], [110, 250], dose_interval_days=84)
    levels = [float(treatment.level(day)) for day in (9.99, 10, 93, 94, 95, 109.9, 110, 199, 200, 249.9, 250)]
    assert levels == [0, 1, 1, 1, 1, 1, 0, 0, 1, 1, 0]
    np.testing.assert_allclose(treatment.times, [10, 94, 110, 200, 250])
    np.testing.assert_allclose(treatment.durations, [84, 16, 0, 50, 0])
    assert treatment.burden() == {"doses": 3, "days_on_treatment": 150}


def test_overlapping_doses_do_not_add():
    treatment = AndrogenDeprivation([0, 50, 60], [84, 84, 84])
    assert float(treatment.level(70)) == 1
    assert treatment.burden() == {"doses": 3, "days_on_treatment": 144}


@pytest.mark.parametrize("response_days", [0.0, 12.0])
def test_mean_level_is_the_mean_of_the_level(response_days):
    treatment = AndrogenDeprivation([5, 40], [20, 30], intensity=0.8, response_days=response_days)
    edges = [5, 25, 40, 70]
    for t0, t1 in ((0, 100), (3, 17), (20, 60), (24, 26), (71, 90)):
        expected, _ = quad(lambda t: float(treatment.level(t)), t0, t1, points=[e for e in edges if t0 < e < t1])
        np.testing.assert_allclose(treatment.mean_level(t0, t1), expected / (t1 - t0), atol=1e-9)
    np.testing.assert_allclose(treatment.mean_level(50.0, 50.0), treatment.level(50.0))


def test_gradient_in_the_days_of_doses():
    def mean(times):
        return AndrogenDeprivation(times, jnp.array([20.0, 20.0])).mean_level(0.0, 50.0)

    # The second dose ends after day 50: a day later is a day less.
    np.testing.assert_allclose(jax.grad(mean)(jnp.array([10.0, 40.0])), [0, -1 / 50], atol=1e-12)


def test_what_was_given_before_a_day_ends_with_its_depot():
    regimen = androgen_deprivation_cycles(0, cycles=2, on_days=252, off_days=100, dose_interval_days=84)
    before = regimen.before(100)
    assert [float(before.levels(day)["androgen_deprivation"]) for day in (99, 160, 168, 360)] == [1, 1, 0, 0]
    both = regimen.before(100) + androgen_deprivation_cycles(168, cycles=1, on_days=84)
    assert float(both.levels(200)["androgen_deprivation"]) == 1
    later = regimen.shifted(10).after(350)
    np.testing.assert_allclose(later.treatments[0].times, [362, 446, 530, 614])
    assert regimen.burden()[0]["days_on_treatment"] == 504


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AndrogenDeprivation([5, 0], [1, 1]), "ascending"),
        (lambda: AndrogenDeprivation([0], [1], intensity=1.5), "intensity"),
        (lambda: AndrogenDeprivation([0], [1], response_days=-1), "response_days"),
        (lambda: AndrogenDeprivation.on_intervals([0], [0]), "follow its start"),
        (lambda: AndrogenDeprivation.on_intervals([0], [9], dose_interval_days=0), "dose_interval_days"),
        (lambda: androgen_deprivation_cycles(0, cycles=0, on_days=1), "cycles"),
        (lambda: androgen_deprivation_cycles(0, cycles=1, on_days=0), "on_days"),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_levels_of_several_treatments_add():
    half = AndrogenDeprivation([0], [10], intensity=0.4)
    np.testing.assert_allclose(Regimen([half, half]).levels(5.0)["androgen_deprivation"], 0.8)
