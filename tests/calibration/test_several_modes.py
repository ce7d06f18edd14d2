"""Two modes: what the methods that start from one miss, and tempered Monte Carlo finds."""

import jax
import mirror
import numpy as np
import pytest

from twinjax.calibration import LevenbergMarquardt, NoUTurnSampler, TemperedMonteCarlo, tempered
from twinjax.core.errors import InputError, MissingDependencyError

KEY = jax.random.key(2)
PROBLEM = mirror.problem()
MODE = LevenbergMarquardt(estimate_noise=False)


@pytest.fixture(scope="module")
def smc():
    return TemperedMonteCarlo(particles=300, runs=4, progress=False).fit(PROBLEM, key=KEY)


@pytest.mark.thorough
def test_tempered_monte_carlo_finds_both_modes_in_their_proportion(smc):
    left, right = mirror.mass(-40, 0), mirror.mass(0, 40)
    share = np.mean(smc.samples["shift"] < 0)
    # Runs of 300 particles differ in how many start on either side: four of them err by about 0.03.
    assert share == pytest.approx(left / (left + right), abs=0.09)
    assert 0.2 < left / (left + right) < 0.4
    found = smc.samples["shift"]
    assert np.median(found[found > 0]) == pytest.approx(mirror.APART, abs=0.2)
    assert np.median(found[found < 0]) == pytest.approx(-mirror.APART, abs=0.2)
    assert smc.diagnostics["verdict"] == "converged"


@pytest.mark.thorough
def test_the_evidence_is_that_of_quadrature(smc):
    d = smc.diagnostics
    assert 0 < d["log_evidence_error"] < 0.2
    exact = np.log(mirror.mass(-40, 0) + mirror.mass(0, 40))
    assert d["log_evidence"] == pytest.approx(exact, abs=4 * d["log_evidence_error"])
    assert len(d["log_evidence_of_runs"]) == 4


@pytest.mark.thorough
def test_it_counts_what_it_costs(smc):
    d = smc.diagnostics
    assert d["solves"] % (300 * 8) == 0
    # Descendants of one particle are not independent draws.
    assert 100 < d["ess"]["shift"] < 4 * 300
    assert d["ess_per_solve"] == pytest.approx(d["ess"]["shift"] / d["solves"])
    assert d["seconds_per_effective_draw"] == pytest.approx(d["seconds"] / d["ess"]["shift"])


@pytest.mark.thorough
def test_one_start_misses_a_mode():
    """Chains from one mode agree with each other: no diagnostic of theirs can tell."""
    posterior = NoUTurnSampler(samples=100, warmup=20, progress=False, mode=MODE).fit(PROBLEM, key=KEY)
    assert (posterior.samples["shift"] > 0).all()
    assert posterior.diagnostics["modes_found"] == 1


@pytest.mark.thorough
def test_several_starts_find_the_other_mode_and_doubt():
    posterior = LevenbergMarquardt(estimate_noise=False, starts=20).fit(PROBLEM, key=KEY)
    d = posterior.diagnostics
    assert (d["starts"], d["modes_found"]) == (20, 2)
    ratio = mirror.mass(0, 40) / mirror.mass(-40, 0)
    assert d["mode_gap_nats"] == pytest.approx(np.log(ratio), abs=0.1)
    assert "another mode has 0.3" in d["verdict"] and "calibrator=smc" in d["verdict"]
    assert not d["converged"]
    # Its evidence lacks the mode that it leaves out.
    assert d["log_evidence"] == pytest.approx(np.log(mirror.mass(0, 40)), abs=0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"runs": 1}, "runs must be at least 2"),
        ({"particles": 49}, "particles must be at least 50"),
        ({"draws": 99}, "draws at least 100"),
        ({"moves": 0}, "moves must be at least 1"),
        ({"target_ess": 1.0}, "target_ess lie between 0 and 1"),
    ],
    ids=str,
)
def test_settings_are_checked(settings, message):
    with pytest.raises(InputError, match=message):
        TemperedMonteCarlo(**settings)


def test_a_missing_package_is_named_before_anything_is_computed(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "blackjax", None)
    tempered._sampler.cache_clear()
    with pytest.raises(MissingDependencyError, match=r"'blackjax'.*twinjax\[bayes\]"):
        TemperedMonteCarlo(progress=False).fit(PROBLEM, key=KEY)
