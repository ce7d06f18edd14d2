"""The physics-informed network: its derivatives, its jumps, its equation, and what it finds on the tumour on a line."""

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import line
import numpy as np
import pytest

from twinjax.calibration import Datum, InverseProblem, ParameterEstimator, PhysicsInformedNetwork, Prior, iteration
from twinjax.calibration.damped_step import damped_solutions, linearised
from twinjax.calibration.network_density import NetworkDensity, Points
from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.model import DensityField, FisherKPP, Forcing, InitialSize, LungTumor, TripleNegativeBreast, VolumeModel
from twinjax.network import pirate_net
from twinjax.observation import CellDensityObservation, QuantityObservation
from twinjax.treatment import Chemotherapy, Radiotherapy, Regimen, Resection

KEY = jax.random.key(0)
SETTINGS = {"estimate_noise": False, "progress": False, "width": 10, "batch": 800}
TREATED = Regimen(
    [Radiotherapy([20.0, 21.0], 2.0), Chemotherapy([18.3, 25.0], 75.0, sensitivity=0.5, clearance_rate=2.0)]
)


def somewhere(inputs: int):
    """A network that is not zero."""
    network = pirate_net(inputs, width=6, seed=3)
    leaves, tree = jax.tree.flatten(network)
    keys = jax.random.split(jax.random.key(7), len(leaves))
    return jax.tree.unflatten(
        tree, [x + 0.2 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    )


@eqx.filter_jit
def states(density, network, equation, days):
    return density.states(network, equation, jnp.asarray(days))


@eqx.filter_jit
def residuals(density, network, equation, day):
    """In every voxel of the tissue."""
    points = Points(density.inside, jnp.full(density.inside.shape, day))
    return jax.vmap(lambda point: density.residual(network, network, equation, point))(points)


def plane(regimen=TREATED, growth="logistic") -> InverseProblem:
    """A ragged plane of two tissues."""
    rng = np.random.default_rng(0)
    mask = rng.random((9, 8)) < 0.85
    white = rng.random((9, 8)) < 0.5
    domain = Domain(mask, (1.0, 1.5), white_matter=white, grey_matter=~white)
    start = np.where(mask, 0.1 + 0.6 * rng.random((9, 8)), 0.0)
    observation = CellDensityObservation(noise_std=0.1, discrepancy_std=0.0, correlation_length_mm=1.0)
    datum = Datum(30.0, "density", start[mask], np.flatnonzero(mask))
    return InverseProblem(
        FisherKPP(domain, diffusivity=0.4, proliferation_rate=0.05, growth=growth),
        regimen,
        DensityField(jnp.asarray(start)),
        {"density": observation},
        [datum],
        Prior(line.GROWTH),
    )


@pytest.mark.parametrize("growth", ["logistic", pytest.param("gompertz", marks=pytest.mark.thorough)])
def test_the_residual_is_that_of_the_models_own_equation(growth):
    """Against u_t by central differences in time and the model's vector field on the whole grid."""
    problem = plane(growth=growth)
    density = NetworkDensity(problem)
    network, tumor = somewhere(density.inputs), problem.tumor
    equation, day, h = density.equation(tumor), 18.7, 1e-4
    before, here, after = states(density, network, equation, [day - h, day, day + h])
    forcing = Forcing(tumor.regimen.kill_rate(day), tumor.model.transport(None))
    missing = (after - before) / (2 * h) - tumor.model.vector_field(day, here, forcing)
    found = residuals(density, network, equation, jnp.asarray(day))
    share = jax.nn.sigmoid(density.logit(network, equation, density.inside, day))
    # What the residual of u is of that of the logit.
    slope = jax.jvp(lambda s: density.flow(equation, s, day), (share,), (share * (1 - share),))[1]
    expected = missing.ravel()[density.inside] / slope * jnp.sqrt(here.ravel()[density.inside] + 1e-9)
    np.testing.assert_allclose(found, expected, atol=1e-6 * float(jnp.abs(expected).max()))


def test_a_fraction_is_an_exact_jump_and_the_rest_is_smooth_across_it():
    problem = plane(Regimen(TREATED.impulsive))
    density, fraction = NetworkDensity(problem), problem.tumor.regimen.impulsive[0]
    network, equation = somewhere(density.inputs), density.equation(problem.tumor)
    # A scan on the day of a dose sees the state before it.
    on_the_day, just_after = states(density, network, equation, [20.0, 20.0 + 1e-9, 29.0])[:2]
    survival = float(fraction.survival(0, on_the_day))
    assert survival < 0.95
    np.testing.assert_allclose(just_after, survival * on_the_day, rtol=1e-8)
    before, after = (residuals(density, network, equation, jnp.asarray(day)) for day in (20.0, 20.0 + 1e-9))
    # It counts by the square root of the density; its own value does not jump.
    np.testing.assert_allclose(after, np.sqrt(survival) * before, rtol=1e-4, atol=1e-8)


def test_the_initial_condition_holds_and_no_cell_leaves():
    problem = plane()
    density = NetworkDensity(problem)
    network, equation = somewhere(density.inputs), density.equation(problem.tumor)
    first, _, later = states(density, network, equation, [0.0, 10.0, 29.0])
    mask = np.asarray(problem.tumor.model.domain.mask)
    np.testing.assert_allclose(first, problem.tumor.state0(), atol=2e-9)
    assert (np.asarray(later)[~mask] == 0).all()
    assert 0 < np.asarray(later)[mask].min() <= np.asarray(later).max() < 1
    neighbours, exchange = equation.operator.stencil(density.inside)
    flow = jnp.sum(exchange * (later.ravel()[neighbours] - later.ravel()[density.inside][:, None]), axis=1)
    np.testing.assert_allclose(flow, equation.operator(later).ravel()[density.inside], atol=1e-14)


@pytest.mark.thorough
def test_derivatives_of_the_residual_are_those_of_differences():
    problem = plane()
    density = NetworkDensity(problem)
    network, equation = somewhere(density.inputs), density.equation(problem.tumor)
    weights, unravel = jax.flatten_util.ravel_pytree(network)
    points = density.points(KEY, 40)

    def residual(weights, point):
        return density.residual(unravel(weights), network, equation, point)

    _, jacobian = jax.jit(lambda w: linearised(residual, w, points))(weights)
    direction = jnp.asarray(np.random.default_rng(1).standard_normal(weights.size))
    values = jax.jit(lambda w: jax.vmap(residual, (None, 0))(w, points))
    h = 1e-5
    numeric = (values(weights + h * direction) - values(weights - h * direction)) / (2 * h)
    np.testing.assert_allclose(jacobian @ direction, numeric, atol=1e-6 * float(jnp.abs(numeric).max()))


def test_a_damped_step_is_that_of_dense_least_squares():
    rng = np.random.default_rng(2)
    jacobian, right = rng.standard_normal((30, 7)), rng.standard_normal((30, 2))
    stacked = np.concatenate([jacobian / np.sqrt(30), np.sqrt(0.3) * np.eye(7)])
    expected = np.linalg.lstsq(stacked, -np.concatenate([right / np.sqrt(30), np.zeros((7, 2))]), rcond=None)[0]
    np.testing.assert_allclose(damped_solutions(jnp.asarray(jacobian), 0.3, jnp.asarray(right)), expected, atol=1e-12)


@pytest.fixture(scope="module")
def fitted():
    return PhysicsInformedNetwork(**SETTINGS, steps=60).fit(line.problem(), key=KEY)


@pytest.mark.thorough
def test_it_finds_what_levenberg_marquardt_finds(fitted, laplace):
    diagnostics = fitted.diagnostics
    assert diagnostics["converged"], diagnostics["verdict"]
    assert diagnostics["relative_l2_error"] < 1e-3
    for name, value in laplace.mode.items():
        assert fitted.mode[name] == pytest.approx(value, rel=0.01)
    # The profile of the network against the solver's Jacobian, within the scatter of 1000 draws each.
    for name in laplace.samples:
        assert fitted.samples[name].std() == pytest.approx(laplace.samples[name].std(), rel=0.2)


@pytest.mark.thorough
def test_the_curve_of_its_training_falls_to_the_residual_that_it_tells(fitted):
    assert list(fitted.curves) == ["PINN"]
    losses = fitted.curves["PINN"]
    assert losses.shape == (fitted.diagnostics["steps"],)
    assert losses[-1] == pytest.approx(fitted.diagnostics["residual"]) and losses[-1] < 0.1 * losses[0]


@pytest.mark.thorough
def test_an_interrupted_training_goes_on_to_the_same_bits(fitted, tmp_path, monkeypatch):
    block, calls = iteration._block, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return block(*arguments)

    method = PhysicsInformedNetwork(**SETTINGS, steps=60, checkpoint=str(tmp_path))
    monkeypatch.setattr(iteration, "_block", interrupted)
    with pytest.raises(KeyboardInterrupt):
        method.fit(line.problem(), key=KEY)
    resumed = method.fit(line.problem(), key=KEY)
    # Six blocks: three before, and three after.
    assert len(calls) == 7
    np.testing.assert_array_equal(resumed.z_map, fitted.z_map)
    np.testing.assert_array_equal(resumed.z, fitted.z)
    np.testing.assert_array_equal(resumed.curves["PINN"], fitted.curves["PINN"])


def test_a_network_that_is_far_from_the_solver_says_so():
    posterior = PhysicsInformedNetwork(**SETTINGS, steps=2).fit(line.problem(), key=KEY)
    assert not posterior.diagnostics["converged"]
    assert "% (relative L2) from the solver's with the same parameters" in posterior.diagnostics["verdict"]


@pytest.mark.slow
def test_radiosensitivity_and_a_threshold_of_visibility_are_found_too():
    from twinjax.calibration import LevenbergMarquardt

    problem = line.treated_problem()
    _, mode = LevenbergMarquardt(estimate_noise=False).fit_mode(problem, key=KEY)
    posterior = PhysicsInformedNetwork(**SETTINGS, steps=150).fit(problem, key=KEY)
    assert posterior.diagnostics["converged"], posterior.diagnostics["verdict"]
    away = posterior.z_map - mode.z
    assert np.sqrt(away @ np.linalg.solve(mode.covariance, away)) < 0.2


def volume_problem() -> InverseProblem:
    prior = Prior({"rate": {"distribution": ("lognormal", 0.02, 0.5), "where": "model.proliferation_rate"}})
    observation = QuantityObservation("volume_mm3")
    data = [Datum(20.0, "volume_mm3", observation.transform(120.0))]
    return InverseProblem(VolumeModel(), Regimen(), InitialSize(100.0), {"volume_mm3": observation}, data, prior)


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (volume_problem, "one cell density on a grid .*, not VolumeModel: take calibrator=laplace or importance"),
        (lambda: line.problem(model=TripleNegativeBreast(line.DOMAIN)), "not TripleNegativeBreast"),
        (
            lambda: line.problem(model=FisherKPP(line.DOMAIN, diffusivity=np.full(line.N, 0.1)), prior=line.THRESHOLD),
            "differ from place to place: take calibrator=low_rank_laplace",
        ),
        (
            lambda: line.problem(regimen=Regimen([Resection(5.0, np.arange(line.N) < 9)])),
            "kill the same share everywhere, not resection: take calibrator=laplace",
        ),
        (lambda: line.problem(data=[Datum(0.0, "density", [0.5], [30])]), "all data are of the day of the start"),
    ],
    ids=["no space", "several parts", "fields", "operation", "no time"],
)
def test_what_it_does_not_describe_is_refused(problem, message):
    with pytest.raises(InputError, match=message):
        PhysicsInformedNetwork(**SETTINGS).fit(problem(), key=KEY)


def test_other_models_of_one_density_are_described():
    model = LungTumor(line.DOMAIN, diffusivity=0.5, proliferation_rate=0.05)
    assert NetworkDensity(line.problem(model=model)).inputs == 6


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"batch": 0}, "batch must be >= 1"), ({"frequency": 0.0}, "frequency and tolerance must be positive")],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(InputError, match=message):
        PhysicsInformedNetwork(**settings)


def test_the_estimator_takes_it_by_name():
    assert isinstance(ParameterEstimator(optimization="pinn").calibrator, PhysicsInformedNetwork)
