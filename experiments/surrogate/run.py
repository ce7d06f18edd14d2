"""A surrogate of the likelihood against the solver: cost, error, and the posterior that comes of each.

    python experiments/surrogate/run.py [MODEL ...] [--output outputs/surrogate]

For each model (of conf/model; by default one without space and a glioma on a grid of 4 mm) the inverse problem of its
virtual (synthetic) patient, as `experiments/calibration/gradients.py` makes it. Three posteriors of it: importance
sampling with the solver alone, which is the reference; NUTS on the surrogate with the solver's correction
(`calibrator=surrogate`); NUTS on the surrogate alone, each with the distance of its means from the reference, the
largest of all parameters, ± the standard error of one. Prints one row a model and writes a figure of the error
against what it expected. Times are processor time without compiling.
"""

import argparse
import dataclasses
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np

from twinjax.calibration import ImportanceSampler, LevenbergMarquardt, SurrogateSampler
from twinjax.calibration.density import log_densities
from twinjax.calibration.residual_surrogate import densities, expected_errors

matplotlib.use("Agg")
import matplotlib.pyplot as plt

sys.path.insert(0, str(Path(__file__).parents[1] / "calibration"))
from gradients import problem_of

MODELS = ("claret", "glioblastoma")
COLUMNS = (
    "model",
    "unknowns, residuals",
    "solves to train",
    "a likelihood by the solver, by the surrogate",
    "times cheaper",
    "error at posterior draws, nine of ten (nats)",
    "within what was expected",
    "accepted",
    "means off, corrected",
    "means off, surrogate alone",
)
# Likelihoods that are timed together.
TIMED = 200
BELIEVED = 1e9


def compared(name: str, folder: Path) -> dict[str, str]:
    """The row of a model, and its figure."""
    problem, key = problem_of(name), jax.random.key(0)
    mode = LevenbergMarquardt()
    problem, found = mode.fit_mode(problem, key=key)
    fixed = LevenbergMarquardt(estimate_noise=False)
    reference = ImportanceSampler(proposals=5000, effective=2000, draws=5000, mode=fixed).fit(problem, key=key)
    sampler = SurrogateSampler(samples=2000, mode=fixed)
    surrogate = sampler.train(problem, found, key=key)
    corrected = sampler.fit(problem, key=key)
    alone = dataclasses.replace(sampler, trusted=BELIEVED).fit(problem, key=key)
    z = reference.z.reshape(-1, problem.dimension)[:TIMED]
    x = jnp.asarray(np.linalg.solve(np.asarray(surrogate.root), (z - np.asarray(surrogate.centre)).T).T)
    exact, by_solver = timed(lambda: log_densities(problem, z))
    told, by_surrogate = timed(lambda: np.asarray(densities(surrogate, x)))
    error, expected = np.abs(told - exact), np.asarray(expected_errors(surrogate, x))
    figure(name, error, expected, folder)
    residuals = jax.eval_shape(problem.residuals, jnp.zeros(problem.dimension)).shape[0]
    return dict(
        zip(
            COLUMNS,
            (
                name,
                f"{problem.dimension}, {residuals}",
                f"{len(surrogate.errors)} with derivatives",
                f"{1e3 * by_solver / TIMED:.2g} ms, {1e3 * by_surrogate / TIMED:.2g} ms",
                f"{by_solver / by_surrogate:.0f}",
                f"{np.quantile(error, 0.9):.2g}",
                f"{100 * np.mean(error <= expected):.0f} %",
                f"{100 * corrected.diagnostics['accepted']:.0f} %",
                f"{shift(corrected, reference):.2f} ± {by_chance(corrected, reference):.2f} deviations",
                f"{shift(alone, reference):.2f} ± {by_chance(alone, reference):.2f} deviations",
            ),
            strict=True,
        )
    )


def timed(function):
    """What it gives, and its processor time (s): the median of five after one that compiles."""
    found, seconds = function(), []
    for _ in range(5):
        began = time.process_time()
        function()
        seconds.append(time.process_time() - began)
    return found, float(np.median(seconds))


def shift(posterior, reference) -> float:
    """The largest distance of a mean from the reference's, in its deviations."""
    one, other = (p.z.reshape(-1, p.z.shape[-1]) for p in (posterior, reference))
    return float(np.max(np.abs(one.mean(axis=0) - other.mean(axis=0)) / other.std(axis=0)))


def by_chance(posterior, reference) -> float:
    """The standard error of a mean's distance, in deviations, of the parameter with the fewest effective draws."""
    return float(np.sqrt(sum(1 / min(p.diagnostics["ess"].values()) for p in (posterior, reference))))


def figure(name: str, error, expected, folder: Path) -> None:
    shown = np.isfinite(expected)
    plot, axes = plt.subplots(figsize=(4.5, 4.0), layout="constrained")
    axes.loglog(expected[shown], np.maximum(error[shown], 1e-6), "o", markersize=3)
    ends = [min(expected[shown].min(), 1e-4), max(expected[shown].max(), 1.0)]
    axes.loglog(ends, ends, "k--", linewidth=1, label="as expected")
    axes.set(xlabel="expected error (nats)", ylabel="error (nats)", title=f"{name}, synthetic patient")
    axes.legend()
    plot.savefig(folder / f"{name}.png", dpi=120)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--output", type=Path, default=Path("outputs/surrogate"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    print("| " + " | ".join(COLUMNS) + " |\n| " + " | ".join(["---"] * len(COLUMNS)) + " |", flush=True)
    for model in arguments.models:
        print("| " + " | ".join(compared(model, arguments.output).values()) + " |", flush=True)
