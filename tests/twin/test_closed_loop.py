"""Androgen deprivation switched by PSA: what the loop gives is what the same switches give by hand."""

import jax.numpy as jnp
import numpy as np
import psa
import pytest

from twinjax.treatment import AndrogenDeprivation, Regimen, androgen_deprivation_cycles
from twinjax.twin.closed_loop import SwitchedCourses, SwitchingRule, switched, treated_since

TIMES = psa.DECISION + 28.0 * np.arange(25)
RULE = SwitchingRule(12.0, 30.0, 56.0)
CEILING = 40.0


@pytest.fixture(scope="module")
def draws():
    return psa.ahead(psa.twin())


@pytest.fixture(scope="module")
def looped(draws):
    return switched(draws[0], RULE, TIMES, np.inf, CEILING)


@pytest.fixture(scope="module")
def always(draws):
    return switched(draws[0], SwitchingRule.continuous(), TIMES, np.inf, CEILING)


def on_review(rule: SwitchingRule, value: float, day: float, since: float) -> float:
    return float(rule.since(jnp.asarray(value), jnp.asarray(day), jnp.asarray(since)))


def test_the_rule_switches_at_its_thresholds():
    assert on_review(RULE, 30.0, 100.0, np.inf) == 100.0
    assert on_review(RULE, 29.9, 100.0, np.inf) == np.inf
    assert on_review(RULE, 12.0, 100.0, 44.0) == np.inf
    assert on_review(RULE, 12.1, 100.0, 44.0) == 44.0
    # Not long enough under treatment.
    assert on_review(RULE, 12.0, 100.0, 45.0) == 45.0
    assert on_review(SwitchingRule.continuous(), 0.0, 100.0, np.inf) == 100.0


def test_every_switch_keeps_the_rule(looped):
    since = np.full(len(looped.psa), np.inf)
    for i, on in enumerate(looped.treated.T):
        since = np.array(
            [on_review(RULE, value, TIMES[i], s) for value, s in zip(looped.psa[:, i], since, strict=True)]
        )
        np.testing.assert_array_equal(np.isfinite(since), on)
    assert 0.1 < looped.treated.mean() < 0.9 and (np.diff(looped.treated[0].astype(int)) < 0).any()


def test_switched_by_hand_it_is_the_same_course(draws, looped):
    """The switches of one draw as a schedule of depots, solved from the decision to the end at once."""
    ahead, past = draws
    edges = np.flatnonzero(np.diff(looped.treated[0], prepend=False, append=False))
    by_hand = AndrogenDeprivation.on_intervals(TIMES[edges[::2]], TIMES[edges[1::2]])
    courses = ahead.courses(past + Regimen([by_hand]), TIMES)
    np.testing.assert_allclose(looped.psa[0], courses[0], rtol=2e-4)
    above = (courses[0] >= CEILING).tolist()
    lost = next((i for i in range(len(TIMES) - 1) if above[i] and above[i + 1]), len(TIMES) - 1)
    assert looped.days_of_control[0] == TIMES[lost] - TIMES[0]


@pytest.mark.thorough
def test_never_off_is_continuous_treatment(draws, always):
    ahead, past = draws
    lowest = switched(ahead, SwitchingRule(1e-9, 1e-9, 0.0), TIMES, np.inf, CEILING)
    assert always.treated.all() and lowest.treated.all()
    np.testing.assert_array_equal(always.psa, lowest.psa)
    depot = AndrogenDeprivation([TIMES[0]], [TIMES[-1] - TIMES[0] + 1.0])
    np.testing.assert_allclose(always.psa, ahead.courses(past + Regimen([depot]), TIMES), rtol=2e-4)


@pytest.mark.thorough
def test_above_all_psa_nothing_is_given_and_control_is_lost_soon(draws, always):
    ahead, past = draws
    never = switched(ahead, SwitchingRule(1.0, 1e9, 0.0), TIMES, np.inf, CEILING)
    assert not never.treated.any() and never.lost.all()
    assert (never.days_of_control < always.days_of_control).all()
    np.testing.assert_array_equal(never.share_on_treatment, 0.0)
    np.testing.assert_allclose(never.psa, ahead.courses(past, TIMES), rtol=2e-4)


def test_the_later_it_goes_on_the_less_is_given_at_first_and_the_sooner_control_is_lost(draws, looped):
    later = switched(draws[0], SwitchingRule(12.0, 60.0, 56.0), TIMES, np.inf, CEILING)
    first_on = [one.treated.argmax(axis=1) for one in (looped, later)]
    assert (first_on[1] > first_on[0]).all()
    days = [one.days_of_control for one in (looped, later)]
    assert (days[1] <= days[0]).all() and days[1].mean() < days[0].mean()


def test_treatment_going_on_at_the_decision_lasts_its_least_days(draws):
    ahead, _ = draws
    course = switched(ahead, SwitchingRule(1e6, 1e9, 112.0), TIMES, psa.DECISION - 28.0, CEILING)
    np.testing.assert_array_equal(course.treated.sum(axis=1), 3)


def test_days_count_until_control_is_lost():
    """Above 5 ng/mL once at the second of nine reviews, for good from the seventh on; treated from the second on."""
    times = 28.0 * np.arange(9)
    treated = np.array([[0, 1, 1, 1, 1, 1, 1, 1]] * 3, bool)
    values = np.array([[1.0, 6.0, 2.0, 1.0, 1.0, 4.0, 5.0, 8.0, 9.0], [4.9] * 8 + [9.0], [6.0] * 9])
    course = SwitchedCourses(times, values, treated, 5.0)
    np.testing.assert_array_equal(course.lost, [True, False, True])
    np.testing.assert_array_equal(course.days_of_control, [168.0, 224.0, 0.0])
    np.testing.assert_array_equal(course.days_on_treatment, [140.0, 196.0, 0.0])
    np.testing.assert_allclose(course.share_on_treatment, [5 / 6, 7 / 8, 1.0])


def test_when_the_treatment_began_that_is_going_on():
    given = androgen_deprivation_cycles(10.0, 2, 252.0, 100.0)
    assert treated_since(given.before(300.0), 300.0) == np.inf
    assert treated_since(given.before(400.0), 400.0) == 362.0
    assert treated_since(given.before(200.0), 200.0) == 10.0
    assert treated_since(Regimen(), 200.0) == np.inf
