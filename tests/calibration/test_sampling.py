"""NUTS and importance sampling: they agree with each other and with Laplace, and say when not to be trusted."""

import jax
import line
import numpy as np
import pytest

from twinjax.calibration import ImportanceSampler, LevenbergMarquardt, NoUTurnSampler
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


def moments(posterior):
    z = posterior.z.reshape(-1, posterior.z.shape[-1])
    return z.mean(0), z.std(0)


def test_three_methods_agree(nuts, importance, normal):
    mean, deviation = moments(normal)
    for other in (nuts, importance):
        other_mean, other_deviation = moments(other)
        np.testing.assert_array_less(np.abs(other_mean - mean), 0.3 * deviation)
        np.testing.assert_allclose(other_deviation, deviation, rtol=0.2)
    np.testing.assert_array_less(np.abs(moments(nuts)[0] - moments(importance)[0]), 0.3 * deviation)


def test_diffusivity_and_proliferation_are_correlated_alike(nuts, importance, normal):
    """A front's speed is better known than its parts, so that the two trade off."""
    correlations = [np.corrcoef(p.z.reshape(-1, 2).T)[0, 1] for p in (nuts, importance, normal)]
    assert max(correlations) < -0.2
    assert np.ptp(correlations) < 0.2


def test_nuts_reports_what_it_did(nuts):
    d = nuts.diagnostics
    assert nuts.z.shape == (2, 150, 2)
    assert set(d["r_hat"]) == set(d["ess"]) == set(d["contraction"]) == set(nuts.names) == set(line.GROWTH)
    assert d["verdict"] == "converged"
    assert d["converged"] is True
    assert d["divergences"] == 0
    assert 0.6 < d["accept_probability"] <= 1
    assert d["gradients"] >= 300
    assert d["noise"] == {"density": pytest.approx(line.NOISE), "core": pytest.approx(0.2)}
    assert all(value < 1.05 for value in d["r_hat"].values())
    assert all(value > 100 for value in d["ess"].values())


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


def test_importance_sampling_says_when_its_proposal_is_wrong():
    """A mode that was never reached: the weights pile up on a few draws, and the shape of their tail tells."""
    lost = LevenbergMarquardt(max_steps=1, estimate_noise=False)
    posterior = ImportanceSampler(proposals=100, draws=101, progress=False, mode=lost).fit(PROBLEM, key=KEY)
    assert posterior.diagnostics["verdict"].startswith("NOT CONVERGED: Levenberg-Marquardt did not reach")
    assert "Pareto k" in posterior.diagnostics["verdict"]
    assert posterior.z.shape == (2, 51, 2)


@pytest.mark.parametrize(
    "make",
    [
        lambda: NoUTurnSampler(chains=1),
        lambda: NoUTurnSampler(samples=6),
        lambda: NoUTurnSampler(warmup=0),
        lambda: ImportanceSampler(proposals=99),
        lambda: ImportanceSampler(draws=99),
    ],
)
def test_settings_are_checked(make):
    with pytest.raises(InputError, match="at least"):
        make()
