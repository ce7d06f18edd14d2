"""`InverseProblem`: misfit and density agree, gradients are exact, and unfit data are refused at the door."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import line
import numpy as np
import pytest

from twinjax.calibration import Datum, InverseProblem, Prior
from twinjax.core.errors import InputError
from twinjax.model import DensityField, FisherKPP
from twinjax.observation import CellDensityObservation, LogVolumeObservation, SegmentationObservation
from twinjax.observation.segmentation import marked_part
from twinjax.treatment import Regimen

EVERYWHERE = np.arange(line.N)
POINTS = np.random.default_rng(1).normal(scale=0.7, size=(3, 4))


@pytest.fixture(scope="module")
def treated():
    return line.treated_problem()


def central(function, z, step=1e-5):
    """Central differences, Richardson extrapolated: fourth order."""
    columns = []
    for i in range(len(z)):
        unit = jnp.zeros(len(z)).at[i].set(step)
        near = (function(z + unit) - function(z - unit)) / (2 * step)
        far = (function(z + 2 * unit) - function(z - 2 * unit)) / (4 * step)
        columns.append((4 * near - far) / 3)
    return np.stack(columns, axis=-1)


def test_residuals_and_density_say_the_same(treated):
    """log p = -|r|²/2 + constant: that of the normal densities, of which two voxels of the mask share one."""
    residuals, density = eqx.filter_jit(treated.residuals), eqx.filter_jit(treated.log_density)
    scales = np.r_[np.full(3 * line.N, line.NOISE), np.full(line.N // 2, 0.2), np.ones(4)]
    constant = -np.sum(np.log(scales)) - 0.5 * np.log(2 * np.pi) * len(scales)
    for z in jnp.asarray(POINTS):
        r = residuals(z)
        assert r.shape == (4 * line.N + 4,)
        np.testing.assert_allclose(density(z), -0.5 * jnp.sum(r**2) + constant, rtol=1e-11)


@pytest.mark.thorough
def test_residuals_are_data_minus_prediction_in_deviations(treated):
    z = jnp.asarray(POINTS[0])
    u = np.asarray(treated.simulate(z).states)
    r = np.asarray(treated.residuals(z))
    np.testing.assert_allclose(r[: line.N], (line.DENSITIES[0] - u[0]) / line.NOISE, rtol=1e-9, atol=1e-9)
    threshold = float(treated.prior.values(z)["threshold"])
    seen = np.asarray(marked_part(jnp.asarray(u[1]), threshold, line.DOMAIN))
    data = {datum.observation: datum for datum in treated.data if datum.day == line.DAYS[1]}
    expected = (np.asarray(data["core"].values) - seen) / (0.2 * 2**0.5)
    position = [datum.observation for datum in treated.data].index("core") * line.N
    np.testing.assert_allclose(r[position : position + line.N], expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(r[-4:], z)


@pytest.mark.parametrize("mode", [pytest.param("forward", marks=pytest.mark.thorough), "reverse"])
def test_gradient_of_the_density(treated, mode):
    if mode == "forward":
        gradient = jax.jit(jax.jacfwd(lambda z: treated.log_density(z, adjoint=diffrax.ForwardMode())))
    else:
        gradient = jax.jit(jax.grad(lambda z: treated.log_density(z)))
    density = eqx.filter_jit(treated.log_density)
    for z in jnp.asarray(POINTS):
        expected = central(density, z)
        np.testing.assert_allclose(gradient(z), expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


def test_jacobian_of_the_residuals(treated):
    jacobian = jax.jit(jax.jacfwd(lambda z: treated.residuals(z, adjoint=diffrax.ForwardMode())))
    residuals = eqx.filter_jit(treated.residuals)
    for z in jnp.asarray(POINTS[:2]):
        expected = central(residuals, z)
        np.testing.assert_allclose(jacobian(z), expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


@pytest.mark.thorough
def test_a_box_that_holds_the_tumour_changes_nothing():
    """The same residuals, with the voxels counted in the box."""
    inside = np.arange(8, 52)
    data = [Datum(day, "density", u[inside], inside) for day, u in zip(line.DAYS, line.DENSITIES, strict=True)]
    whole, boxed = line.problem(data=data), line.problem(data=data, box=((2,), (58,)))
    z = jnp.array([-2.0, -1.0])
    assert boxed.tumor.model.domain.shape == (56,)
    assert 0 < float(boxed.edge_density(z)) < 1e-4
    assert float(whole.edge_density(z)) == 0
    np.testing.assert_allclose(boxed.residuals(z), whole.residuals(z), atol=1e-3)
    fast = jnp.array([2.0, 2.0])
    assert float(boxed.edge_density(fast)) > 0.01


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": []}, "no data"),
        ({"data": [Datum(30.0, "density", [0.5], [3])], "start": 40.0}, "day 30 lie before the start.*day 40"),
        ({"data": [Datum(30.0, "density", [0.5], [3])], "box": ((5,), (40,))}, "day 30: 'density'.*outside the box"),
        ({"data": [Datum(30.0, "adc", [0.5], [3])]}, "no observation 'adc'; known: density, core"),
        (
            {"prior": line.GROWTH | {"again": line.GROWTH["diffusivity"]}},
            "diffusivity and again both set 'model.diffusivity'",
        ),
        ({"prior": line.GROWTH | line.ALPHA}, "prior of alpha: 'regimen.radiotherapy.alpha' names a treatment"),
    ],
    ids=["no data", "before start", "outside box", "unknown observation", "two priors", "absent treatment"],
)
def test_an_unfit_problem_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        line.problem(**options)


@pytest.mark.parametrize("values", [[], [np.nan]], ids=str)
def test_no_data_are_refused(values):
    with pytest.raises(InputError, match="day 30.*no 'density' data"):
        Datum(30.0, "density", values, np.arange(len(values)))


def test_infinite_data_and_masks_of_labels_are_refused():
    with pytest.raises(InputError, match="day 30.*'density' data have infinite"):
        Datum(30.0, "density", [0.5, np.inf], [3, 4])
    with pytest.raises(InputError, match="day 30, 'core': a mask holds parts of voxels, 0 to 1"):
        line.problem(data=[Datum(30.0, "core", [0.0, 2.0], [3, 4])])


def test_missing_values_are_left_out(caplog):
    with caplog.at_level("INFO", "twinjax"):
        datum = Datum(30.0, "density", [0.5, np.nan, 0.7], [3, 4, 5], side=[0, 0, -1])
    assert "day 30: 1 missing 'density' values are left out" in caplog.text
    np.testing.assert_array_equal(datum.values, [0.5, 0.7])
    np.testing.assert_array_equal(datum.index, [3, 5])
    np.testing.assert_array_equal(datum.readings.side, [0, -1])


def test_a_failed_solve_is_a_refused_step():
    """A diffusivity of 10⁸ mm²/day needs more steps than the solver is given."""
    problem = line.problem()
    z = jnp.array([np.log(1e8 / 0.3) / 0.5, 0.0])
    residuals = np.asarray(problem.residuals(z))
    assert np.isnan(residuals[:-2]).all()
    assert float(problem.log_density(z)) == -np.inf


def test_noise_is_raised_to_the_residuals_and_never_lowered():
    z = jnp.array([0.3, 0.2])
    exact = line.problem()
    states = np.asarray(exact.simulate(z).states)
    error = np.random.default_rng(0).normal(scale=0.15, size=states.shape)
    noisy = [Datum(day, "density", u, EVERYWHERE) for day, u in zip(line.DAYS, states + error, strict=True)]
    raised = line.problem(data=noisy).with_noise_from_residuals(z)
    found = float(raised.tumor.observation["density"].noise_std)
    assert found == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-6)
    assert raised.noise["core"] == {"noise_std": 0.2}
    kept = line.problem(data=noisy, noise_std=0.4).with_noise_from_residuals(z)
    assert float(kept.tumor.observation["density"].noise_std) == pytest.approx(0.4)


@pytest.fixture(scope="module")
def correlated():
    """Density whose voxels err together, a mask, and a volume below what could be told."""
    data = [Datum(day, "density", u, EVERYWHERE) for day, u in zip(line.DAYS, line.DENSITIES, strict=True)]
    data.append(Datum(30.0, "core", (line.DENSITIES[1] > 0.6).astype(float), EVERYWHERE))
    data.append(Datum(45.0, "volume", [3.0], side=[-1]))
    observations = {
        "density": CellDensityObservation(noise_std=0.05, discrepancy_std=0.1, correlation_length_mm=8.0),
        "core": SegmentationObservation(line.DOMAIN, 0.6, correlation_length_mm=2.0),
        "volume": LogVolumeObservation(0.6),
    }
    prior, start = Prior({**line.GROWTH, **line.THRESHOLD}), DensityField(jnp.asarray(line.START))
    return InverseProblem(FisherKPP(line.DOMAIN), Regimen(), start, observations, data, prior)


@pytest.mark.thorough
def test_every_likelihood_says_the_same_as_its_residuals(correlated):
    """Log density is -|r|²/2 less a constant, which the problem tells without a solve."""
    residuals, density = eqx.filter_jit(correlated.residuals), eqx.filter_jit(correlated.log_density)
    for z in jnp.asarray(POINTS[:, :3]):
        np.testing.assert_allclose(density(z), -0.5 * jnp.sum(residuals(z) ** 2) - correlated.least_cost, rtol=1e-10)
    likelihoods = np.asarray(correlated.log_likelihoods(z))
    assert likelihoods.shape == (5,)
    prior = -0.5 * float(z @ z) - 1.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(likelihoods.sum() + prior, density(z), rtol=1e-12)


@pytest.mark.thorough
def test_jacobian_of_every_kind_of_residual(correlated):
    jacobian = jax.jit(jax.jacfwd(lambda z: correlated.residuals(z, adjoint=diffrax.ForwardMode())))
    residuals, z = eqx.filter_jit(correlated.residuals), jnp.asarray(POINTS[0, :3])
    expected = central(residuals, z)
    np.testing.assert_allclose(jacobian(z), expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


def test_noise_of_a_tempered_observation_is_that_of_one_voxel():
    """Two voxels share a datum of the segmentation; its residuals must not be counted as half as large."""
    problem = line.problem(data=[Datum(30.0, "core", np.ones(line.N), EVERYWHERE)])
    z = jnp.zeros(2)
    u = np.asarray(problem.simulate(z).states)[0]
    miss = 1 - np.asarray(marked_part(jnp.asarray(u), 0.6, line.DOMAIN))
    raised = problem.with_noise_from_residuals(z)
    assert raised.noise["core"]["noise_std"] == pytest.approx(np.sqrt(np.mean(miss**2)), rel=1e-6)
