"""On a GPU: `python benchmarks/gpu.py`, some minutes; or some of its parts, `python benchmarks/gpu.py operator solve`.

What a pass and whole solves take there, and against what. A kernel's bandwidth is that of the bytes it must move: a
density and three faces read, a density written. That of copying is of arrays far larger than any cache.
"""

import sys
from functools import partial

import batch
import calibration
import case
import derivative
import jax
import jax.numpy as jnp
import numpy as np
import peer
import torch
from forward import relative_error, slab_reference
from measure import Row, interleaved, machine, median, table

from twinjax.domain import DiffusionOperator, Execution
from twinjax.simulation import simulate
from twinjax.solver import StrangSplitting

KERNELS = ("pallas", "xla")
# Passes in one call, so that starting them counts for little.
APPLICATIONS = 50
COPIED_BYTES = 2**30
MAX_STEP_DAYS = 4.0
REPEATS_OF_THE_PEER = 3


def main(names: list[str]) -> None:
    parts = {
        "operator": operator_rows,
        "solve": solve_rows,
        "brain": whole_brain_rows,
        "derivative": derivative.rows,
        "calibration": partial(calibration.rows, "cuda"),
        "batch": batch.solves,
    }
    unknown = set(names) - set(parts)
    if unknown:
        sys.exit(f"no part {', '.join(sorted(unknown))}; choose from {', '.join(parts)}")
    device = jax.devices()[0]
    if device.platform != "gpu":
        sys.exit(
            f"no GPU: jax {jax.__version__} found {device.platform} only; install jax[cuda12] on a machine with one"
        )
    print(f"{device.device_kind}, {len(jax.devices())} of them; {machine()}, torch {torch.__version__}", flush=True)
    rows: list[Row] = []
    for name in names or parts:
        found = parts[name]()
        rows += found
        print("\n".join(table(found).splitlines()[2:]), file=sys.stderr, flush=True)
    print(table(rows))


def operator_rows() -> list[Row]:
    copied = copying_gigabytes_per_second()
    rows = []
    for shape in ((96,) * 3, (192,) * 3, (197, 233, 189), (384,) * 3):
        for dtype in (np.float32, np.float64):
            with jax.enable_x64(dtype == np.float64):
                rows.append(_operator_row(shape, dtype, copied))
    return rows


def copying_gigabytes_per_second() -> float:
    """Bytes read and written."""
    # A number is added in every pass, or the compiler would leave it out.
    copy = jax.jit(lambda u: jax.lax.fori_loop(0, APPLICATIONS, lambda i, u: u + i.astype(u.dtype), u))
    array = jnp.ones(COPIED_BYTES // 4, jnp.float32)
    seconds = interleaved({"copy": lambda: copy(array)})
    return 2 * APPLICATIONS * COPIED_BYTES / 1e9 / median(seconds, "copy")


def _operator_row(shape: tuple[int, ...], dtype, copied: float) -> Row:
    """u <- u + step * operator(u), a stage at a time."""
    rng = np.random.default_rng(0)
    u = jnp.asarray(rng.random(shape, np.float32).astype(dtype)).reshape(-1)
    diffusivity = jnp.asarray((0.01 + 0.1 * rng.random(shape, np.float32)).astype(dtype))
    operator = DiffusionOperator.create(diffusivity, jnp.ones(shape, bool), (1.0, 1.0, 1.0))

    @partial(jax.jit, static_argnames="kernel")
    def repeated(operator, u, kernel):
        step = operator.by(Execution(kernel)).over(0.2)
        # Written out: a GPU waits longer to be told whether a loop goes on than a pass over a small grid takes.
        return jax.lax.fori_loop(0, APPLICATIONS // 2, lambda _, u: step.second_order(u), u, unroll=True)

    one, other = (repeated(operator, u, kernel) for kernel in KERNELS)
    error = float(jnp.abs(one - other).max())
    assert error < (1e-4 if dtype == np.float32 else 1e-10), f"the kernels do not compute the same: {error}"
    seconds = interleaved({kernel: lambda kernel=kernel: repeated(operator, u, kernel) for kernel in KERNELS})

    def of(kernel):
        passes = APPLICATIONS / median(seconds, kernel)
        share = 100 * 5 * passes * u.nbytes / 1e9 / copied
        return f"{kernel} {passes * u.size / 1e6:.0f} Mvoxel/s, {share:.0f} %"

    name = f"a stage of diffusion, {' x '.join(map(str, shape))}, {np.dtype(dtype).name}"
    return Row(name, "; ".join(map(of, KERNELS)), f"of copying, {copied:.0f} GB/s", "50 % of copying")


def solve_rows() -> list[Row]:
    days, reference = case.HORIZON_DAYS, slab_reference()
    domain = case.slab()
    model, regimen, state0 = case.model(domain, case.PARAMETERS), case.regimen(case.PARAMETERS), case.state0(domain)
    mine = interleaved(
        {kernel: lambda kernel=kernel: _solved(model, regimen, state0, days, kernel) for kernel in ("auto", *KERNELS)}
    )
    its = interleaved({"peer": lambda: peer.solve(model, regimen, state0, days, "cuda")}, REPEATS_OF_THE_PEER)
    error = relative_error(_solved(model, regimen, state0, days), reference)
    of_peer = relative_error(peer.solve(model, regimen, state0, days, "cuda"), reference)
    return [
        Row(
            "270 days treated, 77 x 116 x 36",
            f"{1e3 * median(mine, 'auto'):.2f} ms, error {100 * error:.3f} %",
            f"{median(its, 'peer') / median(mine, 'auto'):.0f} times the peer on this GPU "
            f"({median(its, 'peer'):.2f} s, {100 * of_peer:.0f} % error); "
            + ", ".join(f"{1e3 * median(mine, kernel):.2f} ms by {kernel}" for kernel in KERNELS),
            "300 times, 0.3 %",
        )
    ]


def whole_brain_rows() -> list[Row]:
    domain, days = case.whole_brain(), case.WHOLE_BRAIN_DAYS
    model, regimen, state0 = case.model(domain, case.PARAMETERS), case.regimen(case.PARAMETERS), case.state0(domain)
    mine = interleaved(
        {
            "auto": lambda: _solved(model, regimen, state0, days),
            "grid": lambda: _solved(model, regimen, state0, days, active_box=False),
        }
    )
    its = interleaved({"peer": lambda: peer.solve(model, regimen, state0, days, "cuda")}, REPEATS_OF_THE_PEER)
    fine = _solved(model, regimen, state0, days, active_box=False, max_step=0.5)
    error = relative_error(np.asarray(_solved(model, regimen, state0, days)), np.asarray(fine))
    return [
        Row(
            "180 days treated, whole brain at 1 mm",
            f"{1e3 * median(mine, 'auto'):.1f} ms, error {100 * error:.3f} %",
            f"{median(its, 'peer') / median(mine, 'auto'):.0f} times the peer on this GPU "
            f"({median(its, 'peer'):.1f} s); {1e3 * median(mine, 'grid'):.1f} ms without the active box",
            "300 times",
        )
    ]


def _solved(model, regimen, state0, days, kernel="auto", max_step=MAX_STEP_DAYS, active_box=True):
    solver = StrangSplitting(kernel=kernel)
    return simulate(model, regimen, state0, [days], solver=solver, max_step=max_step, active_box=active_box).states[0]


if __name__ == "__main__":
    main(sys.argv[1:])
