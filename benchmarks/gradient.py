"""What a gradient costs, in forward solves: `python benchmarks/gradient.py`.

A synthetic ball of tumour on a cube of 40³ voxels of 2 mm, 100 days under 60 Gy in 30 fractions and daily
temozolomide, float64. The derivative is that of the total density in four parameters (D, rho, alpha, sensitivity),
by forward and by reverse mode, there also with diffrax's own number of checkpoints. Medians of seven, in one run.
"""

import os
import platform
import statistics
import time

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from twinjax.domain import Domain
from twinjax.model import FisherKPP
from twinjax.simulate import CHECKPOINTS, simulate
from twinjax.treatment import Chemotherapy, Radiotherapy, Regimen

REPEATS = 7
N = 40


def problem():
    """`(loss(parameters, adjoint), parameters)`."""
    rng = np.random.default_rng(0)
    mask = np.ones((N, N, N), bool)
    mask[: N // 8] = False
    white = rng.random(mask.shape) * mask
    domain = Domain(mask, (2.0, 2.0, 2.0), white_matter=white, grey_matter=(1 - white) * mask)
    distance = np.linalg.norm(np.indices(mask.shape) - N / 2, axis=0)
    state0 = jnp.asarray(np.exp(-((distance / 5) ** 2)) * mask)

    def loss(parameters, adjoint=None):
        diffusivity, rate, alpha, sensitivity = parameters
        model = FisherKPP(domain, diffusivity=diffusivity, proliferation_rate=rate)
        days = 17.0 + np.arange(42.0)
        regimen = Regimen(
            [
                Radiotherapy(days[days % 7 < 5][:30], 2.0, alpha=alpha),
                Chemotherapy(days, 75.0, sensitivity=sensitivity),
            ]
        )
        return simulate(model, regimen, state0, [100.0], adjoint=adjoint).states.sum()

    return loss, jnp.asarray([0.1, 0.04, 0.03, 0.1])


def seconds(function, *arguments) -> float:
    jax.block_until_ready(function(*arguments))
    found = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    loss, parameters = problem()
    few = diffrax.RecursiveCheckpointAdjoint(checkpoints=CHECKPOINTS)
    many = diffrax.RecursiveCheckpointAdjoint()

    def jacobian(p):
        return jax.jacfwd(lambda q: loss(q, diffrax.ForwardMode()))(p)

    def gradient(adjoint):
        return lambda p: jax.grad(lambda q: loss(q, adjoint))(p)

    solve = seconds(eqx.filter_jit(loss), parameters)
    rows = [
        ("forward solve", solve),
        ("Jacobian of 4 parameters, forward mode", seconds(eqx.filter_jit(jacobian), parameters)),
        ("gradient, reverse mode", seconds(eqx.filter_jit(gradient(few)), parameters)),
        ("  with checkpoints chosen by diffrax", seconds(eqx.filter_jit(gradient(many)), parameters)),
    ]
    print(f"{platform.machine()}, {os.cpu_count()} cores, jax {jax.__version__}, {N}³ voxels, medians of {REPEATS}")
    for name, value in rows:
        print(f"{name:42s} {1e3 * value:8.1f} ms  {value / solve:6.1f} forward solves")


if __name__ == "__main__":
    main()
