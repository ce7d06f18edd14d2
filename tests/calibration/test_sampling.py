"""Samplers: they agree with each other and with Laplace, say what they cost, and when they are not to be trusted."""

import jax
import line
import mirror
import numpy as np
import pytest

from twinjax.calibration import (
    EnsembleSampler,
    ImportanceSampler,
    LevenbergMarquardt,
    NoUTurnSampler,
    Posterior,
    VariationalInference,
    density,
)
from twinjax.calibration.diagnostics import energy_information
from twinjax.core.errors import InputError

KEY = jax.random.key(3)
MODE = LevenbergMarquardt(estimate_noise=False)
# Long steps: here methods are compared on one problem, and how well it stands for the truth does not matter.
PROBLEM = line.problem(max_step=5.0)


@pytest.fixture(scope="module")
def normal():
    return LevenbergMarquardt(estimate_noise=False, draws=4000).fit(PROBLEM, key=KEY)


@pytest.fixture(scope="module")
def nuts():
    return NoUTurnSampler(samples=300, warmup=30, progress=False, mode=MODE).fit(PROBLEM, key=KEY)


@pytest.fixture(scope="module")
def importance():
    return ImportanceSampler(proposals=400, draws=1000, progress=False, mode=MODE).fit(PROBLEM, key=KEY)


@pytest.fixture(scope="module")
def ensemble():
    return EnsembleSampler(walkers=20, steps=400, warmup=100, progress=False, mode=MODE).fit(PROBLEM, key=KEY)


@pytest.fixture(scope="module")
def variational():
    return VariationalInference(progress=False, mode=MODE).fit(PROBLEM, key=KEY)


def moments(posterior):
    z = posterior.z.reshape(-1, posterior.z.shape[-1])
    return z.mean(0), z.std(0)


@pytest.mark.thorough
def test_all_methods_agree(nuts, importance, ensemble, variational, normal):
    mean, deviation = moments(normal)
    for other in (nuts, importance, ensemble, variational):
        other_mean, other_deviation = moments(other)
        np.testing.assert_array_less(np.abs(other_mean - mean), 0.3 * deviation)
        np.testing.assert_allclose(other_deviation, deviation, rtol=0.2)
    np.testing.assert_array_less(np.abs(moments(nuts)[0] - moments(importance)[0]), 0.3 * deviation)


@pytest.mark.thorough
def test_diffusivity_and_proliferation_are_correlated_alike(nuts, importance, normal):
    """A front's speed is better known than its parts, so that the two trade off."""
    correlations = [np.corrcoef(p.z.reshape(-1, 2).T)[0, 1] for p in (nuts, importance, normal)]
    assert max(correlations) < -0.2
    assert np.ptp(correlations) < 0.2


@pytest.mark.thorough
def test_nuts_reports_what_it_did(nuts):
    d = nuts.diagnostics
    assert nuts.z.shape == (2, 150, 2)
    assert set(d["r_hat"]) == set(d["ess"]) == set(d["contraction"]) == set(nuts.names) == set(line.GROWTH)
    assert d["verdict"] == "converged"
    assert d["converged"] is True
    assert d["divergences"] == 0
    assert 0.6 < d["accept_probability"] <= 1
    assert d["gradients"] >= 300
    assert d["noise"] == {
        "density": {"noise_std": pytest.approx(line.NOISE), "discrepancy_std": 0.0},
        "core": {"noise_std": pytest.approx(0.2)},
    }
    assert all(value < 1.05 for value in d["r_hat"].values())
    assert all(value > 100 for value in d["ess"].values())
    # Of all transitions, those of the warm-up too.
    assert d["gradients"] > 2 * (150 + 30)
    assert d["ess_per_gradient"] == pytest.approx(min(d["ess"].values()) / d["gradients"])
    assert d["seconds_per_effective_draw"] == pytest.approx(d["seconds"] / min(d["ess"].values()))
    assert 0.5 < d["e_bfmi"] < 2
    assert d["tree_depth_saturated"] == 0


@pytest.mark.slow
def test_chains_are_the_same_side_by_side_and_one_after_the_other(nuts):
    method = NoUTurnSampler(samples=300, warmup=30, chain_method="sequential", progress=False, mode=MODE)
    np.testing.assert_allclose(method.fit(PROBLEM, key=KEY).z, nuts.z, rtol=1e-6)


@pytest.mark.slow
def test_short_trajectories_are_a_doubt():
    method = NoUTurnSampler(samples=40, warmup=10, max_tree_depth=1, progress=False, mode=MODE)
    d = method.fit(PROBLEM, key=KEY).diagnostics
    assert d["tree_depth_saturated"] == 1
    assert "cut at max_tree_depth=1; raise it" in d["verdict"]


def test_the_energies_of_chains_that_walk_say_so():
    """Energies that change by little from draw to draw, beside ones that are drawn anew."""
    rng = np.random.default_rng(0)
    anew = rng.normal(size=(2, 500))
    assert energy_information(anew) == pytest.approx(2.0, abs=0.3)
    assert energy_information(np.stack([anew[0], np.cumsum(anew[1])])) < 0.1


@pytest.mark.slow
def test_gradients_of_both_modes_agree(monkeypatch):
    z = jax.numpy.array([0.3, -0.2])
    forward = jax.value_and_grad(lambda z: density.differentiable_log_density(PROBLEM, z))(z)
    monkeypatch.setattr(density, "MOST_FORWARD_ON_A_GRID", 1)
    reverse = jax.value_and_grad(lambda z: density.differentiable_log_density(PROBLEM, z))(z)
    assert float(forward[0]) == pytest.approx(float(reverse[0]), rel=1e-12)
    np.testing.assert_allclose(forward[1], reverse[1], rtol=1e-6)


def test_the_ensemble_reports_what_it_did(ensemble):
    d = ensemble.diagnostics
    assert ensemble.z.shape == (20, 400, 2)
    assert d["solves"] == 2 * 20 * 500
    assert 0.2 < d["acceptance"] < 0.9
    assert d["verdict"] == "converged"


def test_the_ensemble_needs_no_gradient_and_finds_the_mode(ensemble):
    free = EnsembleSampler(walkers=20, steps=20, warmup=100, progress=False).fit(PROBLEM, key=KEY)
    deviation = moments(ensemble)[1]
    np.testing.assert_array_less(np.abs(free.z_map - ensemble.z_map), deviation)
    assert "jacobians" not in free.diagnostics


def test_variational_inference_reports_what_it_did(variational, importance):
    d = variational.diagnostics
    assert variational.z.shape == (2, 500, 2)
    assert d["plateau"] and d["steps"] < 2000
    assert d["gradients"] == 4 * d["steps"]
    assert d["pareto_k"] < 0.7
    error = np.hypot(d["log_evidence_error"], importance.diagnostics["log_evidence_error"])
    assert d["log_evidence"] == pytest.approx(importance.diagnostics["log_evidence"], abs=4 * error)
    # The ELBO is a bound, up to the noise of the last steps, and a near one for a near-normal posterior.
    assert d["log_evidence"] - 0.2 < d["elbo"] < d["log_evidence"] + 4 * d["log_evidence_error"] + 0.03
    assert d["verdict"] == "converged"
    assert variational.curves["SVI"].shape == (d["steps"],)


def test_a_guide_that_is_far_off_is_not_passed_off():
    lost = LevenbergMarquardt(max_steps=1, estimate_noise=False)
    method = VariationalInference(steps=50, progress=False, mode=lost)
    posterior = method.fit(PROBLEM, key=KEY)
    verdict, losses = posterior.diagnostics["verdict"], posterior.curves["SVI"]
    assert "the multivariate guide is not near the posterior (Pareto k" in verdict
    assert "the ELBO still rose after 50 steps" in verdict and losses[-10:].mean() < losses[:10].mean()


@pytest.mark.slow
@pytest.mark.parametrize("guide", ["normal", "low_rank", "flow"])
def test_other_guides_agree_too(guide, normal):
    posterior: Posterior = VariationalInference(guide=guide, progress=False, mode=MODE).fit(PROBLEM, key=KEY)
    mean, deviation = moments(normal)
    assert posterior.diagnostics["verdict"] == "converged"
    np.testing.assert_array_less(np.abs(moments(posterior)[0] - mean), 0.3 * deviation)


def test_importance_sampling_reports_what_it_did(importance):
    d = importance.diagnostics
    assert importance.z.shape == (2, 500, 2)
    assert d["verdict"] == "converged"
    assert d["pareto_k"] < 0.7
    assert d["solver_failures"] == 0
    # Resampled draws are no chains.
    assert d["r_hat"] is None
    # No more effective draws than proposals, and a near-normal posterior wastes few of them.
    assert all(200 < value <= 400 for value in d["ess"].values())


def test_too_few_samples_are_not_passed_off_as_a_posterior_and_repeat_exactly():
    method = NoUTurnSampler(samples=8, warmup=1, progress=False, mode=MODE)
    first, again = (method.fit(PROBLEM, key=KEY) for _ in range(2))
    assert first.diagnostics["converged"] is False
    assert first.diagnostics["verdict"].startswith("NOT CONVERGED")
    assert "effective draws" in first.diagnostics["verdict"]
    np.testing.assert_array_equal(first.z, again.z)


def test_importance_sampling_finds_what_a_mode_that_was_never_reached_misses(normal):
    lost = LevenbergMarquardt(max_steps=1, estimate_noise=False)
    posterior = ImportanceSampler(proposals=100, effective=50, draws=101, progress=False, mode=lost).fit(
        PROBLEM, key=KEY
    )
    assert posterior.diagnostics["verdict"].startswith("NOT CONVERGED: Levenberg-Marquardt did not reach")
    mean, deviation = moments(normal)
    np.testing.assert_array_less(np.abs(moments(posterior)[0] - mean), 0.5 * deviation)
    assert posterior.z.shape == (2, 51, 2)


@pytest.mark.parametrize(
    "make",
    [
        lambda: NoUTurnSampler(chains=1),
        lambda: NoUTurnSampler(samples=6),
        lambda: NoUTurnSampler(warmup=0),
        lambda: ImportanceSampler(proposals=99),
        lambda: ImportanceSampler(draws=99),
        lambda: NoUTurnSampler(max_tree_depth=0),
        lambda: VariationalInference(steps=49),
        lambda: VariationalInference(particles=0),
        lambda: VariationalInference(proposals=99),
        lambda: EnsembleSampler(walkers=2),
        lambda: EnsembleSampler(steps=3),
        lambda: EnsembleSampler(warmup=0),
    ],
)
def test_settings_are_checked(make):
    with pytest.raises(InputError, match="at least"):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NoUTurnSampler(chain_method="sidewise"), "chain_method is one of auto, vectorized"),
        (lambda: NoUTurnSampler(chains=99, chain_method="parallel", samples=999), "needs 99 devices, one a chain"),
        (lambda: NoUTurnSampler(target_accept=1.0), "target_accept lies between 0 and 1"),
        (lambda: ImportanceSampler(effective=501), "500 proposals cannot hold effective=501"),
        (lambda: VariationalInference(guide="student"), "guide is one of normal, low_rank, multivariate, flow"),
        (lambda: VariationalInference(learning_rate=0.0), "learning_rate positive"),
        (lambda: EnsembleSampler(walkers=21), "an even number"),
    ],
)
def test_settings_that_contradict_each_other_are_named(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_method_says_where_the_problem_does_not_suit_it():
    with pytest.raises(InputError, match="4 parameters need at least 8 walkers, got 4"):
        EnsembleSampler(walkers=4, progress=False).fit(line.treated_problem(), key=KEY)
    with pytest.raises(InputError, match="guide='flow' needs two parameters"):
        VariationalInference(guide="flow", progress=False).fit(mirror.problem(), key=KEY)
