"""Likelihoods: residuals and density agree, densities are normalised, and levels are learned from residuals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from twinjax.domain import Domain
from twinjax.observation import (
    CellDensityObservation,
    CorrelatedModes,
    QuantityObservation,
    Readings,
)

# A ball of 1.5 x 1.5 x 3 mm voxels.
SPACING = (1.5, 1.5, 3.0)
DOMAIN = Domain(np.ones((14, 14, 7)), SPACING)
GRID = np.stack(np.meshgrid(*[np.arange(n) for n in DOMAIN.shape], indexing="ij"), axis=-1).reshape(-1, 3)
INDEX = np.flatnonzero((((GRID - [6.5, 6.5, 3.0]) * SPACING) ** 2).sum(axis=1) < 9.0**2)
BALL = GRID[INDEX]
LENGTH = 10.0
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def modes() -> CorrelatedModes:
    found = CorrelatedModes.of(BALL, SPACING, LENGTH)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def basis(modes):
    return np.asarray(jax.vmap(modes.expand, in_axes=1, out_axes=1)(jnp.eye(modes.eigenvalues.size)))


def covariance(basis, modes, white, correlated):
    outside = np.eye(len(BALL)) - basis @ basis.T
    smooth = (basis * np.asarray(modes.eigenvalues)) @ basis.T + float(modes.remainder) * outside
    return white**2 * np.eye(len(BALL)) + correlated**2 * smooth


def test_modes_are_orthonormal_and_hold_the_variance(modes, basis):
    np.testing.assert_allclose(basis.T @ basis, np.eye(modes.eigenvalues.size), atol=1e-8)
    np.testing.assert_allclose(np.trace(covariance(basis, modes, 0, 1)), len(BALL), rtol=1e-9)
    np.testing.assert_allclose(jax.vmap(modes.project)(jnp.asarray(basis.T)), np.eye(len(basis.T)), atol=1e-8)


def test_they_make_the_correlation_that_was_asked_for(modes, basis):
    distance = np.linalg.norm((BALL[:, None] - BALL) * SPACING, axis=-1)
    wanted = np.exp(-(distance**2) / (2 * LENGTH**2 / (2 * np.pi)))
    np.testing.assert_allclose(covariance(basis, modes, 0, 1), wanted, atol=0.1)
    assert np.sqrt(np.mean((covariance(basis, modes, 0, 1) - wanted) ** 2)) < 0.015


def test_coefficients_of_a_field_are_independent(modes, basis):
    exact = basis.T @ covariance(basis, modes, 0.3, 0.7) @ basis
    np.testing.assert_allclose(exact, np.diag(np.asarray(modes.deviations(0.3, 0.7)) ** 2), atol=1e-9)


def test_the_modes_of_a_field_have_the_density_of_their_normal_distribution(modes, basis):
    observation = CellDensityObservation(noise_std=0.05, discrepancy_std=0.1, correlation_length_mm=LENGTH)
    values, predicted = jnp.asarray(RNG.normal(size=len(BALL))), jnp.asarray(RNG.normal(size=len(BALL)))
    readings = observation.prepared(Readings(values), INDEX, DOMAIN)
    exact = basis.T @ covariance(basis, modes, 0.05, 0.1) @ basis
    expected = stats.multivariate_normal(basis.T @ np.asarray(predicted), exact).logpdf(basis.T @ np.asarray(values))
    np.testing.assert_allclose(observation.log_likelihood(readings, predicted), expected, rtol=1e-9)


def test_a_shift_of_all_voxels_is_one_datum_and_not_one_a_voxel(modes):
    """Of a mean over the ball the variance is that of its few correlation volumes."""
    even = jnp.ones(len(BALL))
    information = float(jnp.sum((modes.project(even) / modes.deviations(0.01, 1.0)) ** 2))
    volume = len(BALL) * np.prod(SPACING)
    assert 0.8 * volume / LENGTH**3 < information < 6 * volume / LENGTH**3 < 0.05 * len(BALL)


def test_a_region_too_large_for_its_modes_gets_a_longer_correlation(caplog):
    line = np.arange(20_000)[:, None]
    with caplog.at_level("INFO", "twinjax"):
        modes = CorrelatedModes.of(line, (1.0,), 3.0)
    assert modes is not None and modes.node.size <= 250
    assert "20000 voxels: correlation over" in caplog.text


@pytest.mark.parametrize(("spacing", "length"), [((8.0, 8.0, 8.0), 6.0), ((1.0, 1.0, 1.0), 1.0)], ids=str)
def test_voxels_larger_than_the_correlation_err_alone(spacing, length):
    assert CorrelatedModes.of(BALL, spacing, length) is None
    observation = CellDensityObservation(noise_std=0.3, discrepancy_std=0.4, correlation_length_mm=length)
    readings = observation.prepared(Readings(jnp.ones(len(BALL))), INDEX, Domain(np.ones(DOMAIN.shape), spacing))
    np.testing.assert_allclose(observation.residuals(readings, jnp.zeros(len(BALL))), 2.0, rtol=1e-12)
    density = stats.norm(0, 0.5).logpdf(1.0) * len(BALL)
    np.testing.assert_allclose(observation.log_likelihood(readings, jnp.zeros(len(BALL))), density, rtol=1e-12)


def test_both_levels_of_a_field_are_found_in_its_residuals(modes, basis):
    """From three days of synthetic errors, white 0.12 and smooth 0.2, where 0.05 each was stated."""
    observation = CellDensityObservation(noise_std=0.05, discrepancy_std=0.05, correlation_length_mm=LENGTH)
    root = np.linalg.cholesky(covariance(basis, modes, 0.12, 0.2))
    predicted = [jnp.zeros(len(BALL))] * 3
    readings = [Readings(jnp.asarray(root @ RNG.normal(size=len(BALL))), None, modes) for _ in predicted]
    found = observation.likeliest_levels(readings, predicted)
    assert found["noise_std"] == pytest.approx(0.12, rel=0.05)
    assert found["discrepancy_std"] == pytest.approx(0.2, rel=0.25)


def test_levels_are_never_below_what_was_stated(modes):
    observation = CellDensityObservation(noise_std=0.4, discrepancy_std=0.0, correlation_length_mm=LENGTH)
    small = Readings(jnp.asarray(RNG.normal(scale=0.01, size=len(BALL))), None, modes)
    found = observation.likeliest_levels([small], [jnp.zeros(len(BALL))])
    assert found == {"noise_std": pytest.approx(0.4), "discrepancy_std": 0.0}


PSA = QuantityObservation("psa_ng_ml")


@pytest.mark.parametrize(("side", "sign"), [(-1, 1), (1, -1)], ids=["below", "above"])
def test_what_could_not_be_told_has_the_probability_of_that(side, sign):
    limit = PSA.transform(jnp.array([0.1]))
    for predicted in np.log([0.02, 0.15, 5.0]):
        readings = Readings(limit, jnp.array([side]))
        chance = stats.norm.logcdf(sign * (float(limit[0]) - predicted) / 0.2)
        found = PSA.log_likelihood(readings, jnp.array([predicted]))
        np.testing.assert_allclose(found, chance, rtol=1e-6, atol=1e-10)
        slope = jax.grad(lambda p, r=readings: PSA.residuals(r, p[None])[0])(jnp.asarray(predicted))
        assert np.isfinite(slope)


def test_a_reading_among_limits_keeps_its_own_density():
    readings = Readings(jnp.array([1.0, 2.0]), jnp.array([0, -1]))
    expected = stats.norm(1.3, 0.2).logpdf(1.0) + stats.norm.logcdf((2.0 - 1.9) / 0.2)
    np.testing.assert_allclose(PSA.log_likelihood(readings, jnp.array([1.3, 1.9])), expected, rtol=1e-9)
    np.testing.assert_allclose(PSA.residuals(readings, jnp.array([1.3, 1.9]))[0], -1.5, rtol=1e-9)


def test_read_and_unread_together_are_a_distribution():
    """The density above a limit and the probability below it make one."""
    limit = 0.5
    read, _ = integrate.quad(
        lambda y: float(jnp.exp(PSA.log_likelihood(Readings(jnp.array([y])), jnp.array([0.6])))), limit, 2.0
    )
    below = Readings(jnp.array([limit]), jnp.array([-1]))
    assert read + float(jnp.exp(PSA.log_likelihood(below, jnp.array([0.6])))) == pytest.approx(1.0, abs=1e-6)


def test_scatter_is_found_with_and_without_limits():
    """Synthetic values of scatter 0.5 about 0, where 0.2 was stated, of which those below -0.3 could not be told."""
    truth = RNG.normal(scale=0.5, size=4000)
    plain = PSA.likeliest_levels([Readings(jnp.asarray(truth))], [jnp.zeros(truth.size)])
    assert plain["noise_std"] == pytest.approx(np.sqrt(np.mean(truth**2)), rel=1e-9)
    side = jnp.asarray(np.where(truth < -0.3, -1, 0))
    cut = Readings(jnp.asarray(np.maximum(truth, -0.3)), side)
    assert PSA.likeliest_levels([cut], [jnp.zeros(truth.size)])["noise_std"] == pytest.approx(0.5, rel=0.05)
    precise = Readings(jnp.asarray(truth / 100), side)
    assert PSA.likeliest_levels([Readings(precise.values)], [jnp.zeros(truth.size)])["noise_std"] == 0.2
