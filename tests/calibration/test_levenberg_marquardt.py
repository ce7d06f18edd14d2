"""Levenberg-Marquardt: recovery from another solver's data, and covariances that are known exactly."""

import jax
import jax.numpy as jnp
import line
import numpy as np
import pytest

from twinjax.calibration import Datum, InverseProblem, LevenbergMarquardt, Prior, levenberg_marquardt
from twinjax.core.errors import InputError
from twinjax.model import DensityField, FisherKPP
from twinjax.observation import PETObservation
from twinjax.treatment import Regimen

KEY = jax.random.key(0)


def test_growth_is_recovered_from_another_solver_on_a_finer_grid(laplace):
    assert laplace.diagnostics["verdict"] == "converged"
    assert laplace.map_estimate["diffusivity"] == pytest.approx(line.TRUTH["diffusivity"], rel=0.05)
    assert laplace.map_estimate["proliferation_rate"] == pytest.approx(line.TRUTH["proliferation_rate"], rel=0.02)


def test_the_interval_holds_the_truth(laplace):
    for name, (low, high) in laplace.credible_interval(0.95).items():
        assert low < line.TRUTH[name] < high


def linear_problem(noise_std=0.1, offset=0.0):
    """PET as background + scale u of a known density: a straight line, whose posterior is exactly normal."""
    index = np.arange(line.N)
    uptake = 0.5 + 1.4 * line.START + offset * np.where(index % 2, 1, -1)
    prior = Prior(
        {
            "background": {"distribution": ("normal", 0.2, 0.3), "where": "observation.pet.background"},
            "scale": {"distribution": ("normal", 0.8, 0.4), "where": "observation.pet.scale"},
        }
    )
    pet = PETObservation(noise_std=noise_std, discrepancy_std=0.0, correlation_length_mm=1.0)
    model, start = FisherKPP(line.DOMAIN), DensityField(jnp.asarray(line.START))
    problem = InverseProblem(model, Regimen(), start, {"pet": pet}, [Datum(0.0, "pet", uptake, index)], prior)
    # In z the prediction is 0.2 + 0.3 z0 + (0.8 + 0.4 z1) u.
    design = np.stack([np.full(line.N, 0.3), 0.4 * line.START], axis=1)
    precision = design.T @ design / noise_std**2 + np.eye(2)
    mean = np.linalg.solve(precision, design.T @ (uptake - 0.2 - 0.8 * line.START) / noise_std**2)
    return problem, mean, np.linalg.inv(precision)


def test_the_laplace_approximation_of_a_linear_problem_is_exact():
    problem, mean, covariance = linear_problem()
    _, mode = LevenbergMarquardt(estimate_noise=False, tolerance=1e-9).fit_mode(problem, key=KEY)
    assert bool(mode.converged)
    np.testing.assert_allclose(mode.z, mean, rtol=1e-6)
    np.testing.assert_allclose(mode.covariance, covariance, rtol=1e-9)
    np.testing.assert_allclose(mode.gradient, 0.0, atol=1e-5)


def test_draws_have_the_mean_and_covariance_of_the_posterior():
    problem, mean, covariance = linear_problem()
    posterior = LevenbergMarquardt(estimate_noise=False, draws=20_000).fit(problem, key=KEY)
    z = posterior.z.reshape(-1, 2)
    assert posterior.z.shape == (2, 10_000, 2)
    deviation = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(z.mean(0), mean, atol=0.03 * deviation.min())
    np.testing.assert_allclose(np.cov(z.T), covariance, atol=0.03 * np.diag(covariance).max())
    np.testing.assert_allclose(posterior.samples["scale"], 0.8 + 0.4 * posterior.z[..., 1], rtol=1e-12)


def test_independent_draws_are_all_effective_and_none_is_lost():
    problem, _, _ = linear_problem()
    posterior = LevenbergMarquardt(estimate_noise=False, draws=201).fit(problem, key=KEY)
    assert posterior.z.shape == (2, 101, 2)
    assert posterior.diagnostics["ess"] == {"background": 202, "scale": 202}
    assert posterior.diagnostics["r_hat"] is None
    assert "divergences" not in posterior.diagnostics
    assert [row["r_hat"] for row in posterior.rows()] == [None, None]


def test_draws_do_not_repeat_the_starts(monkeypatch):
    problem, mean, covariance = linear_problem()
    starts, descend = [], levenberg_marquardt._descend

    def recorded(problem, start, *arguments):
        starts.append(np.asarray(start))
        return descend(problem, start, *arguments)

    monkeypatch.setattr(levenberg_marquardt, "_descend", recorded)
    posterior = LevenbergMarquardt(estimate_noise=False, starts=2, draws=2, tolerance=1e-9).fit(problem, key=KEY)
    white = np.linalg.solve(np.linalg.cholesky(covariance), posterior.z[0, 0] - mean)
    assert len(starts) == 2 and starts[1].any()
    assert not np.allclose(white, 2 * starts[1], atol=1e-3)


def test_noise_is_estimated_from_the_residuals():
    """An alternating error of 0.3 where 0.1 was stated: the fit must say 0.3, and its interval be three times wider."""
    problem, _, covariance = linear_problem(offset=0.3)
    estimated, mode = LevenbergMarquardt().fit_mode(problem, key=KEY)
    assert float(estimated.tumor.observation["pet"].noise_std) == pytest.approx(0.3, rel=0.01)
    assert float(mode.covariance[0, 0] / covariance[0, 0]) == pytest.approx(9.0, rel=0.1)
    _, believed = LevenbergMarquardt(estimate_noise=False).fit_mode(problem, key=KEY)
    np.testing.assert_allclose(believed.covariance, covariance, rtol=1e-6)


def test_one_step_is_not_convergence_and_says_so():
    posterior = LevenbergMarquardt(max_steps=1, estimate_noise=False).fit(line.problem(), key=KEY)
    assert posterior.diagnostics["converged"] is False
    assert posterior.diagnostics["verdict"].startswith("NOT CONVERGED: Levenberg-Marquardt did not reach")


def test_the_same_key_gives_the_same_draws():
    problem, _, _ = linear_problem()
    method = LevenbergMarquardt(starts=2, draws=100)
    first, again = method.fit(problem, key=KEY), method.fit(problem, key=KEY)
    np.testing.assert_array_equal(first.z, again.z)
    other = method.fit(problem, key=jax.random.key(1))
    assert not np.array_equal(first.z, other.z)
    np.testing.assert_allclose(first.z_map, other.z_map, atol=1e-2)


def test_a_prior_median_that_cannot_be_solved_is_refused():
    start = DensityField(jnp.full(line.N, jnp.nan))
    good = line.problem()
    problem = InverseProblem(good.whole.model, Regimen(), start, good.whole.observation, list(good.data), good.prior)
    with pytest.raises(InputError, match="fails at the prior median"):
        LevenbergMarquardt().fit(problem, key=KEY)


@pytest.mark.parametrize("wrong", [{"starts": 0}, {"draws": 1}, {"max_steps": 0}], ids=str)
def test_settings_are_checked(wrong):
    with pytest.raises(InputError, match="must be >= 1"):
        LevenbergMarquardt(**wrong)


def test_a_fit_goes_on_from_a_mode_that_is_near():
    problem = line.problem()
    method = LevenbergMarquardt(estimate_noise=False)
    _, mode = method.fit_mode(problem, key=KEY)
    _, again = method.fit_mode(problem, key=KEY, start=mode.z + 0.05)
    assert again.converged and again.steps < mode.steps
    np.testing.assert_allclose(again.z, mode.z, atol=2e-2 * np.sqrt(np.diag(mode.covariance)).min())
    with pytest.raises(InputError, match="fails at the start"):
        method.fit_mode(problem, key=KEY, start=[np.nan, 0.0])


def test_the_mode_is_found_from_afar_and_no_step_goes_too_far(monkeypatch):
    """From starts of up to three prior deviations, where an undamped first step would leave the prior's range."""
    problem, expansion, tried = line.problem(), levenberg_marquardt.expansion_of, []

    def recorded(problem, z):
        tried.append(np.asarray(z))
        return expansion(problem, z)

    method = LevenbergMarquardt(estimate_noise=False)
    _, expected = method.fit_mode(problem, key=KEY)
    monkeypatch.setattr(levenberg_marquardt, "expansion_of", recorded)
    for start in ([3.0, -2.0], [-2.0, 3.0], [-3.0, -3.0]):
        tried.clear()
        mode = levenberg_marquardt._descend(problem, start, 1e-2, 40, levenberg_marquardt.FIRST_DAMPING)
        assert mode.converged, start
        np.testing.assert_allclose(mode.z, expected.z, atol=2e-2 * np.sqrt(np.diag(expected.covariance)).min())
        points = np.array(tried)
        # From wherever the descent stood, which is the start or one of the earlier trials.
        jumps = [np.abs(points[:i] - point).max(axis=1).min() for i, point in enumerate(points) if i]
        assert max(jumps) <= levenberg_marquardt.LONGEST_STEP + 1e-9


@pytest.mark.slow
def test_a_noise_level_may_be_a_parameter():
    """Its mode is that of the density, which has the normalisation; the others' keep the noise that was found."""
    problem, _, _ = linear_problem(offset=0.3)
    noise = {"noise": {"distribution": ("lognormal", 0.2, 1.0), "where": "observation.pet.noise_std"}}
    entries = {p.name: {"distribution": p.distribution, "where": p.where} for p in problem.prior.parameters}
    whole = problem.whole
    learned = InverseProblem(
        whole.model, Regimen(), whole.initial, whole.observation, list(problem.data), Prior(entries | noise)
    )
    found, mode = LevenbergMarquardt(tolerance=1e-6).fit_mode(learned, key=KEY)
    assert float(learned.prior.values(jnp.asarray(mode.z))["noise"]) == pytest.approx(0.3, rel=0.03)
    assert found.noise == learned.noise
    peak = -mode.cost - float(learned.least_cost)
    assert float(learned.log_density(jnp.asarray(mode.z))) == pytest.approx(peak, rel=1e-9)
    gradient = jax.grad(learned.log_density)(jnp.asarray(mode.z))
    np.testing.assert_allclose(gradient, 0.0, atol=1e-3)
    spread = np.sqrt(mode.covariance[2, 2])
    # ln(noise) of 60 data is known to 1 / sqrt(120); the Gauss-Newton curvature is three quarters of that.
    assert 1 / np.sqrt(120) < spread < 1.3 / np.sqrt(120)


def test_a_parameter_that_no_datum_shows_is_named():
    problem = line.problem({**line.GROWTH, **line.THRESHOLD})
    posterior = LevenbergMarquardt().fit(problem, key=KEY)
    assert posterior.diagnostics["converged"]
    assert posterior.diagnostics["warnings"][0].startswith(
        "no datum depends on threshold, whose posterior is the prior"
    )
    assert posterior.diagnostics["contraction"]["threshold"] == pytest.approx(0.0, abs=0.1)


def test_fewer_data_than_unknowns_is_said(laplace):
    few = line.problem(data=[Datum(30.0, "density", [0.5], [30])])
    assert few.effective_data == 1
    posterior = LevenbergMarquardt(draws=100).fit(few, key=KEY)
    assert posterior.diagnostics["warnings"] == [
        "1 independent data for 2 unknowns: the prior decides the rest; give more data, or fewer parameters"
    ]
    assert "WARNING: 1 independent data for 2 unknowns" in posterior.diagnostics["verdict"]
    assert laplace.diagnostics["warnings"] == []


def test_data_without_a_likelihood_are_named():
    """A deviation of zero makes every datum impossible; the solve is not to blame."""
    with pytest.raises(InputError, match="day 15: the 'density' data have the log likelihood .* at the prior median"):
        LevenbergMarquardt().fit(line.problem(noise_std=0.0), key=KEY)
