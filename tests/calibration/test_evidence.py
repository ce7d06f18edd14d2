"""The evidence: of a problem where it is known, by all methods that give it."""

import jax
import linear
import numpy as np
import pytest
from scipy import stats

from twinjax.calibration import ImportanceSampler, LevenbergMarquardt, TemperedMonteCarlo
from twinjax.calibration.evidence import log_mean_weight

KEY = jax.random.key(1)
PROBLEM = linear.problem()
MODE = LevenbergMarquardt(estimate_noise=False, tolerance=1e-6, starts=4)
METHODS = {
    "importance": ImportanceSampler(proposals=400, progress=False, mode=MODE),
    "smc": TemperedMonteCarlo(particles=200, runs=3, progress=False),
}


def test_that_of_laplace_is_exact_where_the_posterior_is_normal_and_all_starts_find_its_mode():
    d = MODE.fit(PROBLEM, key=KEY).diagnostics
    assert d["log_evidence"] == pytest.approx(linear.log_evidence(), abs=1e-6)
    assert d["log_evidence_error"] is None
    assert (d["starts"], d["modes_found"], d["mode_gap_nats"]) == (4, 1, None)
    assert d["verdict"] == "converged"


@pytest.mark.parametrize(
    "name", [pytest.param("importance", marks=pytest.mark.thorough), pytest.param("smc", marks=pytest.mark.slow)]
)
def test_the_others_agree_with_it_within_their_error(name):
    d = METHODS[name].fit(PROBLEM, key=KEY).diagnostics
    assert 0 < d["log_evidence_error"] < 0.15
    assert d["log_evidence"] == pytest.approx(linear.log_evidence(), abs=4 * d["log_evidence_error"])


def test_the_error_of_a_mean_weight_is_that_of_the_mean():
    rng = np.random.default_rng(0)
    draws = 2.0 + stats.gamma(3.0).rvs((2000, 50), random_state=rng)
    logs, errors = np.array([log_mean_weight(np.log(some) - 700) for some in draws]).T
    assert logs.mean() == pytest.approx(np.log(5.0) - 700, abs=0.002)
    assert errors.mean() == pytest.approx(logs.std(), rel=0.05)
