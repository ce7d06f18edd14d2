"""The low-rank Laplace posterior against dense linear algebra, and what a posterior of a field offers."""

import jax
import jax.numpy as jnp
import line
import numpy as np
import pytest

from twinjax.calibration import Datum, LevenbergMarquardt, LowRankLaplace, NewtonCG, Posterior, newton_cg
from twinjax.calibration.curvature import Expansion
from twinjax.calibration.low_rank import LowRankHessian, dominant_eigenpairs
from twinjax.calibration.newton_cg import steihaug
from twinjax.core.errors import InputError
from twinjax.twin import DigitalTwin

FIELD = {
    "diffusivity": line.GROWTH["diffusivity"] | {"field": {"correlation_length_mm": 8.0}},
    "proliferation_rate": line.GROWTH["proliferation_rate"],
}
EVERYWHERE = np.arange(line.N)


def of_data(densities):
    """The line with a field of D; one prior for all, so that all share the compiled programs."""
    data = [Datum(day, "density", u, EVERYWHERE) for day, u in zip(line.DAYS, densities, strict=True)]
    return line.problem(prior=PRIOR, data=data)


PRIOR = line.problem(FIELD).prior
DRAWS = 4000


@pytest.fixture(scope="module")
def fitted() -> Posterior:
    # So near that the last step, after the eigenpairs, leaves the Hessian what it is to the digits that are compared.
    return LowRankLaplace(mode=NewtonCG(estimate_noise=False, tolerance=0.05), draws=DRAWS).fit(
        of_data(line.DENSITIES), key=jax.random.key(0)
    )


@pytest.fixture(scope="module")
def dense(fitted):
    """(I + J^T J) at the mode, all of it."""
    expansion = Expansion(fitted.problem, fitted.z_map)
    return np.stack([expansion.product(v) for v in np.eye(fitted.z_map.size)], axis=1)


def spectrum(size=150, decay=0.7, largest=1e4):
    random = np.random.default_rng(1)
    values = largest * decay ** np.arange(size)
    vectors = np.linalg.qr(random.standard_normal((size, size)))[0]
    return values, vectors


def test_the_eigenpairs_are_those_of_the_dense_matrix():
    values, vectors = spectrum()
    applied = []

    def product(v):
        applied.append(v)
        return vectors @ (values * (vectors.T @ v))

    found = dominant_eigenpairs(product, 150, threshold=0.1, accuracy=1e-3, block=8, most=140)
    count = int((values > 0.1).sum())
    np.testing.assert_allclose(found.eigenvalues, values[:count], rtol=1e-5)
    np.testing.assert_allclose(found.vectors.T @ found.vectors, np.eye(count), atol=1e-12)
    overlap = np.abs(np.sum(found.vectors * vectors[:, :count], axis=0))
    assert overlap[:-5].min() > 1 - 1e-5
    assert found.residual < 1e-3 * (1 + values[0])
    assert found.next_eigenvalue == pytest.approx(values[count], rel=0.2)
    # The double pass of the randomised range finder would take two products for each of these and ten to spare.
    assert found.products == len(applied) < 2 * (count + 10)


def test_too_few_products_are_told():
    values, vectors = spectrum()
    found = dominant_eigenpairs(
        lambda v: vectors @ (values * (vectors.T @ v)), 150, threshold=0.1, accuracy=1e-3, block=8, most=20
    )
    assert found.products == 20
    assert found.next_eigenvalue > 0.1


def test_an_exhausted_space_is_exact():
    """Rank 3 of 10 unknowns: the space is the whole before it stops, and has nothing but rounding left."""
    random = np.random.default_rng(2)
    low = random.standard_normal((10, 3))
    found = dominant_eigenpairs(lambda v: low @ (low.T @ v), 10, threshold=0.01, accuracy=1e-8, block=4, most=50)
    np.testing.assert_allclose(found.eigenvalues, np.linalg.eigvalsh(low.T @ low)[::-1], rtol=1e-10)


def test_draws_and_variance_have_the_inverse_as_covariance():
    values, vectors = spectrum(size=40, decay=0.5, largest=50.0)
    hessian = LowRankHessian(values[:12], vectors[:, :12], 0.0, 0.0, 0)
    covariance = np.linalg.inv(np.eye(40) + vectors[:, :12] * values[:12] @ vectors[:, :12].T)
    root = hessian.sample(np.eye(40))
    np.testing.assert_allclose(root @ root.T, covariance, atol=1e-12)
    np.testing.assert_allclose(hessian.variance(), np.diag(covariance), atol=1e-12)
    rows = np.random.default_rng(0).standard_normal((5, 40))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(hessian.variance_of(lambda z: rows @ z), np.diag(rows @ covariance @ rows.T), atol=1e-12)
    assert hessian.information_gain == pytest.approx(-0.5 * np.linalg.slogdet(covariance)[1])


@pytest.mark.parametrize("radius", [100.0, 0.7])
def test_conjugate_gradients_find_the_step(radius):
    """The Newton step where it fits; else a step to the bound, which lowers the quadratic by what it says."""
    values, vectors = spectrum(size=30, decay=0.7, largest=100.0)
    hessian = np.eye(30) + vectors * values @ vectors.T
    gradient = vectors @ np.random.default_rng(3).standard_normal(30) * 5
    step = steihaug(lambda v: hessian @ v, gradient, radius, 1e-9, 60)
    newton = -np.linalg.solve(hessian, gradient)
    value = gradient @ step.change + 0.5 * step.change @ hessian @ step.change
    assert step.lowered == pytest.approx(-value, rel=1e-9)
    assert step.residual == pytest.approx(np.linalg.norm(hessian @ step.change + gradient), abs=1e-8)
    if step.bounded:
        assert np.linalg.norm(newton) > radius
        assert np.linalg.norm(step.change) == pytest.approx(radius)
    else:
        np.testing.assert_allclose(step.change, newton, atol=1e-8)
        assert step.distance == pytest.approx(np.sqrt(-gradient @ newton), rel=1e-6)


@pytest.mark.thorough
def test_hessian_products_agree_with_central_differences_of_the_gradient(fitted):
    """Of data that the model reproduces, for which the Hessian of Gauss and Newton is the Hessian."""
    z, direction = 0.5 * np.random.default_rng(4).standard_normal((2, fitted.z_map.size))
    problem = of_data(fitted.problem.simulate(jnp.asarray(z)).states)
    product = Expansion(problem, z).product(direction)
    h = 1e-3
    near, far = (
        Expansion(problem, z + s * direction).gradient - Expansion(problem, z - s * direction).gradient
        for s in (h, 2 * h)
    )
    np.testing.assert_allclose(product, (8 * near - far) / (12 * h), atol=1e-6 * np.abs(product).max())


@pytest.mark.thorough
def test_the_mode_is_stationary_and_found_in_few_products(fitted):
    expansion = Expansion(fitted.problem, fitted.z_map)
    assert fitted.diagnostics["converged"], fitted.diagnostics["verdict"]
    assert np.linalg.norm(expansion.gradient) < 0.2
    assert fitted.diagnostics["steps"] <= 10
    assert fitted.diagnostics["products_of_mode"] < fitted.z_map.size


@pytest.mark.thorough
def test_the_low_rank_posterior_is_the_dense_one(fitted, dense):
    """What is left out has eigenvalues below 0.1: covariances differ by less than 0.1 / 1.1."""
    covariance = np.linalg.inv(dense)
    kept = len(fitted.diagnostics["eigenvalues"])
    expected = np.linalg.eigvalsh(dense - np.eye(len(dense)))[::-1]
    assert 5 < kept < len(dense) / 2
    np.testing.assert_allclose(fitted.diagnostics["eigenvalues"], expected[:kept], rtol=5e-3)
    assert expected[kept] < 0.12
    z = fitted.z.reshape(-1, len(dense))
    spread = np.sqrt(np.diag(covariance))
    # Five standard errors of a mean, and of a variance besides what is left out.
    assert np.abs((z.mean(0) - fitted.z_map) / spread).max() < 5 / np.sqrt(DRAWS)
    ratio = z.var(0) / np.diag(covariance)
    assert 1 - 5 * np.sqrt(2 / DRAWS) < ratio.min() <= ratio.max() < 1.1 + 5 * np.sqrt(2 / DRAWS)
    whole = 0.5 * np.linalg.slogdet(dense)[1]
    missing = 0.5 * np.log1p(np.maximum(expected[kept:], 0)).sum()
    assert fitted.diagnostics["information_gain"] == pytest.approx(whole - missing, rel=1e-3)


@pytest.mark.thorough
def test_pointwise_moments_are_those_of_the_field(fitted, dense):
    found, axes = fitted.fields["diffusivity"], fitted.problem.tumor.axes()
    root = np.asarray(jax.vmap(lambda z: found.place(z, axes), out_axes=1)(jnp.eye(found.place.size)))
    block = fitted.problem.prior.blocks["diffusivity"]
    variance = np.diag(root @ np.linalg.inv(dense)[block, block] @ root.T)
    centre, sigma = np.log(0.3) + 0.5 * root @ fitted.z_map[block], 0.5 * np.sqrt(variance)
    np.testing.assert_allclose(found.mode, np.exp(centre), rtol=1e-10)
    np.testing.assert_allclose(found.mean, np.exp(centre + sigma**2 / 2), rtol=5e-3)
    std = found.mean * np.sqrt(np.expm1(sigma**2))
    np.testing.assert_allclose(found.std, std, rtol=0.05)
    # D shows at the fronts: not at the ends, where no cells come, and less in the middle, where the density is even.
    assert found.std[16:24].max() < 0.5 * found.std[[0, -1]].min()
    assert found.std[28:32].min() > 2 * found.std[16:24].min()


@pytest.mark.thorough
def test_a_field_is_found_and_its_rows_speak_of_the_tumor(fitted):
    truth = line.TRUTH["diffusivity"]
    assert fitted.map_estimate["diffusivity"] == pytest.approx(truth, rel=0.1)
    low, high = fitted.credible_interval(0.95)["diffusivity"]
    assert low < truth < high
    row = fitted.rows()[0]
    assert row["informed_by"] == "data"
    assert 0.5 < row["contraction"] < 1
    assert fitted.samples["diffusivity"].shape == (2, DRAWS // 2)
    assert fitted.whitened_mode.keys() == {"proliferation_rate"}


@pytest.mark.thorough
def test_the_evidence_is_that_of_the_dense_normal(fitted, dense):
    problem, z = fitted.problem, jnp.asarray(fitted.z_map)
    misfit = problem.log_likelihoods(z).sum()
    expected = float(misfit - 0.5 * z @ z) - 0.5 * np.linalg.slogdet(dense)[1]
    # What is left out of the information gain: a tenth of a nat.
    assert fitted.diagnostics["log_evidence"] == pytest.approx(expected, abs=0.3)


@pytest.mark.thorough
def test_a_posterior_of_a_field_comes_back_from_its_file(fitted, tmp_path):
    fitted.save(tmp_path / "posterior.nc")
    loaded = Posterior.load(tmp_path / "posterior.nc")
    np.testing.assert_array_equal(loaded.z_map, fitted.z_map)
    for kind, array in fitted.fields["diffusivity"].arrays().items():
        np.testing.assert_array_equal(loaded.fields["diffusivity"].arrays()[kind], array)
    # The problem of another correlation length, say, takes the field that the posterior was fitted with.
    longer = {**FIELD, "diffusivity": FIELD["diffusivity"] | {"field": {"correlation_length_mm": 12.0}}}
    attached = loaded.attach(line.problem(longer))
    assert attached.problem.prior.places == fitted.problem.prior.places
    assert attached.rows() == fitted.rows()
    with pytest.raises(InputError, match=r"the problem's fields are \[\], the posterior's \['diffusivity'\]"):
        loaded.attach(line.problem())


@pytest.mark.thorough
def test_a_twin_forecasts_with_the_field(fitted):
    twin = DigitalTwin(fitted.problem.whole.model, fitted.map_estimate, fitted.credible_interval(0.95))
    prediction = twin.predict(60.0, [45.0, 60.0], draws=8)
    assert prediction.failed_draws == 0
    low, _, high = prediction.interval("core_volume_mm3")
    assert (low < high).all()
    lower = (prediction.domain.shape[0] - line.N) // 2
    shown = line.DENSITIES[-1][-lower:lower] if lower else line.DENSITIES[-1]
    assert np.abs(prediction.density_mean[0] - shown).max() < 0.05


def test_a_failed_trial_step_is_refused(monkeypatch):
    """From a radius so large that the first step leads to a diffusivity no solve can follow."""
    monkeypatch.setattr(newton_cg, "FIRST_RADIUS", 1e3)
    even = of_data([np.full(line.N, u.mean()) for u in line.DENSITIES])
    _, mode = NewtonCG(estimate_noise=False, max_steps=12).fit_mode(even)
    assert mode.refused > 0
    assert mode.expansion.cost < Expansion(even, np.zeros(even.dimension)).cost
    assert np.isinf(Expansion(even, np.full(even.dimension, 60.0)).cost)


def test_too_many_unknowns_for_a_jacobian_are_refused():
    finer = {**FIELD, "diffusivity": FIELD["diffusivity"] | {"field": {"correlation_length_mm": 5.0}}}
    with pytest.raises(InputError, match=r"71 unknowns \(fields: diffusivity\).*take calibrator=low_rank_laplace"):
        LevenbergMarquardt().fit(line.problem(finer), key=jax.random.key(0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LowRankLaplace(block=0), "LowRankLaplace: block must be >= 1"),
        (lambda: LowRankLaplace(smallest_eigenvalue=0.0), "smallest_eigenvalue and accuracy must be positive"),
        (lambda: NewtonCG(tolerance=0.0), "NewtonCG: .*tolerance positive"),
    ],
    ids=["block", "eigenvalue", "tolerance"],
)
def test_settings_are_checked(make, message):
    with pytest.raises(InputError, match=message):
        make()
