"""The extended Tofts model against closed forms, and its fit against known parameters."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from twinjax.core.errors import InputError
from twinjax.imaging.features import (
    concentration_from_signal,
    fit_perfusion,
    initial_area,
    parker_plasma,
    tofts_concentration,
)

TIMES = np.arange(60) * 5 / 60
KNOTS = np.arange(0, 5.001, 1 / 60)
PLASMA = np.asarray(parker_plasma(KNOTS, arrival_min=0.5))
NAMES = ("ktrans", "ve", "vp")
GRADIENT_ECHO = {"flip_angle_degrees": 20.0, "repetition_time_ms": 5.0, "relaxivity": 4.5}


def parameters_of(count, seed=0):
    rng = np.random.default_rng(seed)
    ranges = ((0.05, 0.4), (0.15, 0.6), (0.01, 0.1))
    return np.stack([rng.uniform(*ends, count) for ends in ranges], axis=1)


def curves(parameters):
    return np.asarray(jax.vmap(lambda p: tofts_concentration(p, TIMES, KNOTS, PLASMA))(jnp.asarray(parameters)))


def test_without_vessels_it_is_the_plain_tofts_model():
    # A bolus that decays as A exp(-m t), for which Tofts and Kermode 1991 give the curve in closed form.
    amplitude, decay, ktrans, ve = 2.0, 0.6, 0.25, 0.3
    knots = np.linspace(0, 5, 20001)
    found = tofts_concentration(np.array([ktrans, ve, 0.0]), TIMES, knots, amplitude * np.exp(-decay * knots))
    kep = ktrans / ve
    expected = ktrans * amplitude * (np.exp(-decay * TIMES) - np.exp(-kep * TIMES)) / (kep - decay)
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("kep", [1e-9, 1e-3, 0.4, 3.0, 200.0])
def test_the_integral_is_exact_for_a_plasma_linear_between_its_knots(kep):
    knots, plasma = np.array([0.0, 0.2, 0.5, 2.0, 4.0]), np.array([0.0, 3.0, 1.0, 0.7, 0.1])
    times, ve = np.array([0.1, 0.2, 0.9, 3.1, 4.0]), 0.4

    def integral(t):
        # A fast washout is a narrow kernel, so that only the last 60 of its widths count.
        start = max(0.0, t - 60 / kep)
        breaks = [*knots[(knots > start) & (knots < t)]]
        ends = [start, *breaks, t]
        pieces = itertools.pairwise(ends)
        return sum(
            quad(lambda s: np.interp(s, knots, plasma) * np.exp(-kep * (t - s)), *piece, epsabs=1e-13)[0]
            for piece in pieces
        )

    expected = 0.05 * np.interp(times, knots, plasma) + kep * ve * np.array([integral(t) for t in times])
    found = tofts_concentration(np.array([kep * ve, ve, 0.05]), times, knots, plasma)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.thorough
def test_gradient_is_that_of_finite_differences():
    weights = np.random.default_rng(0).normal(size=len(TIMES))
    at = np.array([0.2, 0.35, 0.04])

    def total(parameters):
        return jnp.dot(weights, tofts_concentration(parameters, TIMES, KNOTS, PLASMA))

    gradient = jax.grad(total)(jnp.asarray(at))
    for index, step in enumerate(1e-5 * at):
        shift = step * np.eye(3)[index]
        difference = (total(at + shift) - total(at - shift)) / (2 * step)
        assert float(gradient[index]) == pytest.approx(float(difference), rel=1e-6)


def test_the_gradient_reaches_the_arterial_input():
    def total(plasma):
        return jnp.sum(tofts_concentration(jnp.array([0.2, 0.35, 0.04]), TIMES, KNOTS, plasma))

    # The model is linear in the plasma.
    gradient = jax.grad(total)(jnp.asarray(PLASMA))
    assert float(jnp.dot(gradient, PLASMA)) == pytest.approx(float(total(PLASMA)), rel=1e-12)


def test_the_fit_recovers_what_made_the_curves():
    truth = parameters_of(700).reshape(7, 100, 3)
    series = curves(truth.reshape(-1, 3)).reshape(7, 100, -1).copy()
    series[3, 4, 5] = np.nan
    found = fit_perfusion(series, TIMES, KNOTS, PLASMA, arrival_min=0.5)
    assert np.isnan(found.values["ktrans"][3, 4]) and np.isnan(found.r_squared[3, 4])
    fitted = np.ones((7, 100), bool)
    fitted[3, 4] = False
    for index, name in enumerate(NAMES):
        np.testing.assert_allclose(found.values[name][fitted], truth[fitted][:, index], rtol=1e-6)
    np.testing.assert_allclose(found.values["kep"][fitted], (truth[..., 0] / truth[..., 1])[fitted], rtol=1e-6)
    assert found.r_squared[fitted].min() > 1 - 1e-9


def test_the_stated_intervals_hold_the_truth_under_noise():
    truth = parameters_of(1000, seed=1)
    noise = 0.01
    series = curves(truth) + np.random.default_rng(2).normal(0, noise, (1000, len(TIMES)))
    found = fit_perfusion(series, TIMES, KNOTS, PLASMA)
    truths = {**dict(zip(NAMES, truth.T, strict=True)), "kep": truth[:, 0] / truth[:, 1]}
    for name, true in truths.items():
        score = (found.values[name] - true) / found.standard_deviations[name]
        assert np.mean(np.abs(score) < 1.96) == pytest.approx(0.95, abs=0.02)
    assert found.noise.mean() == pytest.approx(noise, rel=0.02)


@pytest.mark.thorough
def test_no_vessels_are_found_where_there_are_none():
    truth = np.array([[0.2, 0.4, 0.0]])
    found = fit_perfusion(curves(truth), TIMES, KNOTS, PLASMA)
    assert found.values["vp"][0] == pytest.approx(0, abs=1e-4)
    assert found.values["ktrans"][0] == pytest.approx(0.2, rel=0.01)
    assert found.values["ve"][0] == pytest.approx(0.4, rel=0.01)


def test_rates_are_per_minute():
    # Three times slower in every respect, with a third of the rate.
    truth = np.array([0.3, 0.4, 0.05])
    slow = tofts_concentration(truth / [3, 1, 1], 3 * TIMES, 3 * KNOTS, PLASMA)
    np.testing.assert_allclose(slow, tofts_concentration(truth, TIMES, KNOTS, PLASMA), rtol=1e-9, atol=1e-12)
    found = fit_perfusion(np.asarray(slow)[None], 3 * TIMES, 3 * KNOTS, PLASMA)
    assert found.values["ktrans"][0] == pytest.approx(0.1, rel=1e-4)


def test_arterial_input_of_parker():
    fine = np.linspace(0, 10, 60001)
    blood = np.asarray(parker_plasma(fine, haematocrit=0.0))
    # At the height of the first Gaussian the other terms are small; figure 3 of the paper peaks near 6 mM.
    assert blood.max() == pytest.approx(6.0, abs=0.2) and fine[blood.argmax()] == pytest.approx(0.17, abs=0.01)
    # Long after the bolus only the exponential is left.
    assert blood[-1] == pytest.approx(1.050 * np.exp(-0.1685 * 10), rel=1e-9)
    np.testing.assert_allclose(parker_plasma(fine), blood / 0.58)
    late = np.asarray(parker_plasma(fine, arrival_min=1.0, haematocrit=0.0))
    assert (late[fine < 1] == 0).all() and late.max() == pytest.approx(blood.max())
    # The washout has begun by 2 min: the area from there on is that of the exponential.
    after = fine >= 2
    area = 1.050 / 0.1685 * (np.exp(-0.1685 * 2) - np.exp(-0.1685 * 10))
    assert np.trapezoid(blood[after], fine[after]) == pytest.approx(area, rel=1e-6)


def test_concentration_inverts_the_signal_of_a_spoiled_gradient_echo():
    concentration = np.concatenate([np.zeros(4), np.linspace(0, 5, 30)])
    t10 = np.array([1400.0, 900.0])
    rate = 1000 / t10[:, None] + 4.5 * concentration
    decay, angle = np.exp(-0.005 * rate), np.deg2rad(20)
    signal = np.array([[300.0], [70.0]]) * np.sin(angle) * (1 - decay) / (1 - np.cos(angle) * decay)
    found = concentration_from_signal(signal, baseline_images=4, t10_ms=t10, **GRADIENT_ECHO)
    np.testing.assert_allclose(found, np.broadcast_to(concentration, (2, 34)), rtol=1e-9, atol=1e-12)
    impossible = np.stack([np.r_[np.ones(4), 1e4], np.zeros(5)])
    found = concentration_from_signal(impossible, baseline_images=4, t10_ms=t10, **GRADIENT_ECHO)
    assert np.isnan(found[0, -1]) and np.isnan(found[1]).all()


def test_initial_area_of_a_ramp():
    series = np.maximum(TIMES - 0.5, 0)[None] * [[2.0], [4.0]]
    np.testing.assert_allclose(initial_area(series, TIMES, 90, arrival_min=0.5), [1.5**2, 2 * 1.5**2])
    # An end between two images.
    np.testing.assert_allclose(initial_area(series[0], TIMES, 61, arrival_min=0.5), (61 / 60) ** 2)
    assert np.isnan(initial_area(series, TIMES, 600)).all()


def test_perfusion_refuses():
    series = np.ones((2, len(TIMES)))
    with pytest.raises(InputError, match="times_min"):
        fit_perfusion(series, TIMES[:-1], KNOTS, PLASMA)
    with pytest.raises(InputError, match="plasma_times_min"):
        fit_perfusion(series, TIMES, KNOTS[::-1], PLASMA)
    with pytest.raises(InputError, match="cover"):
        fit_perfusion(series, TIMES, KNOTS[:200], PLASMA[:200])
    with pytest.raises(InputError, match="baseline_images"):
        concentration_from_signal(series, baseline_images=60, t10_ms=1000, **GRADIENT_ECHO)
    with pytest.raises(InputError, match="T10"):
        concentration_from_signal(series, baseline_images=3, t10_ms=0, **GRADIENT_ECHO)
