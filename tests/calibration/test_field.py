"""Fields: variance, correlations and square roots against references of their own, and the same field on any grid."""

import math

import jax
import jax.numpy as jnp
import line
import numpy as np
import pytest
from scipy import fft
from scipy.special import gamma, kv

from twinjax.calibration import Datum, InverseProblem, Matern, Prior
from twinjax.calibration.field import _tables
from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.model import DensityField, FisherKPP
from twinjax.observation import CellDensityObservation
from twinjax.treatment import Chemotherapy, Regimen

LENGTH = 10.0


def matrix(field, axes) -> np.ndarray:
    """(voxels, size) of the map from z to g."""
    shape = tuple(count for _, _, count in axes)
    voxels = jnp.eye(math.prod(shape)).reshape(-1, *shape)
    return np.asarray(jax.vmap(lambda voxel: field.adjoint(voxel, axes))(voxels))


def matern(distance, smoothness):
    """The correlation of Matérn's family, by its formula."""
    x = np.sqrt(8 * smoothness) * np.maximum(distance, 1e-9) / LENGTH
    return 2 ** (1 - smoothness) / gamma(smoothness) * x**smoothness * kv(smoothness, x)


@pytest.mark.parametrize(("axes", "smoothness"), [(1, 1.5), (1, 0.5), (2, 1.0), (2, 2.5), (3, 1.5)])
def test_variance_is_1_and_correlations_are_materns(axes, smoothness):
    """In the box to its walls: the field itself lives on a wider one. Rough fields lose what is finer than a node."""
    edge, count = 2.5, {1: 24, 2: 12, 3: 6}[axes]
    field = Matern(LENGTH, smoothness, resolution_mm=1.0 if axes < 3 else 1.6).on((0.0,) * axes, (edge * count,) * axes)
    grid = ((edge / 2, edge, count),) * axes
    root = matrix(field, grid)
    covariance = root @ root.T
    np.testing.assert_allclose(np.diag(covariance), 1.0, rtol=1e-10)
    where = np.stack(np.meshgrid(*[edge * np.arange(count)] * axes, indexing="ij")).reshape(axes, -1)
    distance = np.linalg.norm(where[:, :, None] - where[:, None], axis=0)
    np.testing.assert_allclose(covariance, matern(distance, smoothness), atol=0.04)


def test_at_the_wall_of_its_own_box_a_field_is_correlated_with_its_mirror_image():
    """How far the division by the deviation is from changing nothing: less than 2 % one correlation length inside."""
    field = Matern(LENGTH, 1.5, resolution_mm=0.5).on((0.0,), (60.0,))
    assert (field.lower, field.lengths) == ((-LENGTH,), (60.0 + 2 * LENGTH,))
    deviation = _tables(field, ((-LENGTH + 0.25, 0.5, 160),))[2]
    middle = deviation[80]
    assert deviation[0] / middle == pytest.approx(np.sqrt(2), rel=0.01)
    assert np.abs(deviation[20:140] / middle - 1).max() < 0.02


def test_the_square_root_is_that_of_a_dense_bi_laplacian():
    """(κ² - Δ)^-2 with no flux through the walls, by finite differences on a fine line: ν = 2 - 1/2."""
    count, length = 600, 40.0
    edge = length / count
    field = Matern(LENGTH, 1.5, resolution_mm=0.5)
    place = field.on((LENGTH,), (length - LENGTH,))
    assert place.lower == (0.0,)
    assert place.lengths == (length,)
    difference = np.diff(np.eye(count), axis=0) / edge
    operator = 12 / LENGTH**2 * np.eye(count) + difference.T @ difference
    dense = np.linalg.inv(operator @ operator)
    deviation = np.sqrt(np.diag(dense))
    dense /= deviation[:, None] * deviation
    root = matrix(place, ((edge / 2, edge, count),))
    np.testing.assert_allclose(root @ root.T, dense, atol=2e-3)


def test_on_its_own_nodes_it_is_a_cosine_transform():
    place = Matern(LENGTH, 1.5, resolution_mm=4.0).on((0.0, 0.0), (20.0, 30.0))
    z = np.random.default_rng(0).normal(size=place.size)
    scale, _, deviation = _tables(place, place.nodes)
    cells = np.prod([step for _, step, _ in place.nodes])
    expected = fft.idctn(scale * z.reshape(place.modes), norm="ortho") / np.sqrt(cells) / deviation
    np.testing.assert_allclose(place(jnp.asarray(z), place.nodes), expected, atol=1e-12)


def test_the_adjoint_is_the_transpose():
    place = Matern(LENGTH).on((0.0, 0.0), (20.0, 30.0))
    grid = ((1.0, 2.0, 10), (1.5, 3.0, 10))
    random = np.random.default_rng(0)
    z, weights = jnp.asarray(random.normal(size=place.size)), jnp.asarray(random.normal(size=(10, 10)))
    assert float(place.adjoint(weights, grid) @ z) == pytest.approx(float(jnp.sum(weights * place(z, grid))), rel=1e-12)


SHAPE, EDGE = (24, 20), 2.0
TISSUE = Domain(np.ones(SHAPE), (EDGE, EDGE))
FIELDS = {
    "diffusivity": {
        "distribution": ("lognormal", 0.3, 0.5),
        "where": "model.diffusivity",
        "field": {"correlation_length_mm": LENGTH},
    },
    "proliferation_rate": {
        "distribution": ("truncated_normal", 0.04, 0.02, 0.0, 0.2),
        "where": "model.proliferation_rate",
        "field": {"correlation_length_mm": 20.0, "smoothness": 2.0, "resolution_mm": 8.0},
    },
    "alpha": {"distribution": ("lognormal", 0.2, 0.4), "where": "regimen.temozolomide.sensitivity"},
}
START = 0.7 * np.exp(-np.sum((np.indices(SHAPE).T * EDGE - [24.0, 20.0]) ** 2, axis=-1).T / (2 * 6.0**2))


def problem(domain=TISSUE, start=START, fields=FIELDS, **options) -> InverseProblem:
    """Density on two days of a treated tumour with fields of both its rates."""
    everywhere = np.arange(domain.mask.size) if "box" not in options else np.array([190, 210, 232])
    data = [Datum(day, "density", np.full(everywhere.size, 0.3), everywhere) for day in (10.0, 25.0)]
    observations = {"density": CellDensityObservation(noise_std=0.1, discrepancy_std=0.0, correlation_length_mm=1.0)}
    regimen = Regimen((Chemotherapy([5.0, 6.0, 12.0], [150.0, 150.0, 150.0]),))
    initial = DensityField(jnp.asarray(start))
    return InverseProblem(FisherKPP(domain), regimen, initial, observations, data, Prior(fields), **options)


@pytest.mark.thorough
def test_scalars_and_fields_share_z():
    inverse = problem()
    sizes = [place.size for place in inverse.prior.places.values()]
    assert sizes == [34 * 30, 11 * 10]
    assert inverse.dimension == sum(sizes) + 1
    assert inverse.prior.blocks["alpha"] == slice(sum(sizes), sum(sizes) + 1)
    z = jnp.zeros(inverse.dimension).at[-1].set(1.0)
    tumor = inverse.tumor_at(z)
    assert tumor.model.diffusivity.shape == tumor.model.proliferation_rate.shape == SHAPE
    np.testing.assert_allclose(tumor.model.diffusivity, 0.3)
    assert float(tumor.regimen.treatments[0].sensitivity) == pytest.approx(0.2 * np.exp(0.4))


@pytest.mark.slow
def test_gradients_in_fields_agree_with_central_differences_and_an_even_field_is_the_number():
    """In all unknowns of a treated tumour at once, along a random direction, by the checkpointed adjoint.

    The even field: kills come at their mean instant in the step, which here holds two.
    """
    inverse = problem()
    z, direction = 0.5 * jax.random.normal(jax.random.key(1), (2, inverse.dimension))
    value = jax.jit(lambda z: inverse.log_density(z))
    slope = float(jax.jit(jax.grad(lambda z: inverse.log_density(z)))(z) @ direction)
    h = 1e-3
    # Of fourth order: at 1e-6 the differences' own error must not count.
    near, far = (float(value(z + s * direction) - value(z - s * direction)) for s in (h, 2 * h))
    assert slope == pytest.approx((8 * near - far) / (12 * h), rel=1e-6)
    plain = problem(fields={name: {k: v for k, v in p.items() if k != "field"} for name, p in FIELDS.items()})
    # Of a misfit of thousands; the medians are those of z = 0.
    difference = float(value(jnp.zeros(inverse.dimension)) - plain.log_density(jnp.zeros(3)))
    normal = -0.5 * np.log(2 * np.pi) * (inverse.dimension - 3)
    assert difference == pytest.approx(normal, abs=1.0)


@pytest.mark.thorough
def test_a_field_does_not_know_of_the_box_or_the_grid():
    """One z: the same D(x) on the whole grid, in a box of it, and on a grid three times as fine."""
    whole, box = problem(), ((4, 3), (20, 18))
    places = whole.prior.places
    boxed = problem(box=box).with_fields(places)
    fine = Domain(np.ones((72, 60)), (EDGE / 3, EDGE / 3))
    finer = problem(fine, np.zeros((72, 60))).with_fields(places)
    z = jax.random.normal(jax.random.key(2), (whole.dimension,))
    field = np.asarray(whole.tumor_at(z).model.diffusivity)
    np.testing.assert_allclose(boxed.tumor_at(z).model.diffusivity, field[4:20, 3:18], rtol=1e-12)
    again = boxed.whole.with_parameters(boxed.prior, z).cropped(((2, 2), (9, 9))).model
    np.testing.assert_allclose(again.diffusivity, field[2:9, 2:9], rtol=1e-12)
    np.testing.assert_allclose(finer.tumor_at(z).model.diffusivity[1::3, 1::3], field, rtol=1e-12)
    # Placed by the box that is solved, and wider than it by the correlation length.
    assert problem(box=box).prior.places["diffusivity"].lower == (4 * EDGE - LENGTH, 3 * EDGE - LENGTH)


def test_one_precision_is_kept():
    place = Matern(LENGTH).on((0.0,), (20.0,))
    assert place(jnp.zeros(place.size, jnp.float32), ((1.0, 2.0, 10),)).dtype == jnp.float32


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"smoothness": 1.0}, "prior of diffusivity: field must have the keys correlation_length_mm and perhaps"),
        ({"correlation_length_mm": 10.0, "nu": 1.0}, "prior of diffusivity: field must have the keys"),
        ({"correlation_length_mm": -1.0}, "prior of diffusivity: field: correlation_length_mm must be a positive"),
        ({"correlation_length_mm": "10"}, "prior of diffusivity: field: correlation_length_mm must be a number"),
        ({"correlation_length_mm": 5.0, "resolution_mm": 0.0}, "field: resolution_mm must be a positive"),
        ({"correlation_length_mm": 5.0, "smoothness": 0.0}, "field: smoothness must lie between"),
        (10.0, "prior of diffusivity: field must have the keys"),
    ],
    ids=str,
)
def test_a_bad_field_names_the_parameter(field, message):
    with pytest.raises(InputError, match=message):
        Prior({"diffusivity": line.GROWTH["diffusivity"] | {"field": field}})


def test_a_field_where_the_model_takes_none_is_refused():
    field = {"field": {"correlation_length_mm": 5.0}}
    with pytest.raises(InputError, match="prior of alpha: FisherKPP takes no field at 'regimen.radiotherapy.alpha'"):
        line.problem({"alpha": line.ALPHA["alpha"] | field}, regimen=line.FRACTIONS)
    with pytest.raises(InputError, match="prior of diffusivity: a field needs a grid"):
        _ = Prior({"diffusivity": line.GROWTH["diffusivity"] | field}).size
