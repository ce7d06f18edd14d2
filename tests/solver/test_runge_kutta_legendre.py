"""RKL2: its stability polynomial, order, stability bound and sign."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.polynomial.legendre import Legendre
from scipy.linalg import expm

from twinjax.domain import DiffusionOperator
from twinjax.solver.runge_kutta_legendre import rkl2, stable_duration

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
