"""A surrogate of the likelihood: how near it is, what it says of its error, and draws that its faults do not change."""

import equinox as eqx
import jax
import jax.numpy as jnp
import line
import numpy as np
import pytest

from twinjax.calibration import ImportanceSampler, LevenbergMarquardt, ResidualSurrogate, SurrogateSampler
from twinjax.calibration.curvature import residuals_and_jacobian
from twinjax.calibration.density import log_densities
from twinjax.core.errors import InputError

KEY = jax.random.key(3)
MODE = LevenbergMarquardt(estimate_noise=False)
# Long steps: how well the problem stands for the truth does not matter here.
PROBLEM = line.problem(max_step=5.0)
SETTINGS = {"expansions": 32, "rounds": 1, "added": 8, "members": 4, "width": 8, "progress": False, "mode": MODE}
SAMPLER = SurrogateSampler(samples=400, **SETTINGS)


@pytest.fixture(scope="module")
def mode():
    return MODE.fit_mode(PROBLEM, key=KEY)[1]


@pytest.fixture(scope="module")
def surrogate(mode):
    return SAMPLER.train(PROBLEM, mode, key=KEY)


@pytest.fixture(scope="module")
def posterior():
    return SAMPLER.fit(PROBLEM, key=KEY)


@pytest.fixture(scope="module")
def reference():
    return ImportanceSampler(proposals=1000, draws=1000, progress=False, mode=MODE).fit(PROBLEM, key=KEY)


def shift(posterior, reference):
    """How far the means and deviations are from the reference's, in its deviations."""
    z, other = (p.z.reshape(-1, p.z.shape[-1]) for p in (posterior, reference))
    return np.abs(z.mean(0) - other.mean(0)) / other.std(0), z.std(0) / other.std(0)


@pytest.mark.thorough
def test_the_density_of_posterior_draws_is_that_of_the_solver(surrogate, reference):
    z = reference.z.reshape(-1, PROBLEM.dimension)[:200]
    x = np.linalg.solve(np.asarray(surrogate.root), (z - np.asarray(surrogate.centre)).T).T
    # A draw in hundreds lies beyond what was seen, where the surrogate refuses.
    seen = np.linalg.norm(x, axis=1) <= float(surrogate.radius)
    assert seen.mean() > 0.98
    z, x = z[seen], x[seen]
    error = surrogate.log_densities(z) - log_densities(PROBLEM, z)
    assert np.quantile(np.abs(error), 0.9) < 0.1
    expected = np.asarray(jax.vmap(surrogate.error)(jnp.asarray(x)))
    assert np.mean(np.abs(error) <= expected) > 0.7


@pytest.mark.thorough
def test_its_gradient_is_that_of_differences_and_of_the_solver(surrogate, mode):
    x, h = jnp.asarray([0.7, -0.4]), 1e-5
    found = jax.grad(surrogate.log_density)(x)
    axes = np.eye(2)
    differences = [(surrogate.log_density(x + h * e) - surrogate.log_density(x - h * e)) / (2 * h) for e in axes]
    np.testing.assert_allclose(found, differences, rtol=1e-6)
    z = jnp.asarray(mode.z) + surrogate.root @ x
    residuals, along, _ = residuals_and_jacobian(PROBLEM, z, surrogate.root.T)
    np.testing.assert_allclose(found, -along @ residuals, atol=0.1)


@pytest.mark.thorough
def test_draws_are_those_of_the_posterior(posterior, reference):
    d = posterior.diagnostics
    assert d["verdict"] == "converged" and d["accepted"] > 0.8 and d["asked"] == 1.0
    assert d["surrogate_error_nats"] < 0.2 and d["expansions"] <= 40
    away, spread = shift(posterior, reference)
    assert (away < 0.2).all()
    np.testing.assert_allclose(spread, 1.0, atol=0.15)


@pytest.mark.thorough
def test_the_solver_corrects_a_surrogate_that_is_wrong_and_its_word_alone_does_not(
    monkeypatch, surrogate, posterior, reference
):
    wrong = eqx.tree_at(lambda s: s.centre, surrogate, surrogate.centre + 0.7 * surrogate.root[:, 0])
    monkeypatch.setattr(SurrogateSampler, "train", lambda *_, **__: wrong)
    corrected = SurrogateSampler(samples=800, **SETTINGS).fit(PROBLEM, key=KEY)
    believed = SurrogateSampler(samples=800, trusted=1e9, **SETTINGS).fit(PROBLEM, key=KEY)
    assert corrected.diagnostics["accepted"] < 0.8 * posterior.diagnostics["accepted"]
    assert (shift(corrected, reference)[0] < 0.25).all()
    assert believed.diagnostics["asked"] < 0.1
    assert shift(believed, reference)[0].max() > 0.5


@pytest.mark.thorough
def test_a_saved_surrogate_is_the_same_and_refuses_what_it_has_not_seen(surrogate, tmp_path):
    path = tmp_path / "tumor.surrogate"
    surrogate.save(path)
    again = ResidualSurrogate.load(path)
    z = np.asarray(surrogate.centre + 0.3 * surrogate.root[:, 0])[None]
    np.testing.assert_array_equal(again.log_densities(z), surrogate.log_densities(z))
    assert again.names == PROBLEM.prior.names
    far = np.asarray(surrogate.centre + 9.0 * surrogate.root[:, 0])[None]
    with pytest.raises(InputError, match="is asked at 9.0: ask the solver there"):
        again.log_densities(far)
    assert np.isinf(again.error(jnp.asarray([9.0, 0.0])))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="not a surrogate saved by twinjax, or damaged"):
        ResidualSurrogate.load(path)
    path.write_text("{}\n")
    with pytest.raises(InputError, match="not a surrogate saved by twinjax"):
        ResidualSurrogate.load(path)


@pytest.mark.thorough
def test_an_interrupted_run_goes_on_to_the_same_draws(posterior, tmp_path):
    method = SurrogateSampler(samples=400, checkpoint=str(tmp_path), **SETTINGS)
    method.fit(PROBLEM, key=KEY)
    for stage in ("expansions 1", "delayed acceptance"):
        (tmp_path / f"{stage}.ckpt").unlink()
    resumed = method.fit(PROBLEM, key=KEY)
    np.testing.assert_array_equal(resumed.z, posterior.z)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"chains": 1}, "at least 2 chains"),
        ({"members": 1}, "members must be at least 2"),
        ({"expansions": 8}, "expansions at least 4 a member"),
        ({"trusted": -1.0}, "trusted is an error in nats"),
    ],
    ids=str,
)
def test_what_cannot_be_asked(settings, message):
    with pytest.raises(InputError, match=message):
        SurrogateSampler(**settings)
