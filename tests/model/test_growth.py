"""Growth laws: flows against closed forms, an independent solver, and the rates that they integrate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from growth_reference import solved
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from twinjax.core.errors import InputError
from twinjax.model import GompertzGrowth, LogisticGrowth
from twinjax.model.growth import SMALLEST_DENSITY, growth_law

LAWS = pytest.mark.parametrize("law", [LogisticGrowth(), GompertzGrowth()], ids=["logistic", "gompertz"])
DENSITIES = jnp.array([1e-9, 1e-4, 0.05, 0.4, 0.8, 1.0])


def test_logistic_closed_form():
    """Murine pancreatic tumours of Vishwanath et al. 2025: r = 0.02756 1/day, K = 1169.755 mm³ from 189 mm³."""
    volume = [float(LogisticGrowth().flow(jnp.array(189.0), t, 0.02756, 1169.755, 0.0)) for t in (7.0, 14.0)]
    np.testing.assert_allclose(volume, [221.598, 258.337], rtol=3e-6)


@pytest.mark.parametrize(("rate", "volume"), [(7e-5, 16.828), (0.001, 116.888), (0.00723, 8630.76)])
def test_gompertz_closed_form(rate, volume):
    """Lung tumours of Geng et al. 2017: K = 14137 cm³ from 14.137 cm³, after a year."""
    np.testing.assert_allclose(GompertzGrowth().flow(jnp.array(14.137), 365.0, rate, 14137.0, 0.0), volume, rtol=4e-5)


@LAWS
def test_flow_solves_the_equation_with_kill(law):
    """Where growth and kill are both 0.05 1/day the logistic flow has a removable singularity."""
    rate, capacity, duration, kill_rate = 0.05, 0.9, 30.0, jnp.array([[0.0], [0.03], [0.05], [0.4]])
    densities = jnp.broadcast_to(DENSITIES, (4, 6))
    expected = solved(law, densities, duration, kill_rate, rate=rate, capacity=capacity)
    flow = law.flow(densities, duration, rate, capacity, kill_rate * duration)
    np.testing.assert_allclose(flow, expected, rtol=1e-9)


@LAWS
def test_rate_is_the_derivative_of_the_flow(law):
    rate, capacity, kill_rate = 0.05, 0.9, 0.02
    for duration in (0.0, 11.0):
        flow, slope = jax.jvp(
            lambda t: law.flow(DENSITIES, t, rate, capacity, kill_rate * t), (jnp.array(duration),), (jnp.array(1.0),)
        )
        np.testing.assert_allclose(slope, law.growth(flow, rate, capacity) - kill_rate * flow, rtol=1e-10)


@LAWS
def test_rate_and_flow_agree_on_less_than_a_cell(law):
    """Otherwise the tail of a front, and with it its speed, would depend on the solver."""
    u, duration, log_kill = jnp.array([1e-3, 1.0]) * SMALLEST_DENSITY, 1e-3, 0.05 * 1e-3
    grown = law.flow(u, duration, 0.1, 1.0, log_kill)
    np.testing.assert_allclose((grown - u) / duration, law.growth(u, 0.1, 1.0) - 0.05 * u, rtol=1e-3)


@LAWS
def test_gradients_of_the_flow(law):
    """In all arguments, near the singularity of the logistic flow too, against central differences."""
    for log_kill in (0.3, 1.5 - 1e-7):
        check_grads(law.flow, (DENSITIES[2:], 30.0, 0.05, 0.9, log_kill), order=1, eps=1e-5, rtol=1e-6, atol=1e-8)


@LAWS
def test_no_cells_stay_no_cells_with_finite_gradients(law):
    arguments = (jnp.array(0.0), jnp.array(10.0), jnp.array(0.05), jnp.array(1.0), jnp.array(0.1))
    assert law.flow(*arguments) == 0
    assert law.growth(jnp.array(0.0), 0.05, 1.0) == 0
    assert all(jnp.isfinite(g) for g in jax.grad(law.flow, argnums=range(5))(*arguments))
    assert jnp.isfinite(jax.grad(law.growth)(jnp.array(0.0), 0.05, 1.0))


@LAWS
def test_nothing_happens_in_no_time(law):
    np.testing.assert_allclose(law.flow(DENSITIES, 0.0, 0.05, 0.9, 0.0), DENSITIES, rtol=1e-14)


@LAWS
@settings(max_examples=40)
@given(
    u=st.floats(1e-3, 1.0),
    rate=st.floats(0.0, 0.3),
    capacity=st.floats(0.5, 1.0),
    first=st.floats(0.0, 20.0),
    second=st.floats(0.0, 20.0),
    kill_rate=st.floats(0.0, 0.25),
)
def test_two_flows_in_a_row_are_one(law, u, rate, capacity, first, second, kill_rate):
    once = law.flow(jnp.array(u), first + second, rate, capacity, kill_rate * (first + second))
    half = law.flow(jnp.array(u), first, rate, capacity, kill_rate * first)
    twice = law.flow(half, second, rate, capacity, kill_rate * second)
    np.testing.assert_allclose(twice, once, rtol=1e-9)


def test_laws_by_name():
    assert isinstance(growth_law("gompertz"), GompertzGrowth)
    law = LogisticGrowth()
    assert growth_law(law) is law
    with pytest.raises(InputError, match="choose one of logistic, gompertz"):
        growth_law("exponential")
