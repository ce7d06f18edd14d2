"""Diffusion by a tensor: what it conserves, its definiteness, its isotropic limit, and its order."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.domain import DiffusionOperator, anisotropic_diffusion
from twinjax.solver import rkl2

SHAPES = [(17,), (9, 8), (6, 5, 4)]
SPACING = (1.0, 1.5, 0.8)


def random_tensors(shape, seed=0, *, strength=30.0):
    """Tensors of every direction whose eigenvalues differ by up to `strength`, in a ragged mask of two pieces."""
    rng, axes = np.random.default_rng(seed), len(shape)
    vectors = np.linalg.qr(rng.normal(size=(*shape, axes, axes)))[0]
    values = rng.uniform(0.3, 1.0, (*shape, axes)) * np.geomspace(1, 1 / strength, axes)
    tensor = np.moveaxis(np.einsum("...ik,...k,...jk->...ij", vectors, values, vectors), (-2, -1), (0, 1))
    mask = rng.random(shape) < 0.8
    mask[(shape[0] // 2, *[slice(None)] * (axes - 1))] = False
    return jnp.asarray(tensor), jnp.asarray(mask), SPACING[:axes]


build = jax.jit(anisotropic_diffusion, static_argnums=2)


@partial(jax.jit, static_argnums=2)
def assemble(tensor, mask, spacing):
    """The operator as a matrix and its spectral radius."""
    operator = anisotropic_diffusion(tensor, mask, spacing)
    units = jnp.eye(mask.size).reshape(-1, *mask.shape)
    return jax.vmap(operator)(units).reshape(mask.size, -1).T, operator.spectral_radius


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("strength", [3.0, 300.0])
def test_symmetric_negative_and_within_the_spectral_radius(shape, strength):
    tensor, mask, spacing = random_tensors(shape, strength=strength)
    matrix, radius = map(np.asarray, assemble(tensor, mask, spacing))
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-13)
    eigenvalues = np.linalg.eigvalsh(matrix)
    assert eigenvalues.max() < 1e-12
    assert -eigenvalues.min() <= radius
    # Nothing within a piece of the mask is left out: only constants on a connected piece stay as they are.
    assert np.abs(matrix[np.ravel(mask)]).sum() > 1


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_cells_are_conserved_and_nothing_crosses_the_wall(shape):
    tensor, mask, spacing = random_tensors(shape, 1)
    operator = build(tensor, mask, spacing)
    u = np.random.default_rng(2).random(shape)
    change = np.asarray(operator(jnp.asarray(u)))
    assert np.abs(change).sum() > 1
    assert abs(change.sum()) <= 1e-12 * np.abs(change).sum()
    half = shape[0] // 2
    assert abs(change[:half].sum()) <= 1e-12 * np.abs(change).sum()
    np.testing.assert_array_equal(change[~np.asarray(mask)], 0)
    filled = jnp.where(mask, u, 7.0)
    np.testing.assert_array_equal(operator(filled), change)
    later = operator.over(0.02).second_order(jnp.ravel(u))
    np.testing.assert_allclose(later.sum(), u.sum(), rtol=1e-14)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_isotropic_tensors_give_the_isotropic_operator(shape):
    rng, (_, mask, spacing) = np.random.default_rng(3), random_tensors(shape)
    diffusivity = rng.uniform(0.05, 1.0, shape)
    diffusivity[0] = 0.0
    tensor = np.eye(len(shape)).reshape((len(shape),) * 2 + (1,) * len(shape)) * diffusivity
    operator = build(jnp.asarray(tensor), mask, spacing, scale=0.3)
    isotropic = DiffusionOperator.create(jnp.asarray(diffusivity), mask, spacing, scale=0.3)
    u = jnp.asarray(rng.random(shape))
    np.testing.assert_allclose(operator(u), isotropic(u), atol=1e-14)
    np.testing.assert_allclose(operator.spectral_radius, isotropic.spectral_radius, rtol=1e-12)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_wall_along_an_oblique_fibre_carries_nothing(axis):
    """A strip with u along it only: D grad u has no part across the walls if u also leans there as no flux wants it."""
    shape = (3, 20) if axis else (20, 3)
    tensor = jnp.asarray(np.array([[0.7, 0.4], [0.4, 0.5]]).reshape(2, 2, 1, 1) * np.ones(shape))
    other = 1 - axis
    along = np.arange(20) * 0.5
    across = np.arange(3) * 0.5
    lean = -float(tensor[0, 1, 0, 0] / tensor[other, other, 0, 0])
    u = np.add.outer(across * lean, along) if axis else np.add.outer(along, across * lean)
    change = np.asarray(build(tensor, jnp.ones(shape, bool), (0.5, 0.5))(jnp.asarray(u)))
    inner = change[:, 2:-2] if axis else change[2:-2]
    np.testing.assert_allclose(inner, 0, atol=1e-12)


def gaussian(positions, covariance, initial):
    """The density at `positions` (axes, ...) of a Gaussian of covariance `initial` and height 1 that has spread."""
    form = np.einsum("i...,ij,j...->...", positions, np.linalg.inv(covariance), positions)
    return np.exp(-form / 2) * np.sqrt(np.linalg.det(initial) / np.linalg.det(covariance))


def rotation(axes):
    c, s = np.cos(0.6), np.sin(0.6)
    plane = np.array([[c, -s], [s, c]])
    if axes == 2:
        return plane
    first, second = np.eye(3), np.eye(3)
    first[:2, :2], second[1:, 1:] = plane, plane
    return first @ second


@pytest.mark.parametrize(
    ("axes", "stages", "sizes"),
    [
        (2, 2, (32, 48, 64)),
        (2, 4, (32, 48, 64)),
        pytest.param(3, 2, (20, 28, 36), marks=pytest.mark.slow),
    ],
)
def test_a_rotated_gaussian_spreads_in_the_closed_form(axes, stages, sizes):
    """u(t) of covariance S + 2 D t, at second order in the voxel edge and with it in the step."""
    turn = rotation(axes)
    values = np.array([1.0, 0.15, 0.3])[:axes]
    diffusion = turn @ np.diag(values) @ turn.T
    initial, time, length = 3.0 * np.eye(axes), 2.0, 24.0
    errors = []
    for n in sizes:
        h = length / n
        centres = (np.arange(n) + 0.5) * h - length / 2
        positions = np.stack(np.meshgrid(*[centres] * axes, indexing="ij"))
        tensor = jnp.asarray(diffusion.reshape(axes, axes, *[1] * axes) * np.ones((n,) * axes))
        operator = build(tensor, jnp.ones((n,) * axes, bool), (h,) * axes)
        count = n // 2
        assert float(operator.spectral_radius) * time / count < (stages**2 + stages - 2) / 2
        step = operator.over(time / count)

        def advance(_, u, step=step):
            return step.second_order(u) if stages == 2 else rkl2(step, u, 1.0, stages)

        u = jax.jit(partial(jax.lax.fori_loop, 0, count, advance))(jnp.ravel(gaussian(positions, initial, initial)))
        exact = gaussian(positions, initial + 2 * diffusion * time, initial)
        errors.append(np.abs(np.asarray(u).reshape(exact.shape) - exact).max() / exact.max())
    order = -np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    assert abs(order - 2) < 0.15, (order, errors)
    assert errors[-1] < 0.02, errors


@pytest.mark.slow
def test_second_order_on_a_tensor_that_turns():
    """div(D grad u) for a smooth D, whose cross term vanishes at the walls, and u without flux there."""
    lx, ly = 3.0, 2.0
    sizes, errors = (24, 48, 96), []

    def flux_divergence(x, y):
        def u(x, y):
            return jnp.cos(jnp.pi * x / lx) * jnp.cos(jnp.pi * y / ly)

        def flux(x, y):
            ux, uy = jax.grad(u, 0)(x, y), jax.grad(u, 1)(x, y)
            dxx, dyy, dxy = diffusion(x, y)
            return dxx * ux + dxy * uy, dxy * ux + dyy * uy

        return jax.grad(lambda x: flux(x, y)[0])(x) + jax.grad(lambda y: flux(x, y)[1])(y)

    def diffusion(x, y):
        cross = 0.3 * jnp.sin(jnp.pi * x / lx) * jnp.sin(jnp.pi * y / ly)
        return 0.6 + 0.1 * jnp.sin(x), 0.5 + 0.1 * jnp.cos(2 * y), cross

    for n in sizes:
        h = (lx / n, ly / (n - 4))
        x, y = np.meshgrid((np.arange(n) + 0.5) * h[0], (np.arange(n - 4) + 0.5) * h[1], indexing="ij")
        dxx, dyy, dxy = diffusion(x, y)
        operator = build(jnp.asarray([[dxx, dxy], [dxy, dyy]]), jnp.ones(x.shape, bool), h)
        u = np.cos(np.pi * x / lx) * np.cos(np.pi * y / ly)
        exact = jax.jit(jax.vmap(jax.vmap(flux_divergence)))(x, y)
        errors.append(float(jnp.sqrt(jnp.mean((operator(jnp.asarray(u)) - exact) ** 2))))
    order = -np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    assert order > 1.9, (order, errors)


def test_density_stays_positive_where_the_tensor_is_diagonally_dominant():
    rng = np.random.default_rng(5)
    shape = (12, 11)
    cross = rng.uniform(-1, 1, shape) * 0.4
    tensor = jnp.asarray(np.stack([np.stack([np.full(shape, 0.5), cross]), np.stack([cross, np.full(shape, 0.45)])]))
    operator = build(tensor, jnp.asarray(rng.random(shape) < 0.9), (1.0, 1.0))
    assert all(float(face.min()) >= 0 for face in operator.faces[2:])
    u = np.zeros(shape)
    u[5, 5] = 1.0
    # Nearly the whole step that is stable, with the density of a single voxel.
    step = operator.over(1.9 / float(operator.spectral_radius))
    assert float(step.second_order(jnp.ravel(u)).min()) >= 0


@pytest.mark.slow
def test_gradients_are_finite_and_agree_with_differences():
    """In the tensor too, at walls and where nothing diffuses."""
    tensor, mask, spacing = random_tensors((9, 8))
    tensor = tensor.at[:, :, 1].set(0.0)
    u = jnp.asarray(np.random.default_rng(1).random(mask.shape))
    pattern = jnp.linspace(0.0, 1.0, mask.size).reshape(mask.shape)

    def outcome(x, tensor):
        operator = anisotropic_diffusion(tensor * (1 + x * pattern), mask, spacing, scale=0.5 + x)
        return jnp.sum(jnp.sin(operator.over(0.3 + x).second_order(jnp.ravel(u))))

    outcome = jax.jit(outcome)
    along, gradient = jax.jit(jax.grad(outcome, (0, 1)))(0.1, tensor)
    assert bool(jnp.isfinite(gradient).all())
    assert float(jnp.abs(gradient).max()) > 1e-3
    step = 1e-5
    difference = (outcome(0.1 + step, tensor) - outcome(0.1 - step, tensor)) / (2 * step)
    np.testing.assert_allclose(along, difference, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(jax.jacfwd(outcome))(0.1, tensor), along, rtol=1e-10)


def test_nan_does_not_pass_for_a_wall():
    tensor, mask, spacing = random_tensors((9, 8))
    assert bool(jnp.isnan(build(jnp.nan * tensor, mask, spacing)(jnp.ones(mask.shape))).any())
