"""Agents against stroma: their level, its mean, and what a regimen does with them."""

import jax
import numpy as np
import pytest
from scipy.integrate import quad

from twinjax.core.errors import InputError
from twinjax.treatment import Regimen, StromaAgent, stroma_agent_course

AGENT = StromaAgent([1.0, 4.0, 6.0], [2.0, 1.0, 3.0], clearance_rate=0.5, reference_dose=2.0)


def test_level_decays_from_each_dose():
    np.testing.assert_allclose([AGENT.level(0.9), AGENT.level(1.0), AGENT.level(3.0)], [0, 1, np.exp(-1)], atol=1e-15)
    np.testing.assert_allclose(AGENT.level(4.0), np.exp(-1.5) + 0.5)


@pytest.mark.parametrize(("t0", "t1"), [(0.0, 0.9), (0.0, 3.0), (2.0, 9.0), (6.0, 6.5)])
def test_mean_level_is_the_integral(t0, t1):
    integral = quad(lambda t: float(AGENT.level(t)), t0, t1, points=[1.0, 4.0, 6.0], epsabs=1e-12)[0]
    np.testing.assert_allclose(AGENT.mean_level(t0, t1), integral / (t1 - t0), atol=1e-10)


def test_mean_over_no_time_is_the_level_with_a_finite_gradient():
    np.testing.assert_allclose(AGENT.mean_level(3.0, 3.0), AGENT.level(3.0))
    assert np.isfinite(jax.grad(lambda t: AGENT.mean_level(t, 3.0))(3.0))


def test_a_course_in_a_regimen():
    course = stroma_agent_course(2.0, 3, 7.0, dose=0.5, drug="losartan")
    (agent,) = course.treatments
    np.testing.assert_allclose(agent.times, [2, 9, 16])
    assert (agent.name, agent.burden()) == ("losartan", {"doses": 3})
    level = course.shifted(1.0).levels(3.0)["stroma_depletion"]
    np.testing.assert_allclose(level, 0.5)
    (kept,) = course.before(10.0).treatments
    np.testing.assert_allclose(kept.times, [2, 9])
    assert Regimen([agent]).kill_rate(5.0) == 0


def test_a_course_without_doses_is_refused():
    with pytest.raises(InputError, match="must be positive"):
        stroma_agent_course(0.0, 0, 7.0)
