"""A population: closed-form answers, the truth of synthetic cohorts, and what it hands to the next patient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from twinjax.calibration import (
    Cohort,
    IndependentResidual,
    PopulationForecast,
    PopulationModel,
    Prior,
    WalkingResidual,
    fit_population,
)
from twinjax.core.errors import InputError
from twinjax.model import SteinRegression, VolumeModel
from twinjax.observation import QuantityObservation
from twinjax.patient import ClinicalCourse
from twinjax.treatment import Radiotherapy, Regimen

DIAMETER, VOLUME = "diameter_mm", "volume_mm3"
GROWTH = Prior({"growth": {"distribution": ("lognormal", 0.01, 1.0), "where": ["model.growth_rate_per_week"]}})


def courses(count, rates, noise, days=range(0, 400, 50), seed=0):
    """Lesions that only grow, with Stein's curve: synthetic."""
    rng, days = np.random.default_rng(seed), np.asarray(days, float)
    made = []
    for i in range(count):
        sizes = 30 * np.exp(rates[i] * days / 7 + noise * rng.standard_normal(days.size) * (days > 0))
        made.append(ClinicalCourse(f"synthetic_{i}", {DIAMETER: (days, sizes)}, source="synthetic"))
    return made


def growing(made, residual, **settings):
    # Almost nothing decays: what is left of Stein's curve is exponential growth.
    model = SteinRegression(shrinkage_rate_per_week=1e-9)
    observation = QuantityObservation(DIAMETER, 0.05, 0.0)
    return PopulationModel(
        Cohort.from_courses(made, DIAMETER), model, observation, GROWTH, residual=residual, **settings
    )


def test_likelihood_of_readings_around_the_curve():
    """Against scipy's Student t, with the reading error added in variance; padding counts for nothing."""
    made = courses(1, [0.01], 0.05, days=[0, 40, 90]) + courses(1, [0.02], 0.05, days=[0, 30, 60, 200], seed=1)
    population = growing(made, IndependentResidual(freedom=5.0), reading_error=0.4)
    rate, scale = np.array([0.012, 0.018]), np.array([0.06, 0.03])
    found = population.log_likelihood(jnp.log(jnp.stack([jnp.asarray(rate), jnp.asarray(scale)], axis=1)))
    expected = []
    for course, r, s in zip(made, rate, scale, strict=True):
        days, sizes = course.measurements[DIAMETER]
        error = np.log(sizes) - np.log(sizes[0]) - r * days / 7
        expected.append(stats.t.logpdf(error, 5.0, scale=np.sqrt(s**2 + (0.4 / sizes) ** 2)).sum())
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.thorough
def test_likelihood_of_a_walking_error():
    """Only changes count, each by the square root of its time."""
    (course,) = made = courses(1, [0.01], 0.05, days=[0, 42, 210])
    population = growing(made, WalkingResidual(freedom=5.0))
    days, sizes = course.measurements[DIAMETER]
    change = np.diff(np.log(sizes)) - 0.012 * np.diff(days) / 7
    expected = stats.t.logpdf(change, 5.0, scale=0.06 * np.sqrt(np.diff(days) / 42)).sum()
    found = population.log_likelihood(jnp.log(jnp.array([[0.012, 0.06]])))
    np.testing.assert_allclose(found, [expected], rtol=1e-6)


@pytest.mark.thorough
def test_the_population_and_its_patients_are_found():
    """Forty synthetic lesions: median and spread within three standard errors, rates of patients near the truth."""
    count, median, spread = 40, 0.012, 0.5
    rates = median * np.exp(spread * np.random.default_rng(3).standard_normal(count))
    posterior = fit_population(
        growing(courses(count, rates, 0.05), IndependentResidual(freedom=30.0)),
        key=jax.random.key(0),
        points=200,
        rounds=5,
        draws=100,
    )
    assert posterior.diagnostics["converged"], posterior.diagnostics["verdict"]
    found_median, found_spread = posterior.medians()["growth"]
    assert abs(np.log(found_median / median)) < 3 * spread / np.sqrt(count)
    assert abs(found_spread / spread - 1) < 3 / np.sqrt(2 * count)
    assert posterior.medians()["error_scale"][0] == pytest.approx(0.05, rel=0.15)
    of_patients = np.exp(np.median(posterior.theta[..., 0], axis=0))
    assert np.median(np.abs(np.log(of_patients / rates))) < 0.1
    # The prior for the next patient is the population, no narrower than its spread.
    (parameter,) = posterior.prior().parameters
    law = parameter.distribution
    assert float(np.exp(law.loc)) == pytest.approx(found_median, rel=1e-6)  # pyright: ignore
    assert found_spread < float(law.scale) < 1.3 * found_spread  # pyright: ignore
    assert parameter.where == ("model.growth_rate_per_week",)


@pytest.mark.thorough
def test_a_patient_with_little_data_is_drawn_to_the_others():
    rates = np.full(20, 0.012)
    odd = ClinicalCourse("synthetic_odd", {DIAMETER: ([0.0, 7.0], [30.0, 33.0])}, source="synthetic")
    posterior = fit_population(
        growing([*courses(20, rates, 0.05), odd], IndependentResidual()),
        key=jax.random.key(0),
        points=300,
        rounds=3,
        draws=100,
    )
    alone = np.log(33 / 30)
    assert np.exp(np.median(posterior.theta[:, -1, 0])) < alone / 3


@pytest.mark.slow
def test_a_walk_is_forecast_from_the_last_reading():
    made = courses(12, np.full(12, 0.01), 0.08)
    posterior = fit_population(growing(made, WalkingResidual()), key=jax.random.key(0), points=200, rounds=3, draws=100)
    last = np.array([course.measurements[DIAMETER][1][-1] for course in made])
    day = np.full((12, 1), made[0].days[-1])
    forecast = posterior.forecast(np.hstack([day, day + 70]), key=jax.random.key(1))
    np.testing.assert_allclose(forecast.median[:, 0], last, rtol=1e-9)
    rate = np.exp(np.median(posterior.theta[..., 0], axis=0))
    np.testing.assert_allclose(forecast.median[:, 1], last * np.exp(10 * rate), rtol=1e-2)
    lower, upper = forecast.interval(0.9)
    assert (upper - lower)[:, 1].min() > (upper - lower)[:, 0].max()
    with pytest.raises(InputError, match="before a patient's last reading"):
        posterior.forecast(day - 1, key=jax.random.key(1))


def test_treated_patients_are_solved_side_by_side():
    """Each with doses of its own; the solver's curves against closed-form growth and survival."""
    made, dose_days = [], ([10.0, 40.0], [20.0, 30.0])
    for i, times in enumerate(dose_days):
        series = ([0.0, 60.0], [2e4, 1.5e4])
        made.append(ClinicalCourse(f"synthetic_{i}", {VOLUME: series}, Regimen([Radiotherapy(times, 2.0, alpha=0.1)])))
    model = VolumeModel(growth="logistic", carrying_capacity_mm3=1e12)
    prior = Prior({"rate": {"distribution": ("lognormal", 0.01, 1.0), "where": ["model.proliferation_rate"]}})
    population = PopulationModel(Cohort.from_courses(made, VOLUME), model, QuantityObservation(VOLUME, 0.1, 0.0), prior)
    curve = population.curves(jnp.log(jnp.array([[0.02, 0.1], [0.01, 0.1]])), jnp.array([[15.0, 60.0], [15.0, 60.0]]))
    fraction = 0.1 * 2 * 1.2
    expected = np.log(2e4) + np.array([[0.02 * 15 - fraction, 0.02 * 60 - 2 * fraction], [0.15, 0.6 - 2 * fraction]])
    np.testing.assert_allclose(curve, expected, rtol=1e-6)


def test_cohorts_that_cannot_be_solved_together_are_refused():
    plain = ClinicalCourse("a", {VOLUME: ([0.0], [1e4])})
    treated = ClinicalCourse("b", {VOLUME: ([0.0], [1e4])}, Regimen([Radiotherapy([1.0], 2.0)]))
    with pytest.raises(InputError, match="the same kinds of treatment"):
        Cohort.from_courses([plain, treated], VOLUME)
    with pytest.raises(InputError, match="patient a has no 'psa_ng_ml'"):
        Cohort.from_courses([plain], "psa_ng_ml")
    uniform = Prior({"rate": {"distribution": ("uniform", 0.0, 1.0), "where": ["model.proliferation_rate"]}})
    with pytest.raises(InputError, match="a population needs"):
        PopulationModel(Cohort.from_courses([plain], VOLUME), VolumeModel(), QuantityObservation(VOLUME), uniform)


def test_the_quantile_score_of_a_point_is_its_absolute_error():
    forecast = PopulationForecast(np.full((2, 1), 5.0), np.full((9, 2, 1), 5.0))
    np.testing.assert_allclose(forecast.quantile_score(np.array([[8.0], [1.0]])), [[3.0], [4.0]], rtol=1e-12)
