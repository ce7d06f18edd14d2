"""A model whose error walks: the joint density of its readings, and what is expected after the last of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from twinjax.calibration import LevenbergMarquardt, Prior, course_problem
from twinjax.calibration.density import datum_log_likelihoods
from twinjax.calibration.rank_statistics import _simulated
from twinjax.calibration.residual import WALK_DAYS
from twinjax.calibration.walk import continued_walk, drawn_walk
from twinjax.core.errors import InputError
from twinjax.model import VolumeModel
from twinjax.patient import ClinicalCourse
from twinjax.twin.course import forecast_course

PRIOR = Prior({"rate": {"distribution": ["lognormal", 0.002, 0.5], "where": ["model.proliferation_rate"]}})
DAYS = np.array([0.0, 20.0, 35.0, 80.0, 120.0, 150.0])
VOLUMES = [2e4, 2.6e4, 2.4e4, 4.1e4, 6.5e4, 6.0e4]
WALK, NOISE = 0.3, 0.12
Z = jnp.array([0.4])


def problem(last="6e4", walk=WALK):
    """A synthetic patient; the start is no datum."""
    values = [*VOLUMES[:-1], last]
    course = ClinicalCourse("P", {"volume_mm3": (DAYS, values)}, source="synthetic")
    return course_problem(course, VolumeModel(), PRIOR, model_error=walk)


def errors(of):
    return np.concatenate([d.values - e for d, e in zip(of.data, of.predictions(Z)[0], strict=True)])


def covariance(days, others):
    return WALK**2 / WALK_DAYS * np.minimum.outer(days, others)


def test_the_density_is_that_of_correlated_normal_errors():
    of, days = problem(), DAYS[1:]
    joint = covariance(days, days) + NOISE**2 * np.eye(days.size)
    expected = stats.multivariate_normal(np.zeros(days.size), joint).logpdf(errors(of))
    assert float(of.log_likelihoods(Z).sum()) == pytest.approx(expected, rel=1e-9)
    residuals = of.residuals(Z)
    cost = float(0.5 * residuals @ residuals + of.least_cost)
    assert cost == pytest.approx(-float(of.log_density(Z)), rel=1e-9)
    # The padded problem that patients share says the same, reading by reading.
    np.testing.assert_allclose(datum_log_likelihoods(of, np.asarray(Z)[None])[0], of.log_likelihoods(Z), rtol=1e-9)


def test_a_reading_below_a_limit_counts_by_itself():
    of, days = problem(last="<5e4"), DAYS[1:-1]
    joint = covariance(days, days) + NOISE**2 * np.eye(days.size)
    found = errors(of)
    expected = stats.multivariate_normal(np.zeros(days.size), joint).logpdf(found[:-1])
    expected += stats.norm.logcdf(found[-1] / np.sqrt(WALK**2 * DAYS[-1] / WALK_DAYS + NOISE**2))
    assert float(of.log_likelihoods(Z).sum()) == pytest.approx(expected, rel=1e-9)


def test_a_forecast_begins_with_the_error_after_the_last_reading_and_grows():
    of, times = problem(), np.array([150.0, 160.0, 250.0])
    days = DAYS[1:]
    gain = covariance(times, days) @ np.linalg.inv(covariance(days, days) + NOISE**2 * np.eye(days.size))
    mean, left = gain @ errors(of), covariance(times, times) - gain @ covariance(days, times)
    keys = jax.random.split(jax.random.key(0), 20000)
    (observation,) = of.tumor.observation.values()
    expected = of.predictions(Z)[0]
    drawn = jax.vmap(lambda key: continued_walk(observation, of.data, expected, of.start, times, key))(keys)
    # Twenty thousand draws tell a mean to 0.007 deviations and a variance to one per cent.
    np.testing.assert_allclose(np.mean(drawn, axis=0), mean, atol=0.03 * np.sqrt(left[-1, -1]))
    np.testing.assert_allclose(np.cov(np.asarray(drawn).T), left, rtol=0.06)
    ahead = forecast_course(of.whole, of, np.repeat(np.asarray(Z)[None], 400, axis=0), times)
    right = forecast_course(of.whole, problem(walk=0.0), np.asarray(Z)[None], times)
    moved = np.log(ahead.quantities["volume_mm3"] + 1) - np.log(right.quantities["volume_mm3"] + 1)
    np.testing.assert_allclose(moved.mean(axis=0), mean, atol=4 * np.sqrt(left[-1, -1] / 400))
    np.testing.assert_allclose(moved.std(axis=0), np.sqrt(np.diag(left)), rtol=0.15)


def test_a_drawn_walk_has_its_covariance():
    keys = jax.random.split(jax.random.key(1), 20000)
    drawn = jax.vmap(lambda key: drawn_walk(jnp.asarray(DAYS[1:]), 0.0, WALK, key))(keys)
    np.testing.assert_allclose(np.cov(np.asarray(drawn).T), covariance(DAYS[1:], DAYS[1:]), rtol=0.06)


def test_simulated_readings_err_together():
    of, days = problem(), DAYS[1:]
    keys = jax.random.split(jax.random.key(2), 20000)
    values = jax.vmap(lambda key: jnp.concatenate(_simulated(of, Z, key)[0]))(keys)
    joint = covariance(days, days) + NOISE**2 * np.eye(days.size)
    np.testing.assert_allclose(np.cov(np.asarray(values).T), joint, rtol=0.06)


def test_the_scatter_found_goes_into_the_forecast_of_a_measurement():
    of = problem(walk=0.0)
    posterior = LevenbergMarquardt(draws=20).fit(of, key=jax.random.key(0))
    learned = posterior.diagnostics["noise"]["volume_mm3"]["noise_std"]
    ahead = forecast_course(posterior.problem.whole, posterior.problem, np.asarray(Z)[None], np.array([200.0]))
    assert learned > NOISE
    assert ahead.noise["volume_mm3"] == pytest.approx(learned)


def test_where_the_model_errs_the_scatter_is_that_of_readings():
    found = [
        LevenbergMarquardt(draws=20).fit(problem(walk=walk), key=jax.random.key(0)).diagnostics["noise"]["volume_mm3"]
        for walk in (0.0, WALK)
    ]
    assert found[0]["noise_std"] > found[1]["noise_std"] >= NOISE


def test_a_negative_error_is_refused():
    with pytest.raises(InputError, match="at least 0"):
        problem(walk=-0.1)
