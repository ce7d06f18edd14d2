"""Problems in space filled up to a shape that patients share: the same numbers, by the same program."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.calibration import Datum, InverseProblem, LevenbergMarquardt, Prior
from twinjax.calibration.curvature import residuals_and_jacobian
from twinjax.calibration.density import datum_log_likelihoods
from twinjax.calibration.filled import filled
from twinjax.calibration.levenberg_marquardt import expansion_of
from twinjax.calibration.problem import _log_likelihoods, _predicted
from twinjax.domain import Domain, Sampling
from twinjax.domain.resample import overlap
from twinjax.model import DensityField, FisherKPP
from twinjax.observation import CellDensityObservation, SegmentationObservation
from twinjax.treatment import Radiotherapy, Regimen
from twinjax.twin.forecast import _one, forecast

EDGE_MM = 2.0
PRIOR = {
    "diffusivity": {"distribution": ["lognormal", 0.3, 0.5], "where": ["model.diffusivity"], "unit": "mm²/day"},
    "rate": {"distribution": ["lognormal", 0.05, 0.5], "where": ["model.proliferation_rate"], "unit": "1/day"},
    "alpha": {"distribution": ["lognormal", 0.05, 0.5], "where": ["regimen.radiotherapy.alpha"], "unit": "1/Gy"},
    "threshold": {"distribution": ["normal", 0.5, 0.05], "where": ["observation.core.threshold"], "unit": "1"},
}
Z = np.array([0.3, -0.4, 0.2, -0.1])
# As many data as voxels, of which each is one: the observation then knows no modes.
ALONE_MM = 1.0
# The compiled programs that solve: of a step of the fit, and of a draw of the forecast.
SOLVERS = {"residuals_and_jacobian", "_one"}


def problem(shape=(21, 17), radius=9.0, fractions=4, *, correlation_mm=8.0, prior=PRIOR, box=None, thick=1):
    """A synthetic tumour in the middle of tissue with a hole, seen as density near it and as a mask around it.

    The voxels of the density are `thick` of the grid's along the first axis.
    """
    rng = np.random.default_rng(len(shape))
    grid = np.stack(np.meshgrid(*[(np.arange(n) - (n - 1) / 2) * EDGE_MM for n in shape], indexing="ij"))
    distance = np.linalg.norm(grid, axis=0)
    mask = np.ones(shape, bool)
    mask[2:4, 3:5] = False
    domain = Domain(mask, [EDGE_MM] * len(shape), white_matter=np.where(grid[0] > 0, 1.0, 0.2) * mask)
    start = np.where(mask, 0.9 / (1 + np.exp((distance - radius) / 2)), 0.0)
    observations = {
        "cell_density": CellDensityObservation(correlation_length_mm=correlation_mm),
        "core": SegmentationObservation(domain, 0.5),
    }
    slices = shape[0] // thick
    sampling = Sampling(
        (jnp.asarray(overlap(thick, (thick - 1) / 2, slices, shape[0])), jnp.eye(shape[1])), (thick * EDGE_MM, EDGE_MM)
    )
    seen = np.asarray(sampling(jnp.asarray(start)))
    near = np.flatnonzero(np.asarray(sampling(jnp.asarray((mask & (distance < radius)) * 1.0))) > 0.99)
    marked = np.flatnonzero(mask & (distance < radius + 4.0))
    data = [
        Datum(
            10.0,
            "cell_density",
            0.8 * seen.ravel()[near] + 0.05 * rng.normal(size=near.size),
            near,
            sampling=sampling if thick > 1 else None,
        ),
        Datum(20.0, "core", (start.ravel()[marked] > 0.4).astype(float), marked),
    ]
    given = Regimen([Radiotherapy(np.linspace(3, 9, fractions), 2.0)])
    return InverseProblem(
        FisherKPP(domain), given, DensityField(jnp.asarray(start)), observations, data, Prior(prior), box=box
    )


def shape_of(one):
    """What a compiled program is looked up by: the tree with its static fields, and the shapes."""
    return jax.tree.structure(one), [leaf.shape for leaf in jax.tree.leaves(one)]


def compiled(text: str) -> set[str]:
    return {solver for solver in SOLVERS if f"XLA compilation of jit({solver})" in text}


@pytest.mark.parametrize(
    ("correlation_mm", "thick"),
    [*(pytest.param(mm, 1, marks=pytest.mark.thorough) for mm in (8.0, ALONE_MM)), (8.0, 3)],
)
def test_likelihoods_curvature_and_noise_are_those_of_the_problem_itself(correlation_mm, thick):
    original = problem(correlation_mm=correlation_mm, thick=thick)
    large = filled(original).problem
    assert large.tumor.model.domain.shape == (24, 24)
    assert all(a.values.size > b.values.size for a, b in zip(large.data, original.data, strict=True))
    assert (large.data[0].readings.modes is None) == (correlation_mm == ALONE_MM)
    np.testing.assert_allclose(datum_log_likelihoods(original, Z[None])[0], _log_likelihoods(original, Z), rtol=1e-9)
    value, jacobian, predicted = residuals_and_jacobian(original, Z, np.eye(4))
    cost, gradient, hessian, expected = expansion_of(original, Z)
    assert cost == pytest.approx(0.5 * float(value @ value), rel=1e-9)
    np.testing.assert_allclose(gradient, jacobian @ value, rtol=1e-8)
    np.testing.assert_allclose(hessian, jacobian @ jacobian.T, rtol=1e-8)
    np.testing.assert_allclose(np.concatenate(expected), np.concatenate(predicted), rtol=1e-9)
    for a, b in zip(_predicted(original, Z), expected, strict=True):
        assert a.shape == b.shape
    found, itself = original.with_noise_from_residuals(Z, expected).noise, original.with_noise_from_residuals(Z).noise
    for name, levels in itself.items():
        assert found[name] == pytest.approx(levels)


def test_patients_of_about_the_same_size_share_a_program():
    original, alike = problem(), problem((23, 18), 8.5, 5)
    assert shape_of(filled(alike).problem) == shape_of(filled(original).problem)
    assert shape_of(alike) != shape_of(original)
    assert shape_of(filled(problem((25, 18))).problem) != shape_of(filled(original).problem)
    coarse, other = (
        problem((40, 40), thick=2, box=((8, 11), (30, 29))),
        problem((44, 40), 8.0, thick=2, box=((10, 12), (34, 30))),
    )
    assert shape_of(filled(coarse).problem) == shape_of(filled(other).problem)
    # A box is as good as a grid, wherever it lies in which.
    boxed = problem((40, 40), box=((9, 11), (30, 29)))
    assert shape_of(filled(boxed).problem) == shape_of(filled(original).problem)


@pytest.mark.thorough
def test_a_second_patient_is_fitted_and_forecast_without_a_new_solver(caplog):
    def run(one, days):
        _, mode = LevenbergMarquardt().fit_mode(one, key=jax.random.key(0))
        found = forecast(one.whole, one, mode.z, mode.z[None], np.asarray(days), volume_noise={"core": 0.1})
        assert found.domain.shape < one.whole.model.domain.shape

    with jax.log_compiles(), caplog.at_level(logging.WARNING, logger="jax"):
        run(problem((50, 52), 9.5, 3, box=((15, 16), (35, 37))), [7.0, 25.0])
        caplog.clear()
        run(problem((48, 52), 8.5, 5, box=((14, 17), (33, 35))), [12.0, 20.0, 28.0])
        assert not compiled(caplog.text)
        run(problem((50, 52), 15.0, 5, box=((12, 13), (38, 39))), [12.0, 20.0, 28.0])
        assert compiled(caplog.text) == SOLVERS


def test_a_box_does_not_outgrow_its_grid():
    boxed = filled(problem((22, 30), box=((1, 5), (21, 26)))).problem
    assert boxed.tumor.model.domain.shape == (22, 24)


def test_a_forecast_is_that_of_the_tumour_itself():
    original, times = problem(), np.array([5.0, 12.0, 30.0])
    found = forecast(original.whole, original, Z, np.stack([Z, -Z]), times, volume_noise={"core": 0.1})
    assert found.density_mean.shape == (3, *found.domain.shape) and found.domain.shape == (21, 17)
    each = [_one(original.whole, original, jnp.asarray(z), jnp.asarray(times)) for z in (Z, -Z)]
    density = np.mean([np.asarray(one[0]) for one in each], axis=0)
    np.testing.assert_allclose(found.density_mean, density, atol=1e-6)
    for name, draws in found.quantities.items():
        np.testing.assert_allclose(draws, [one[2][name] for one in each], rtol=1e-9)


def test_a_field_keeps_the_problem_as_it_is():
    field = PRIOR | {"diffusivity": PRIOR["diffusivity"] | {"field": {"correlation_length_mm": 20.0}}}
    asked = problem(prior=field)
    assert filled(asked).problem is asked
