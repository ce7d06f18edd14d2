"""RKL2: its stability polynomial, order, stability bound and sign."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.polynomial.legendre import Legendre
from scipy.linalg import expm

from twinjax.core.errors import InputError
from twinjax.domain import DiffusionOperator
from twinjax.solver.runge_kutta_legendre import RungeKuttaLegendre, rkl2, stable_duration

N = 40


def step_matrix(operator, duration, stages):
    return np.asarray(jax.jit(jax.jacfwd(lambda u: rkl2(operator, u, duration, stages)))(jnp.zeros(N)))


@pytest.fixture(scope="module")
def uniform() -> DiffusionOperator:
    return DiffusionOperator.create(jnp.full((N,), 0.4), jnp.ones(N, bool), (1.0,))


@pytest.mark.parametrize("stages", [2, 3, 5, 8])
def test_stability_polynomial(stages):
    """R(z) = 1 - b + b P_s(1 + w z) (Meyer, Balsara and Aslam 2014, equation 10), P_s the Legendre polynomial."""
    b, w = (stages**2 + stages - 2) / (2 * stages * (stages + 1)), 4 / (stages**2 + stages - 2)
    z = np.linspace(-2 / w, 0, 23)
    expected = 1 - b + b * Legendre.basis(stages)(1 + w * z)
    np.testing.assert_allclose(rkl2(lambda u: z * u, jnp.ones(23), 1.0, stages), expected, atol=1e-13)


@pytest.mark.parametrize("stages", [2, 3, 5])
def test_second_order_in_time(stages):
    rng = np.random.default_rng(0)
    operator = DiffusionOperator.create(jnp.asarray(rng.uniform(0.1, 1.0, N)), jnp.ones(N, bool), (1.0,))
    u0, duration = rng.random(N), 8.0
    exact = expm(duration * np.asarray(jax.jacfwd(operator)(jnp.zeros(N)))) @ u0
    steps = np.array([32, 64, 128, 256])
    errors = [
        np.abs(np.linalg.matrix_power(step_matrix(operator, duration / n, stages), n) @ u0 - exact).max() for n in steps
    ]
    order = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert abs(order - 2) < 0.1, (order, errors)


@pytest.mark.parametrize("stages", [2, 3, 5])
def test_stable_at_the_bound_and_unstable_above(uniform, stages):
    bound = stable_duration(uniform.spectral_radius, stages)
    np.testing.assert_allclose(bound, (stages**2 + stages - 2) / 2 / (4 * 0.4), rtol=1e-12)
    growth = [np.abs(np.linalg.eigvals(step_matrix(uniform, f * bound, stages))).max() for f in (1.0, 1.3)]
    assert growth[0] <= 1 + 1e-12
    assert growth[1] > 1.5


@pytest.mark.parametrize("shape", [(N,), (9, 8), (6, 5, 7)], ids=str)
def test_two_stages_keep_densities_between_zero_and_one(shape):
    """Also from voxels of 0 beside voxels of 1, in tissue of any diffusivity."""
    rng = np.random.default_rng(1)
    diffusivity = jnp.asarray(10 ** rng.uniform(-2, 0, shape))
    mask = jnp.asarray(rng.random(shape) < 0.9)
    operator = DiffusionOperator.create(diffusivity, mask, (1.0, 0.7, 2.0)[: len(shape)])
    u = jnp.where(mask, jnp.asarray(rng.random(shape) < 0.2, float), 0.0)
    step = jax.jit(lambda u: rkl2(operator, u, stable_duration(operator.spectral_radius, 2), 2))
    for _ in range(5):
        u = step(u)
        assert u.min() > -1e-15
        assert u.max() < 1 + 1e-15
    assert 0.01 < float(jnp.std(u)) < 0.5


@pytest.mark.thorough
def test_adaptive_solver_follows_a_stiff_equation_that_depends_on_time():
    """du/dt = L u - k(t) u on 40 voxels has the solution exp(L t - integral of k) u0."""
    rng = np.random.default_rng(0)
    operator = DiffusionOperator.create(jnp.asarray(rng.uniform(1.0, 30.0, N)), jnp.ones(N, bool), (1.0,))
    u0, duration = rng.random(N), 4.0
    exact = expm(duration * np.asarray(jax.jacfwd(operator)(jnp.zeros(N)))) @ u0 * np.exp(-(1 - np.cos(duration)))

    def solve(tolerance, stages):
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, u, _: operator(u) - jnp.sin(t) * u),
            RungeKuttaLegendre(stages),
            0.0,
            duration,
            1e-3,
            u0,
            stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
        )
        assert solution.ys is not None
        return np.abs(solution.ys[-1] - exact).max(), int(solution.stats["num_steps"])

    tolerances = np.array([1e-4, 1e-5, 1e-6, 1e-7])
    errors = [solve(tolerance, 4)[0] for tolerance in tolerances]
    # An error per step of third order is kept at the tolerance: the whole error falls as its power 2/3.
    assert abs(np.polyfit(np.log(tolerances), np.log(errors), 1)[0] - 2 / 3) < 0.12
    assert errors[-1] < 1e-5
    # Where stability and not accuracy limits the step, more stages take fewer steps.
    assert solve(1e-2, 8)[1] < 0.6 * solve(1e-2, 3)[1]


def test_fixed_steps_of_the_adaptive_solver_are_of_second_order():
    """On u' = u (1 - u) cos t, whose right-hand side is not linear and depends on time."""
    u0 = jnp.array([0.1, 0.6])
    exact = 1 / (1 + (1 / u0 - 1) * np.exp(-np.sin(3.0)))
    counts = np.array([64, 128, 256, 512])
    errors = []
    for count in counts:
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, u, _: u * (1 - u) * jnp.cos(t)), RungeKuttaLegendre(3), 0.0, 3.0, 3.0 / count, u0
        )
        assert solution.ys is not None
        errors.append(np.abs(solution.ys[-1] - exact).max())
    order = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert abs(order - 2) < 0.15, (order, errors)


def test_too_few_stages_are_refused():
    with pytest.raises(InputError, match="at least 2 stages, got 1"):
        RungeKuttaLegendre(1)
