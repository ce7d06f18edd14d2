"""Controls and risk: of courses and draws that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.twin.control import CONTROLS, HOPELESS, TumorControl, control_named, tail_weights
from twinjax.twin.criteria import criterion_for

GRID = np.array([0.0, 7.0, 14.0])


def test_the_tail_is_the_mean_of_the_worst_draws():
    losses = np.array([3.0, 1.0, 4.0, 2.0])
    assert tail_weights(losses, 1.0).tolist() == [0.25] * 4
    assert tail_weights(losses, 0.5).tolist() == [0.5, 0.0, 0.5, 0.0]
    # Three eighths of four draws: one and a half.
    assert tail_weights(losses, 0.375) @ losses == pytest.approx((4 + 0.5 * 3) / 1.5)


def test_of_a_normal_distribution_it_is_known():
    """The mean beyond the 90 % quantile of a standard normal: density there over 0.1, 1.755."""
    losses = np.random.default_rng(0).normal(size=200_000)
    assert tail_weights(losses, 0.1) @ losses == pytest.approx(1.755, abs=0.01)


@pytest.mark.parametrize("tail", [0.0, -0.1, 1.5, float("nan")])
def test_a_tail_is_a_share(tail):
    with pytest.raises(InputError, match="tail must lie above 0"):
        tail_weights(np.zeros(3), tail)


def test_each_control_looks_at_its_days():
    names = ("final_size", "time_to_progression", "expected_size")
    size, progression, expected = (CONTROLS[name](criterion_for("volume_mm3")) for name in names)
    assert size.times(GRID).tolist() == [14.0] and progression.times(GRID).tolist() == GRID.tolist()
    days, course = jnp.asarray(GRID), jnp.asarray([5000.0, 4000.0, 7000.0])
    assert size.loss(days, course) == pytest.approx(np.log(7000.0))
    assert progression.loss(days, course) == pytest.approx(-14.0)
    ends = expected.times(GRID)
    assert ends.tolist() == [0.0, 14.0]
    assert expected.loss(jnp.asarray(ends), course[jnp.array([0, -1])]) == pytest.approx(1.4)
    with pytest.raises(InputError, match="control 'x' is unknown"):
        control_named("x")


def test_tumour_control_is_the_chance_that_no_cell_is_left():
    """Poisson: of a mean of one cell exp(-1), of ln 2 a half; at the fewest cells of the course."""
    control = TumorControl(clonogens_per_mm3=100.0)
    assert control.times(GRID).tolist() == GRID.tolist()
    courses = np.array([[5.0, 0.01, 3.0], [1.0, 2.0, np.log(2) / 100], [1e6, 1e5, 1e7]])
    np.testing.assert_allclose(control.probability(courses), [np.exp(-1), 0.5, 0.0], atol=1e-12)
    losses = [float(control.loss(jnp.asarray(GRID), jnp.asarray(course))) for course in courses]
    np.testing.assert_allclose(losses[:2], [-np.exp(-1), -0.5], atol=2 * HOPELESS)
    # Without hope fewer cells are better still, by less than what counts.
    fewer = float(control.loss(jnp.asarray(GRID), jnp.asarray(courses[2] / np.e)))
    assert losses[2] - fewer == pytest.approx(HOPELESS, rel=1e-6) and TumorControl.negligible > HOPELESS


def test_its_gradient_is_that_of_central_differences():
    control, days, course = TumorControl(100.0), jnp.asarray(GRID), jnp.asarray([5.0, 0.01, 3.0])
    gradient, step = jax.grad(control.loss, argnums=1)(days, course), 1e-6
    ends = [control.loss(days, course.at[1].add(sign * step)) for sign in (1, -1)]
    assert gradient[1] == pytest.approx(float(ends[0] - ends[1]) / (2 * step), rel=1e-6)
    assert gradient.tolist()[::2] == [0.0, 0.0]
