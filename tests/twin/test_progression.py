"""The day of progression, of courses over time that are known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.twin.progression import Criterion, of_draws

PLAIN = Criterion("plain", "plain", "no source", "40 % above {}", relative=0.4)
ABSOLUTE = Criterion("absolute", "absolute", "no source", "20 % and 5 above {}", relative=0.2, absolute=5.0)
CONFIRMED = Criterion("confirmed", "confirmed", "no source", "25 %", relative=0.25, confirming_days=21.0)
WEEKS = np.arange(0.0, 211.0, 7.0)
DECLINE, GROWTH, TURN = 0.02, 0.03, 70.0


def turning(times=WEEKS, start=30.0, growth=GROWTH):
    """An exponential decline until day 70, exponential growth after."""
    nadir = start * np.exp(-DECLINE * TURN)
    return np.where(times < TURN, start * np.exp(-DECLINE * times), nadir * np.exp(growth * (times - TURN)))


def progressed(criterion, course, times=WEEKS, **options):
    return float(criterion.progression_day(jnp.asarray(times), jnp.asarray(course), **options))


def test_exponential_growth_after_a_decline_progresses_on_a_day_that_is_known():
    nadir = turning()[10]
    assert progressed(PLAIN, turning()) == pytest.approx(TURN + np.log(1.4) / GROWTH)
    # 5 mm are more than 20 % of a nadir of 7.4 mm, and less than those of one of 49 mm.
    assert nadir == pytest.approx(7.398, abs=1e-3)
    assert progressed(ABSOLUTE, turning()) == pytest.approx(TURN + np.log(1 + 5 / nadir) / GROWTH)
    assert progressed(ABSOLUTE, turning(start=200.0)) == pytest.approx(TURN + np.log(1.2) / GROWTH)


def test_over_the_first_value_it_comes_later():
    day = float(PLAIN.regrowth_day(jnp.asarray(WEEKS), jnp.asarray(turning())))
    # Back to the start after what was lost, and 40 % more.
    assert day == pytest.approx(TURN + (DECLINE * TURN + np.log(1.4)) / GROWTH)


@pytest.mark.thorough
def test_the_smallest_of_all_before_counts_not_the_last():
    times = np.array([0.0, 7.0, 14.0, 21.0])
    volume = np.array(
        [[10.0, 13.9, 14.0, 20.0], [10.0, 5.0, 6.9, 7.0], [10.0, 9.0, 8.0, 7.0], [10.0, 13.0, 12.0, 13.0]]
    )
    np.testing.assert_allclose(of_draws(PLAIN.progression_day, times, volume), [14.0, 21.0, 21.0, 21.0])
    volume = np.array([[10.0, 5.0, 10.0, 14.0], [10.0, 5.0, 6.0, 7.0], [10.0, 14.0, 1.0, 1.0]])
    np.testing.assert_allclose(of_draws(PLAIN.regrowth_day, times, volume), [21.0, 21.0, 7.0])


def test_the_day_is_continuous_where_the_absolute_increase_begins_to_count():
    """At 25 mm 20 % are 5 mm. Nadirs 1e-6 to either side of it progress on days that differ by no more."""
    nadirs = 25.0 + np.array([-1e-6, 0.0, 1e-6])
    courses = nadirs[:, None] * np.exp(0.01 * WEEKS)
    days = of_draws(ABSOLUTE.progression_day, WEEKS, courses)
    np.testing.assert_allclose(days, np.log(1.2) / 0.01, atol=1e-5)
    assert np.ptp(days) > 0
    # Below it the 5 mm count, and of a nadir of 25 mm halved the day is another.
    np.testing.assert_allclose(progressed(ABSOLUTE, courses[1] / 2), np.log(1.4) / 0.01)


def test_the_day_is_continuous_at_the_horizon():
    slow, quick = (turning(growth=np.log(1.4) / (140.0 + late)) for late in (1e-6, -1e-6))
    assert progressed(PLAIN, slow) == 210.0 and progressed(PLAIN, quick) == pytest.approx(210.0, abs=1e-5)


def test_a_rise_that_does_not_last_is_not_confirmed():
    """A peak of two weeks, such as before a treatment that begins again; and the growth at the end."""
    peak = np.where((WEEKS >= 63) & (WEEKS < 77), 2.0, 1.0) * 10.0
    late = peak * np.exp(0.01 * np.maximum(WEEKS - 140.0, 0.0))
    assert progressed(PLAIN, late) < 63.0
    assert progressed(CONFIRMED, late) == pytest.approx(140 + np.log(1.25) / 0.01)
    assert progressed(CONFIRMED, peak) == 210.0
    # Of a rise in the last three weeks nothing speaks against it.
    end = 10.0 * np.exp(0.05 * np.maximum(WEEKS - 196.0, 0.0))
    assert progressed(CONFIRMED, end) == pytest.approx(196 + np.log(1.25) / 0.05)


def test_early_rises_and_those_before_the_day_asked_for_do_not_count():
    early = Criterion("early", "early", "no source", "40 %", relative=0.4, early_days=84.0)
    risen = 10.0 * np.exp(GROWTH * WEEKS)
    assert progressed(PLAIN, risen) == pytest.approx(np.log(1.4) / GROWTH)
    assert progressed(early, risen) == 84.0
    fallen = np.where(WEEKS < 56, risen, 10.0)
    assert progressed(early, fallen) == 210.0
    # Between two of the days, and later than the early ones.
    assert progressed(PLAIN, risen, since=45.5) == 45.5
    assert progressed(early, turning(), since=30.0) == 84.0


def test_what_is_too_small_to_measure_progresses_when_it_is_measurable():
    measurable = Criterion("measurable", "m", "no source", "40 %", relative=0.4, measurable=20.0)
    courses = np.array([5.0, 20 / 1.4, 30.0])[:, None] * np.exp(0.01 * WEEKS)
    days = of_draws(measurable.progression_day, WEEKS, courses)
    np.testing.assert_allclose(days, np.log([4.0, 1.4, 1.4]) / 0.01)
    gone = np.where(WEEKS < 70, 30.0, 0.0) + 21.0 * (WEEKS >= 140)
    assert 133 < progressed(measurable, gone) <= 140


def test_a_size_in_another_unit():
    """Of a volume the diameter of a sphere: 20 % of it are 72.8 % of the volume."""
    sphere = Criterion("s", "s", "no source", "20 %", relative=0.2, scale=(6 / np.pi) ** (1 / 3), power=1 / 3)
    course = 1000.0 * np.exp(0.01 * WEEKS)
    assert progressed(sphere, course) == pytest.approx(np.log(1.2**3) / 0.01)


@pytest.mark.thorough
@pytest.mark.parametrize("criterion", [PLAIN, ABSOLUTE, CONFIRMED], ids=lambda one: one.name)
@pytest.mark.parametrize("method", ["progression_day", "regrowth_day"])
def test_the_gradient_is_that_of_finite_differences(criterion, method):
    """In how quickly it grows, by 1e-6 of central differences."""
    times = jnp.asarray(WEEKS)

    def day(growth):
        nadir = 30.0 * np.exp(-DECLINE * TURN)
        grown = nadir * jnp.exp(growth * (times - TURN))
        return getattr(criterion, method)(times, jnp.where(times < TURN, 30.0 * jnp.exp(-DECLINE * times), grown))

    step = 1e-6
    difference = (day(GROWTH + step) - day(GROWTH - step)) / (2 * step)
    assert abs(difference) > 100
    np.testing.assert_allclose(jax.grad(day)(GROWTH), difference, rtol=1e-6)
    # What does not come to it has no gradient, and no NaN.
    assert jax.grad(day)(-0.01) == 0.0


def test_what_has_vanished_has_a_finite_gradient():
    times = jnp.asarray(WEEKS)
    gone = jnp.where(times < TURN, 30.0, 0.0)
    for criterion in (PLAIN, ABSOLUTE, CONFIRMED):
        assert np.isfinite(jax.grad(lambda c, of=criterion: of.progression_day(times, c))(gone)).all()
