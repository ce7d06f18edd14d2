"""The Pallas kernel, interpreted where there is no GPU, against what XLA makes of the same stage."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.domain import DiffusionOperator, Execution, anisotropic_diffusion

# More voxels than a block of the kernel has.
SHAPE = (9, 13, 11)
RNG = np.random.default_rng(0)
MASK = jnp.asarray(RNG.random(SHAPE) < 0.85)
FIELD = RNG.uniform(0.05, 1.0, SHAPE)
DENSITY = RNG.random(SHAPE).reshape(-1)


def moved(field, scale, u, kernel):
    """A stage and a whole step."""
    operator = DiffusionOperator.create(jnp.asarray(field), MASK, (1.0, 1.5, 0.8), scale=scale).by(Execution(kernel))
    step, u = operator.over(0.2), jnp.asarray(u)
    return step(u), step.second_order(u)


@pytest.mark.parametrize(
    ("dtype", "rtol"), [pytest.param(np.float32, 1e-6, marks=pytest.mark.thorough), (np.float64, 1e-14)]
)
def test_the_kernel_computes_what_xla_does(dtype, rtol):
    arguments = FIELD.astype(dtype), dtype(0.3), DENSITY.astype(dtype)
    with jax.enable_x64(dtype == np.float64):
        for kernel, expected in zip(moved(*arguments, "pallas"), moved(*arguments, "xla"), strict=True):
            assert kernel.dtype == expected.dtype == dtype
            np.testing.assert_allclose(kernel, expected, rtol=rtol, atol=rtol * float(jnp.abs(expected).max()))


def test_derivatives_and_batches_are_those_of_xla():
    def outcome(field, scale, u, kernel):
        first, second = moved(field, scale, u, kernel)
        return jnp.sum(jnp.sin(5 * first)) + jnp.sum(jnp.cos(3 * second))

    scales, densities = jnp.array([0.3, 0.5]), jnp.asarray(DENSITY) * jnp.array([[1.0], [0.7]])

    @jax.jit
    def derivatives(field):
        one, other = (
            jax.vmap(jax.grad(lambda f, s, u, k=kernel: outcome(f, s, u, k), (0, 1, 2)), (None, 0, 0))(
                field, scales, densities
            )
            for kernel in ("pallas", "xla")
        )
        return one, other

    one, other = derivatives(jnp.asarray(FIELD))
    for found, expected in zip(one, other, strict=True):
        assert float(jnp.abs(expected).max()) > 1e-3
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13)


def test_a_tensor_has_diagonal_neighbours():
    factor, mask = RNG.normal(size=(2, 2, 36, 35)), jnp.asarray(RNG.random((36, 35)) < 0.85)
    tensor = jnp.asarray(np.einsum("ik...,jk...->ij...", factor, factor))

    def change(kernel):
        return anisotropic_diffusion(tensor, mask, (1.0, 1.5)).by(Execution(kernel))(jnp.asarray(DENSITY[: mask.size]))

    expected = jax.jit(change, static_argnums=0)("xla")
    np.testing.assert_allclose(jax.jit(change, static_argnums=0)("pallas"), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("batch", [False, True])
def test_a_gpu_gets_the_kernel_by_itself_and_a_cpu_does_not(batch):
    """The program for a GPU is made, Triton code and all, but not run."""

    def program(platform, kernel):
        def step(u):
            return moved(jnp.asarray(FIELD), 0.3, u, kernel)[1]

        u = jnp.asarray(DENSITY)
        traced = jax.jit(jax.vmap(step)).trace(jnp.stack([u, u])) if batch else jax.jit(step).trace(u)
        return traced.lower(lowering_platforms=(platform,)).as_text()

    # Two stages.
    assert program("cuda", "auto").count("__gpu$xla.gpu.triton") == 2
    assert "triton" not in program("cuda", "xla")
    assert "triton" not in program("cpu", "auto")
