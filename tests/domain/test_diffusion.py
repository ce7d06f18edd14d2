"""The diffusion operator: what it conserves, what it is exact for, and its order."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.domain import DiffusionOperator, Domain
from twinjax.model import FisherKPP
from twinjax.simulation import simulate
from twinjax.treatment import Regimen

SHAPES = [(17,), (9, 8), (6, 5, 7)]
# Where compilation takes most of the time, fewer axes than three are a matter of `make validate`.
FEWER = [*(pytest.param(shape, marks=pytest.mark.slow) for shape in SHAPES[:2]), SHAPES[2]]


def tissue(shape, seed=0):
    """A ragged mask with a piece of its own, a diffusivity that varies twentyfold, and unequal voxel edges."""
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < 0.8
    mask[(shape[0] // 2, *[slice(None)] * (len(shape) - 1))] = False
    return rng.uniform(0.05, 1.0, shape), mask, (1.0, 1.5, 0.8)[: len(shape)]


@partial(jax.jit, static_argnums=2)
def operate(diffusivity, mask, spacing, u):
    """div(D grad u), compiled as a whole."""
    return DiffusionOperator.create(diffusivity, mask, spacing)(u)


@partial(jax.jit, static_argnums=2)
def assemble(diffusivity, mask, spacing):
    """The operator as a matrix, whose columns are its action on the unit vectors, and its spectral radius."""
    operator = DiffusionOperator.create(diffusivity, mask, spacing)
    units = jnp.eye(mask.size).reshape(-1, *mask.shape)
    return jax.vmap(operator)(units).reshape(mask.size, -1).T, operator.spectral_radius


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_cells_are_conserved_and_nothing_crosses_the_wall(shape):
    diffusivity, mask, spacing = tissue(shape)
    u = np.random.default_rng(1).random(shape)
    change = np.asarray(operate(diffusivity, mask, spacing, u))
    assert abs(change.sum()) <= 1e-12 * np.abs(change).sum()
    assert np.abs(change).sum() > 1
    np.testing.assert_array_equal(change[~mask], 0)
    # What stands outside the mask is not felt inside.
    np.testing.assert_array_equal(operate(diffusivity, mask, spacing, np.where(mask, u, 7.0)), change)
    # Each side of the gap keeps its own cells.
    half = shape[0] // 2
    assert abs(change[:half].sum()) <= 1e-12 * np.abs(change).sum()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_operator_is_symmetric_negative_and_within_its_spectral_radius(shape):
    matrix, radius = map(np.asarray, assemble(*tissue(shape)))
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-14)
    eigenvalues = np.linalg.eigvalsh(matrix)
    assert eigenvalues.max() < 1e-12
    assert -eigenvalues.min() <= radius


def test_spectral_radius_is_sharp_on_a_large_uniform_grid():
    matrix, radius = assemble(np.full(64, 0.3), np.ones(64, bool), (2.0,))
    np.testing.assert_allclose(radius, 4 * 0.3 / 2.0**2, rtol=1e-12)
    assert -np.linalg.eigvalsh(matrix).min() > 0.99 * radius


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_steady_flux_through_two_tissues_is_exact(axis):
    """u piecewise linear with one flux q: nothing changes inside, q enters at one end and leaves at the other."""
    n, h, q, low, high = 12, 0.7, 0.3, 0.02, 0.5
    shape = tuple(n if a == axis else 1 for a in range(3))
    x = (np.arange(n) + 0.5 - n / 2) * h
    diffusivity = np.where(x < 0, low, high)
    u = -q * x / diffusivity
    spacing = tuple(h if a == axis else 9.0 for a in range(3))
    change = np.ravel(operate(diffusivity.reshape(shape), np.ones(shape, bool), spacing, u.reshape(shape)))
    np.testing.assert_allclose(change[1:-1], 0, atol=1e-12)
    np.testing.assert_allclose(change[[0, -1]], [-q / h, q / h], rtol=1e-12)


@pytest.mark.parametrize(("axes", "sizes"), [(1, (16, 32, 64, 128)), (2, (16, 32, 64)), (3, (8, 16, 32))])
def test_second_order_on_a_manufactured_solution(axes, sizes):
    """u = product of cos(k_a x_a), without flux at the walls, and a smooth D: every axis has a spacing of its own."""
    lengths = (3.0, 2.0, 2.5)[:axes]
    errors = []
    for n in sizes:
        spacing = tuple(length / (n * (a + 2) / 2) for a, length in enumerate(lengths))
        counts = [round(length / h) for length, h in zip(lengths, spacing, strict=True)]
        centres = [(np.arange(count) + 0.5) * h for count, h in zip(counts, spacing, strict=True)]
        x = np.meshgrid(*centres, indexing="ij")
        k = [np.pi / length for length in lengths]
        u = np.prod([np.cos(w * y) for w, y in zip(k, x, strict=True)], axis=0)
        diffusivity = 0.5 + 0.1 * sum(np.sin(y + 0.4) for y in x)
        exact = -diffusivity * sum(w**2 for w in k) * u
        for a in range(axes):
            others = np.prod([np.cos(k[b] * x[b]) for b in range(axes) if b != a], axis=0)
            exact = exact - 0.1 * np.cos(x[a] + 0.4) * k[a] * np.sin(k[a] * x[a]) * others
        errors.append(np.abs(operate(diffusivity, np.ones(counts, bool), spacing, u) - exact).max())
    order = -np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    assert abs(order - 2) < 0.1, (order, errors)


def total_mass_drift(dtype):
    """Relative change of the number of cells over 30 days without growth; the state has `dtype`."""
    rng = np.random.default_rng(3)
    mask = rng.random((9, 8, 7)) < 0.85
    domain = Domain(mask, (1.0, 1.2, 1.4), white_matter=rng.random(mask.shape), grey_matter=rng.random(mask.shape))
    model = FisherKPP(domain, diffusivity=0.3, proliferation_rate=0.0)
    state0 = mask * rng.random(mask.shape)
    state = simulate(model, Regimen(), state0, [30.0]).require_success().states[0]
    assert state.dtype == dtype
    assert np.abs(state - state0).max() > 0.1
    total0 = np.asarray(state0, dtype).astype(float).sum()
    return abs(np.asarray(state, float).sum() / total0 - 1)


def test_cells_are_conserved_over_a_solve():
    assert total_mass_drift(np.float64) < 1e-12


def test_cells_are_conserved_over_a_solve_in_single_precision():
    with jax.enable_x64(False):
        assert total_mass_drift(np.float32) < 1e-6


def test_gradient_is_finite_at_walls_and_where_nothing_diffuses():
    diffusivity, mask, spacing = tissue((9, 8))
    diffusivity[2:4] = 0
    u = np.random.default_rng(1).random((9, 8))
    gradient = jax.grad(lambda d: jnp.sum(operate(d, mask, spacing, u) ** 2))(diffusivity)
    assert jnp.isfinite(gradient).all()
    assert float(jnp.abs(gradient).max()) > 0.1


def test_nan_does_not_pass_for_a_wall():
    """Otherwise a solve with a NaN diffusivity would succeed, without diffusion."""
    diffusivity, mask, spacing = tissue((9, 8))
    assert np.isnan(operate(np.nan * diffusivity, mask, spacing, np.ones((9, 8)))).any()


def outcome(parts, u):
    """A number that depends on every leaf of the operator, and on the density in third power."""
    faces, scale, strides = parts
    operator = DiffusionOperator(faces, scale, strides)
    once = operator(u)
    return jnp.sum(jnp.sin(operator(once * u)) * once)


@pytest.mark.parametrize("shape", FEWER, ids=str)
@pytest.mark.parametrize("which", ["everything", "scale", "one face", "density"])
def test_derivatives_agree_with_differences_whatever_has_a_tangent(shape, which):
    diffusivity, mask, spacing = tissue(shape)
    operator = DiffusionOperator.create(jnp.asarray(diffusivity), jnp.asarray(mask), spacing, scale=0.3)
    u = jnp.asarray(np.random.default_rng(1).random(shape))

    def of(x):
        faces, scale, density = operator.faces, operator.scale, u
        if which == "everything":
            faces, scale = tuple(face * (1 + x * x) for face in faces), scale + x
        elif which == "scale":
            scale = scale + x
        elif which == "one face":
            faces = (faces[0] * (1 + x), *faces[1:])
        if which in ("everything", "density"):
            density = density * jnp.cos(x * jnp.linspace(0.0, 5.0, u.size).reshape(u.shape))
        return outcome((faces, scale, operator.strides), density)

    x, step = jnp.asarray(0.2), 1e-5
    difference = float(of(x + step) - of(x - step)) / (2 * step)
    forward = float(jax.jvp(of, (x,), (jnp.ones(()),))[1])
    assert forward == pytest.approx(difference, rel=1e-6)
    assert float(jax.grad(of)(x)) == pytest.approx(forward, rel=1e-11)
    many = jax.vmap(lambda tangent: jax.jvp(of, (x,), (tangent,))[1])(jnp.arange(3.0))
    np.testing.assert_allclose(many, forward * np.arange(3.0), rtol=1e-11)
    # Curvature: forward over reverse, as matrix-free Hessian products take it.
    curvature = float(jax.jvp(jax.grad(of), (x,), (jnp.ones(()),))[1])
    slope = float(jax.grad(of)(x + step) - jax.grad(of)(x - step)) / (2 * step)
    assert curvature == pytest.approx(slope, rel=1e-5)


@pytest.mark.parametrize("shape", FEWER, ids=str)
@pytest.mark.parametrize(
    "stages", [pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.thorough)]
)
def test_a_step_has_the_derivatives_of_the_operator(shape, stages):
    """`over` multiplies the duration in and gives the diffusivity one tangent: nothing of that shows outside."""
    diffusivity, mask, spacing = tissue(shape)
    mask = jnp.asarray(mask)
    u = jnp.asarray(np.random.default_rng(1).random(shape)).reshape(-1)

    def plain(field, scale, duration, u):
        operator = DiffusionOperator.create(field, mask, spacing, scale=scale)
        first = duration * operator(u)
        return u + first + (0.5 * duration * operator(first) if stages == 2 else 0)

    def step(field, scale, duration, u):
        step = DiffusionOperator.create(field, mask, spacing, scale=scale).over(duration)
        return step.second_order(u) if stages == 2 else u + step(u)

    def outcome(of):
        def number(x):
            field = jnp.asarray(diffusivity) * (1 + x * jnp.linspace(0.0, 1.0, mask.size).reshape(shape))
            density = u * jnp.cos(x * jnp.linspace(0.0, 5.0, u.size))
            return jnp.sum(jnp.sin(5 * of(field, 0.3 + x, 0.4 * (1 + x) ** 2, density)))

        return number

    one, other = jax.jit(outcome(step)), jax.jit(outcome(plain))
    x = jnp.asarray(0.2)
    assert one(x) == pytest.approx(float(other(x)), rel=1e-13)
    for derivative in (jax.grad, jax.jacfwd, lambda f: jax.jacfwd(jax.grad(f)), lambda f: jax.grad(jax.grad(f))):
        assert float(derivative(one)(x)) == pytest.approx(float(derivative(other)(x)), rel=1e-9)
    # Batches, before and after the derivative.
    xs = jnp.array([0.1, 0.2, 0.3])
    expected = jax.vmap(jax.grad(other))(xs)
    np.testing.assert_allclose(jax.vmap(jax.grad(one))(xs), expected, rtol=1e-9)
    np.testing.assert_allclose(jax.grad(lambda xs: jax.vmap(one)(xs).sum())(xs), expected, rtol=1e-9)
    # Nothing moves at a diffusivity of zero, and yet the derivative is there.
    still = jax.jacfwd(lambda scale: step(jnp.asarray(diffusivity), scale, 0.5, u))(0.0)
    np.testing.assert_allclose(
        still, 0.5 * operate(diffusivity, mask, spacing, u.reshape(shape)).reshape(-1), rtol=1e-9
    )


def test_a_field_of_diffusivities_gets_its_gradient():
    diffusivity, mask, spacing = tissue(SHAPES[-1])
    u = jnp.asarray(np.random.default_rng(1).random(mask.shape))

    def of(field):
        return jnp.sum(operate(field, mask, spacing, u) ** 2)

    field = jnp.asarray(diffusivity)
    gradient = np.asarray(jax.grad(of)(field))
    assert not gradient[~mask].any()
    for voxel in map(tuple, np.argwhere(mask)[::17]):
        bump = jnp.zeros(mask.shape).at[voxel].set(1e-6)
        difference = float(of(field + bump) - of(field - bump)) / 2e-6
        assert gradient[voxel] == pytest.approx(difference, rel=1e-6, abs=1e-7)


def test_the_stencil_of_single_voxels_is_the_operator():
    diffusivity, mask, spacing = tissue((6, 5, 7))
    operator = DiffusionOperator.create(jnp.asarray(diffusivity), jnp.asarray(mask), spacing, scale=1.7)
    u = jnp.asarray(np.random.default_rng(4).random(mask.shape))
    voxels = jnp.arange(mask.size)
    neighbours, exchange = operator.stencil(voxels)
    found = jnp.sum(exchange * (u.ravel()[neighbours] - u.ravel()[:, None]), axis=1)
    np.testing.assert_allclose(found, operator(u).ravel(), atol=1e-12)
