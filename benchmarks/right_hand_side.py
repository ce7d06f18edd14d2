"""Throughput of the diffusion operator against a fused kernel on all cores and against copying memory."""

import jax
import jax.numpy as jnp
import numba
import numpy as np
from kernel import faces_on_grid, inflow
from measure import Row, interleaved, median, ratio

from twinjax.domain import DiffusionOperator

# Applications in one call: u <- u + step * operator(u), as a solve makes them.
APPLICATIONS = 20
STEP = 0.5


@numba.njit(parallel=True, fastmath=True)
def _kernel(u, x, y, z, out, step):
    for i in numba.prange(1, u.shape[0] - 1):
        for j in range(1, u.shape[1] - 1):
            for k in range(1, u.shape[2] - 1):
                out[i, j, k] = u[i, j, k] + step * inflow(u, x, y, z, i, j, k)


@numba.njit(parallel=True)
def _copy(a, b):
    for i in numba.prange(a.shape[0]):
        b[i] = a[i]


def rows() -> list[Row]:
    found = []
    for size in (96, 192):
        for dtype in (np.float32, np.float64):
            with jax.enable_x64(dtype == np.float64):
                found += _rows(size, dtype)
    return found


def _rows(size, dtype) -> list[Row]:
    rng = np.random.default_rng(0)
    shape = (size, size, size)
    u = rng.random(shape).astype(dtype)
    diffusivity = (0.01 + 0.1 * rng.random(shape)).astype(dtype)
    operator = DiffusionOperator.create(jnp.asarray(diffusivity), jnp.ones(shape, bool), (1.0, 1.0, 1.0))
    step = operator.over(STEP)
    repeated = jax.jit(lambda step, u: jax.lax.fori_loop(0, APPLICATIONS, lambda _, u: u + step(u), u))
    flat = jnp.asarray(u).reshape(-1)

    faces = [np.pad(face, 1) for face in faces_on_grid(operator, shape)]
    here, there = np.pad(u, 1), np.zeros([n + 2 for n in shape], dtype)
    step_size = dtype(STEP)

    def kernel():
        for _ in range(APPLICATIONS // 2):
            _kernel(here, *faces, there, step_size)
            _kernel(there, *faces, here, step_size)

    source, target = u.reshape(-1), np.zeros(u.size, dtype)

    def copy():
        for _ in range(APPLICATIONS):
            _copy(source, target)

    kernel()
    expected = repeated(step, flat).reshape(shape)
    assert np.abs(here[1:-1, 1:-1, 1:-1] - expected).max() < 1e-4, "the two do not compute the same"
    # The threads of one wait busily for a while and would disturb the next: each by itself.
    functions = {"twinjax": lambda: repeated(step, flat), "numba": kernel, "copy": copy}
    seconds = {}
    for name, function in functions.items():
        seconds |= interleaved({name: function})
    voxels = APPLICATIONS * u.size / 1e6
    name = np.dtype(dtype).name
    return [
        Row(
            f"operator, {size}³, {name}",
            f"{voxels / median(seconds, 'twinjax'):.0f} Mvoxel/s",
            f"{100 / ratio(seconds, 'twinjax', 'numba'):.0f} % of numba's "
            f"({voxels / median(seconds, 'numba'):.0f}), {100 / ratio(seconds, 'twinjax', 'copy'):.0f} % of copying",
            "60 % of numba",
        )
    ]
