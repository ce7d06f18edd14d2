"""Chemotherapy: kill rate, exact exposure and log kill per dose."""

from itertools import pairwise

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.model import FisherKPP
from twinjax.simulation import simulate
from twinjax.treatment import Chemotherapy, Regimen

DRUG = Chemotherapy([3.0, 5.5, 10.0], [75.0, 150.0, 60.0], sensitivity=0.3, clearance_rate=1.7)


def test_kill_rate_jumps_with_each_dose_and_decays():
    assert DRUG.kill_rate(2.999) == 0
    np.testing.assert_allclose(DRUG.kill_rate(3.0), 0.3)
    np.testing.assert_allclose(DRUG.kill_rate(5.0), 0.3 * np.exp(-1.7 * 2))
    np.testing.assert_allclose(DRUG.kill_rate(5.5), 0.3 * (np.exp(-1.7 * 2.5) + 2))


@settings(max_examples=30)
@given(start=st.floats(0, 15), duration=st.floats(0, 15))
def test_exposure_is_the_integral_of_the_kill_rate(start, duration):
    stop, times = start + duration, np.array([3.0, 5.5, 10.0])

    def kill(t):
        return 0.3 * np.sum(np.where(t >= times, [1, 2, 0.8] * np.exp(-1.7 * np.maximum(t - times, 0)), 0.0))

    edges = [start, *times[(times > start) & (times < stop)], stop]
    integral = sum(quad(kill, a, b, epsabs=1e-13)[0] for a, b in pairwise(edges))
    np.testing.assert_allclose(DRUG.exposure(start, stop), integral, atol=1e-11)


def test_kill_rate_and_exposure_are_one_curve():
    days = jnp.array([1.0, 3.4, 5.4, 9.0, 12.0])
    slope = jax.jit(jax.vmap(jax.grad(lambda t: DRUG.exposure(0.0, t))))(days)
    np.testing.assert_allclose(slope, [DRUG.kill_rate(t) for t in days], rtol=1e-12)


def test_log_kill_of_a_reference_dose():
    """alpha / beta: 0.286 for alpha = 0.2 and beta = 0.7 1/day, 24.9 % of the cells."""
    log_kill = float(Chemotherapy([0.0], 75.0, sensitivity=0.2, clearance_rate=0.7).exposure(0.0, 1e3))
    np.testing.assert_allclose(log_kill, 0.286, atol=5e-4)
    np.testing.assert_allclose(1 - np.exp(-log_kill), 0.249, atol=5e-4)


@pytest.mark.parametrize("solver", [None, diffrax.Tsit5()], ids=["splitting", "Tsit5"])
def test_twelve_weekly_doses(solver):
    """0.03250 of the cells survive to day 84 where nothing grows or moves."""
    model = FisherKPP(Domain(np.ones(4), (1.0,)), diffusivity=0.0, proliferation_rate=0.0)
    drug = Chemotherapy(7.0 * np.arange(12), 80.0, sensitivity=0.2, clearance_rate=0.7, reference_dose=80.0)
    state = simulate(model, Regimen([drug]), np.full(4, 0.6), [84.0], solver=solver).require_success().states[0]
    np.testing.assert_allclose(state / 0.6, 0.03250, atol=5e-6)


def test_burden_part_and_shift():
    assert DRUG.burden() == {"doses": 3, "total_dose_mg_m2": 285.0}
    part = DRUG.select(np.array([False, True, True])).shifted(4)
    np.testing.assert_allclose(part.exposure(0.0, 12.0), 0.3 / 1.7 * 2 * (1 - np.exp(-1.7 * 2.5)), rtol=1e-12)
    assert part.name == "temozolomide"


@pytest.mark.parametrize(
    ("times", "doses", "message"),
    [
        ([0.0, 1.0], [75.0, -75.0], "every dose must be"),
        ([np.nan], 75.0, r"every time \(day\) must be"),
        ([0.0, 1.0, 2.0], [75.0, 75.0], "3 times but 2 doses"),
    ],
)
def test_bad_doses_are_refused(times, doses, message):
    with pytest.raises(InputError, match=rf"^chemotherapy \(cisplatin\): .*{message}"):
        Chemotherapy(times, doses, drug="cisplatin")
