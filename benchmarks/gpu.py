"""On a GPU: `python benchmarks/gpu.py`, some minutes. What a pass and whole solves take there, and against what.

The first rows are of each kernel by itself, in the bandwidth that copying an array of the same size has on that GPU.
"""

import sys

import batch
import case
import derivative
import jax
import jax.numpy as jnp
import numpy as np
from measure import Row, interleaved, machine, median, ratio, table

from twinjax.domain import DiffusionOperator, Execution
from twinjax.simulation import simulate
from twinjax.solver import StrangSplitting

KERNELS = ("pallas", "xla")
# Passes in one call, so that starting them counts for little.
APPLICATIONS = 50
MAX_STEP_DAYS = 4.0


def main() -> None:
    device = jax.devices()[0]
    if device.platform != "gpu":
        sys.exit(
            f"no GPU: jax {jax.__version__} found {device.platform} only; install jax[cuda12] on a machine with one"
        )
    print(f"{device.device_kind}, {len(jax.devices())} of them; {machine()}", flush=True)
    rows: list[Row] = []
    for size in (96, 192):
        for dtype in (np.float32, np.float64):
            with jax.enable_x64(dtype == np.float64):
                rows.append(operator_row(size, dtype))
    rows += [solve_row(), *derivative.rows(), *batch.rows()]
    print(table(rows))


def operator_row(size: int, dtype) -> Row:
    """u <- u + step * operator(u): the density and three faces are read once and the density written, at best."""
    rng = np.random.default_rng(0)
    shape = (size, size, size)
    u = jnp.asarray(rng.random(shape).astype(dtype)).reshape(-1)
    diffusivity = jnp.asarray((0.01 + 0.1 * rng.random(shape)).astype(dtype))
    operator = DiffusionOperator.create(diffusivity, jnp.ones(shape, bool), (1.0, 1.0, 1.0))

    def repeated(u, kernel):
        step = operator.by(Execution(kernel)).over(0.2)
        return jax.lax.fori_loop(0, APPLICATIONS // 2, lambda _, u: step.second_order(u), u)

    functions = {kernel: jax.jit(lambda u, kernel=kernel: repeated(u, kernel)) for kernel in KERNELS}
    # Written elsewhere in every pass, or the compiler would leave it out.
    functions["copy"] = jax.jit(lambda u: jax.lax.fori_loop(0, APPLICATIONS, lambda i, u: u + i.astype(u.dtype), u))
    one, other = (functions[kernel](u) for kernel in KERNELS)
    error = float(jnp.abs(one - other).max())
    assert error < (1e-4 if dtype == np.float32 else 1e-10), f"the kernels do not compute the same: {error}"
    seconds = interleaved({name: lambda f=function: f(u) for name, function in functions.items()})
    gigabytes = APPLICATIONS * u.nbytes / 1e9
    copied = 2 * gigabytes / median(seconds, "copy")

    def of(kernel):
        bandwidth = 5 * gigabytes / median(seconds, kernel)
        voxels = APPLICATIONS * u.size / median(seconds, kernel) / 1e6
        return f"{kernel} {voxels:.0f} Mvoxel/s, {bandwidth:.0f} GB/s, {100 * bandwidth / copied:.0f} % of copying"

    name = f"a stage of diffusion, {size}³, {np.dtype(dtype).name}"
    return Row(name, "; ".join(map(of, KERNELS)), f"copying {copied:.0f} GB/s", "50 % of copying")


def solve_row() -> Row:
    domain = case.slab()
    model, regimen, state0 = case.model(domain, case.PARAMETERS), case.regimen(case.PARAMETERS), case.state0(domain)

    def solve(kernel):
        solver = StrangSplitting(kernel=kernel)
        return simulate(model, regimen, state0, [case.HORIZON_DAYS], solver=solver, max_step=MAX_STEP_DAYS).states

    difference = float(jnp.linalg.norm(solve("pallas") - solve("xla")) / jnp.linalg.norm(solve("xla")))
    seconds = interleaved({kernel: lambda kernel=kernel: solve(kernel) for kernel in KERNELS})
    return Row(
        "270 days treated, 77 x 116 x 36",
        f"{1e3 * median(seconds, 'pallas'):.2f} ms",
        f"{ratio(seconds, 'xla', 'pallas'):.2f} times as fast as kernel=xla, which differs by {difference:.0e}",
    )


if __name__ == "__main__":
    main()
