"""Whole treated solves against the peer's way, with the error of both."""

import math
import statistics
import time

import case
import diffrax
import jax
import jax.numpy as jnp
import numba
import numpy as np
import peer
from kernel import faces_on_grid, inflow
from measure import Row, interleaved, median

from twinjax.simulation import simulate

MAX_STEP_DAYS = 4.0
REPEATS_OF_THE_PEER = 5


@numba.njit(parallel=True, fastmath=True)
def _stage(base, u, x, y, z, out, weight, gain, crowding):
    """A stage of diffusion from `base` with the operator at `u`, and the flow of the logistic equation."""
    for i in numba.prange(1, u.shape[0] - 1):
        for j in range(1, u.shape[1] - 1):
            for k in range(1, u.shape[2] - 1):
                spread = base[i, j, k] + weight * inflow(u, x, y, z, i, j, k)
                out[i, j, k] = gain * spread / (1 + crowding * spread)


def _limit(model, state0, days):
    """The bare arithmetic of our solve, without its doses, in one fused kernel a stage on all cores: a function."""
    count = math.ceil(days / MAX_STEP_DAYS)
    step = days / count
    faces = [
        np.pad(step * face, 1).astype(np.float32) for face in faces_on_grid(model.transport(None), model.domain.shape)
    ]
    u, middle, after = (np.pad(np.asarray(state0, np.float32), 1) for _ in range(3))
    growth = math.exp(float(model.proliferation_rate) * step)
    half, one, none, gain, crowding = map(np.float32, (0.5, 1.0, 0.0, growth, growth - 1))

    def solve():
        here, there = u, after
        for _ in range(count):
            _stage(here, here, *faces, middle, half, one, none)
            _stage(here, middle, *faces, there, one, gain, crowding)
            here, there = there, here
        return here

    return solve


def rows() -> list[Row]:
    return [*_slab(), *_whole_brain()]


def slab_reference() -> np.ndarray:
    """The last day of the treated region in double precision.

    Neither split nor of fixed steps: nothing in common with those that it judges but the equations.
    """
    with jax.enable_x64(True):
        domain = case.slab()
        trajectory = simulate(
            case.model(domain, case.PARAMETERS),
            case.regimen(case.PARAMETERS),
            case.state0(domain),
            [case.HORIZON_DAYS],
            solver=diffrax.Tsit5(),
            stepsize_controller=diffrax.PIDController(rtol=1e-7, atol=1e-9),
        )
        return np.asarray(trajectory.require_success().states[0])


def relative_error(found, reference) -> float:
    return float(np.linalg.norm(found - reference) / np.linalg.norm(reference))


def _slab() -> list[Row]:
    days = case.HORIZON_DAYS
    reference = slab_reference()
    domain = case.slab()
    model, regimen, state0 = case.model(domain, case.PARAMETERS), case.regimen(case.PARAMETERS), case.state0(domain)

    def ours():
        return simulate(model, regimen, state0, [days], max_step=MAX_STEP_DAYS).states

    def theirs():
        return peer.solve(model, regimen, state0, days)

    # The pool of threads of one would disturb the other: each by itself.
    mine = interleaved({"twinjax": ours})
    limit = median(interleaved({"limit": _limit(model, state0, days)}), "limit")
    its = interleaved({"peer": theirs}, REPEATS_OF_THE_PEER)
    faster = median(its, "peer") / median(mine, "twinjax")
    return [
        Row(
            "270 days treated, 77 x 116 x 36",
            f"{1e3 * median(mine, 'twinjax'):.0f} ms, error {100 * relative_error(ours()[0], reference):.3f} %",
            f"{faster:.0f} times the peer ({median(its, 'peer'):.1f} s, "
            f"{100 * relative_error(theirs(), reference):.0f} % error); a fused numba kernel of our steps without the "
            f"doses: {1e3 * limit:.0f} ms, {median(its, 'peer') / limit:.0f} times",
            "300 times, 0.07 s, 0.3 %",
        )
    ]


def _whole_brain() -> list[Row]:
    domain, days = case.whole_brain(), case.WHOLE_BRAIN_DAYS
    model, regimen, state0 = case.model(domain, case.PARAMETERS), case.regimen(case.PARAMETERS), case.state0(domain)

    def ours(active_box=True, max_step=MAX_STEP_DAYS):
        return simulate(model, regimen, state0, [days], max_step=max_step, active_box=active_box).states

    mine = interleaved({"box": ours, "grid": lambda: ours(False)}, 5)
    # The peer takes minutes for the whole: one day before any treatment, of which all are alike, is timed instead.
    its = []
    for _ in range(REPEATS_OF_THE_PEER):
        start = time.perf_counter()
        peer.solve(model, regimen, state0, 1.0)
        its.append(time.perf_counter() - start)
    whole = days * statistics.median(its)
    fine = ours(False, 0.5)
    return [
        Row(
            "180 days treated, whole brain at 1 mm",
            f"{median(mine, 'box'):.2f} s, error {100 * relative_error(jnp.asarray(ours()), fine):.3f} %",
            f"{whole / median(mine, 'box'):.0f} times the peer ({whole:.0f} s from one day); "
            f"{median(mine, 'grid'):.1f} s without the active box",
            "300 times",
        )
    ]
