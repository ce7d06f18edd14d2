"""Linear elasticity: closed forms, convergence, derivatives, and that the solver gets there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.sparse.linalg import cg

from twinjax.core.errors import InputError
from twinjax.domain import elasticity
from twinjax.domain.elasticity import ElasticTissue

# 2 G / M, M = 2 G (1 - nu) / (1 - 2 nu): what of a pressure becomes shear.
SHARE = (1 - 2 * 0.45) / (1 - 0.45)


def ball(size, radius):
    """Distance of every voxel from the centre of a cube, and the mask of a ball in it."""
    axis = np.arange(size) - (size - 1) / 2
    distance = np.sqrt(sum(np.meshgrid(axis**2, axis**2, axis**2)))
    return distance, distance <= radius


def mean_inside(pressure, distance):
    """Mean over the ball that reaches to each voxel, of a radial pressure given as a function."""
    r = np.linspace(0, distance.max(), 4000)
    integral = np.concatenate([[0], np.cumsum((pressure(r[1:]) * r[1:] ** 2 + pressure(r[:-1]) * r[:-1] ** 2) / 2)])
    integral *= r[1] - r[0]
    return 3 * np.interp(distance, r, integral) / np.maximum(distance, 1e-9) ** 3


def test_slab_under_a_pressure_that_changes_along_it():
    """On one axis M u' = p - mean(p), so that the stress is 2 G / M |p - mean(p)| (even stiffness)."""
    rng = np.random.default_rng(0)
    pressure = jnp.asarray(rng.random(40))
    tissue = ElasticTissue(3.0, np.ones(40, bool), (0.7,), tolerance=1e-10)
    expected = SHARE * np.abs(pressure - pressure.mean())
    np.testing.assert_allclose(tissue.response(pressure).von_mises, expected, atol=2e-6)


@pytest.mark.thorough
def test_slab_of_two_stiffnesses():
    """M(x) u' = p + c with c such that the ends do not move."""
    stiffness, pressure = np.where(np.arange(30) < 12, 2.0, 20.0), np.linspace(0, 1, 30) ** 2
    tissue = ElasticTissue(stiffness, np.ones(30, bool), (1.0,), tolerance=1e-10)
    modulus = stiffness * (1 - 0.45) / ((1 + 0.45) * (1 - 2 * 0.45))
    constant = -np.sum(pressure / modulus) / np.sum(1 / modulus)
    strain = tissue.response(jnp.asarray(pressure)).strain[0, 0]
    np.testing.assert_allclose(strain, (pressure + constant) / modulus, atol=1e-9)


@pytest.mark.thorough
def test_sphere_has_shear_outside_alone():
    """Uniform pressure in a ball of radius a: none inside, 2 G / M p (a / r)³ outside, also in a ball with a wall."""
    distance, mask = ball(36, 17.0)
    radius = 6.0
    fine = np.arange(-0.4, 0.5, 0.2)
    x = np.meshgrid(*[np.arange(36) - 17.5] * 3, indexing="ij")
    shifts = np.stack(np.meshgrid(fine, fine, fine), -1).reshape(-1, 3)
    inside = [sum((c + s) ** 2 for c, s in zip(x, shift, strict=True)) <= radius**2 for shift in shifts]
    response = ElasticTissue(4.0, mask, (1.0,) * 3).response(jnp.asarray(np.mean(inside, axis=0)))
    stress = np.asarray(response.von_mises)
    outside = (distance > radius + 2) & (distance < 14)
    expected = SHARE * (radius / distance[outside]) ** 3
    assert np.abs(stress[outside] - expected).max() < 0.01 * SHARE
    assert stress[distance < radius - 2].max() < 0.02 * SHARE
    # A voxel at the surface holds some of either side.
    assert 0.7 * SHARE < stress.max() < SHARE
    # It moves outward, most at its surface: u = p / (3 M) (1 - (a / R)³) r inside.
    modulus = 4.0 * 0.55 / (1.45 * 0.1)
    along = np.asarray(response.voxel_displacement)[0, 17:, 17, 17]
    position = np.arange(17, 36) - 17.5
    assert along[4] == pytest.approx(position[4] / (3 * modulus) * (1 - (radius / 17) ** 3), rel=0.03)


@pytest.mark.slow
def test_second_order_in_the_voxel_edge():
    """A smooth radial pressure p has the stress 2 G / M |p(r) - mean of p within r|."""

    def pressure(r):
        return np.exp(-((r / 4.0) ** 2))

    def error(size):
        h = 24 / size
        distance, mask = ball(size, size / 2)
        tissue = ElasticTissue(1.0, mask, (h,) * 3)
        stress = np.asarray(tissue.response(jnp.asarray(pressure(h * distance))).von_mises)
        expected = SHARE * np.abs(pressure(h * distance) - mean_inside(pressure, h * distance))
        near = h * distance < 9
        return np.sqrt(np.mean((stress - expected)[near] ** 2))

    errors = [error(size) for size in (12, 24)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(2.0, abs=0.35)
    assert errors[1] < 0.02 * SHARE


@pytest.mark.thorough
def test_even_pressure_moves_nothing():
    mask = np.ones((9, 8, 7), bool)
    mask[:3, :2] = False
    response = ElasticTissue(2.0, mask, (1.0, 1.5, 2.0)).response(jnp.full(mask.shape, 0.7))
    assert float(jnp.abs(response.displacement).max()) < 1e-12
    assert float(response.von_mises.max()) < 2e-6


@pytest.mark.slow
def test_stress_does_not_know_the_scale_of_stiffness():
    rng = np.random.default_rng(1)
    stiffness, pressure = jnp.asarray(1 + rng.random((10, 9, 8))), jnp.asarray(rng.random((10, 9, 8)))
    mask = np.ones(pressure.shape, bool)
    one, other = (ElasticTissue(s, mask, (1.0,) * 3, tolerance=1e-10) for s in (stiffness, 7 * stiffness))
    np.testing.assert_allclose(one.response(pressure).von_mises, other.response(pressure).von_mises, atol=1e-8)
    np.testing.assert_allclose(one.displacement(pressure), 7 * other.displacement(pressure), atol=1e-9)
    # And it grows with the pressure.
    stress = one.response(3 * pressure).von_mises
    np.testing.assert_allclose(stress, 3 * one.response(pressure).von_mises, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [
        ((24, 24, 9), (1.3, 1.3, 5.0)),
        pytest.param((50,), (0.5,), marks=pytest.mark.thorough),
        pytest.param((31, 25, 18), (1.0, 1.0, 1.0), marks=pytest.mark.slow),
        pytest.param((40, 33), (1.0, 2.0), marks=pytest.mark.slow),
    ],
)
def test_solution_balances_the_load(shape, spacing):
    """Ten times as stiff inside, a ragged wall, odd and thin grids: the residual is what was asked for."""
    rng = np.random.default_rng(2)
    stiffness = jnp.asarray(np.where(rng.random(shape) < 0.3, 20.0, 2.0))
    mask = np.pad(rng.random([n - 2 for n in shape]) < 0.98, 1, constant_values=True)
    tissue, pressure = ElasticTissue(stiffness, mask, spacing), jnp.asarray(rng.random(shape))
    grid = elasticity._Grid.create(tissue.stiffness, tissue.free, spacing, 0.45)
    load, found = grid.load(pressure), tissue.displacement(pressure)
    left = load - grid(found.reshape(len(shape), -1))
    assert float(jnp.linalg.norm(left)) < 3e-6 * float(jnp.linalg.norm(load))
    assert float(jnp.abs(found).max()) > 0
    assert not np.asarray(found)[:, np.asarray(tissue.free) == 0].any()


@pytest.mark.slow
def test_multigrid_makes_iterations_few():
    """Twenty iterations whatever the grid, for three stiffnesses; conjugate gradients alone need many more."""
    for size in (16, 32):
        distance, mask = ball(size, size / 2)
        stiffness = np.where(distance < size / 5, 20.0, np.where(np.arange(size) % 8 < 4, 2.0, 4.0))
        tissue = ElasticTissue(stiffness, mask, (1.0,) * 3)
        arguments = (tissue.free, tissue.spacing, 0.45)
        grid = elasticity._Grid.create(tissue.stiffness, *arguments)
        cycle = elasticity._Multigrid.create(tissue.stiffness, *arguments)
        load = grid.load(jnp.asarray(np.exp(-((distance / (size / 5)) ** 2))))

        def left(preconditioner, grid=grid, load=load):
            found, _ = cg(grid, load, tol=0.0, maxiter=20, M=preconditioner)
            return float(jnp.linalg.norm(load - grid(found)) / jnp.linalg.norm(load))

        assert left(cycle) < 1e-6
        assert left(None) > 1e-4


@pytest.mark.slow
def test_derivatives_agree_with_finite_differences():
    rng = np.random.default_rng(3)
    shape = (7, 6, 5)
    base, direction = (jnp.asarray(rng.random(shape)) for _ in range(2))
    mask = np.ones(shape, bool)

    @jax.jit
    def stress(scale):
        density = base + scale * direction
        tissue = ElasticTissue(2.0 + 18 * jax.nn.sigmoid(density - 0.8), mask, (1.0, 1.2, 1.5), tolerance=1e-12)
        return jnp.sum(tissue.response(density).von_mises ** 2)

    step = 1e-5
    expected = (stress(step) - stress(-step)) / (2 * step)
    forward, reverse = jax.jacfwd(stress)(0.0), jax.grad(stress)(0.0)
    np.testing.assert_allclose([forward, reverse], expected, rtol=1e-6)
    # Several directions at a time.
    _, many = jax.vmap(lambda s: jax.jvp(stress, (0.0,), (s,)))(jnp.array([1.0, -2.0]))
    np.testing.assert_allclose(many, [expected, -2 * expected], rtol=1e-6)


@pytest.mark.thorough
def test_derivative_is_finite_without_any_stress():
    tissue = ElasticTissue(2.0, np.ones((5, 5, 5), bool), (1.0,) * 3)
    gradient = jax.grad(lambda p: tissue.response(p).von_mises.sum())(jnp.zeros((5, 5, 5)))
    assert np.isfinite(gradient).all()


@pytest.mark.slow
def test_single_precision_agrees_with_double():
    distance, mask = ball(14, 7)
    pressure = np.exp(-((distance / 3) ** 2))
    double = ElasticTissue(jnp.asarray(2 + pressure), mask, (1.0,) * 3).response(jnp.asarray(pressure))
    stiffness, load = (jnp.asarray(a, jnp.float32) for a in (2 + pressure, pressure))
    single = eqx_cast(ElasticTissue(stiffness, mask, (1.0,) * 3, tolerance=1e-5)).response(load)
    assert single.von_mises.dtype == jnp.float32
    np.testing.assert_allclose(single.von_mises, double.von_mises, atol=2e-5 * float(double.von_mises.max()) + 1e-6)


def eqx_cast(tree):
    """Every array of a module in single precision."""
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float32), tree)


@pytest.mark.parametrize("ratio", [0.5, -0.1, float("nan")])
def test_impossible_poisson_ratio_is_refused(ratio):
    with pytest.raises(InputError, match="poisson_ratio"):
        ElasticTissue(1.0, np.ones((3, 3), bool), (1.0, 1.0), poisson_ratio=ratio)
