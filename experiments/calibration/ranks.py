"""Are posteriors right on average? Simulation-based calibration of every method, on cheap models.

    python experiments/calibration/ranks.py [front lung_volume claret ...] [--methods laplace importance nuts ...]
        [--simulations 200] [--output outputs/ranks]

Parameters are drawn from a prior, data are made with them by the model and its noise, a method is fitted to the data,
and the true values are ranked among its draws: for a right method every rank is as likely as any other (Talts et al.
2018, arXiv:1804.06788). `front` is a tumour on a line of 60 mm under radiotherapy (Fisher-KPP, 1 mm, density in every
voxel on three days); the others are names of conf/model without space, with the days, regimen and noise of their
virtual patients. Noise levels are known. Prints the smallest p value over parameters (chi-square, 20 bins) against 1 %
shared among them (Bonferroni): a right method fails a row with a chance of 1 %. Ranks go to
`<output>/<model>_<method>.csv`; simulations that are there are not done again. A figure of all histograms is drawn
beside them. All synthetic.
"""

import argparse
import csv
import logging
import os
import time
from pathlib import Path

import equinox as eqx
import jax
import matplotlib
import numpy as np
from hydra import compose, initialize_config_dir
from scipy import stats
from tqdm import tqdm

from twinjax.calibration import (
    AbstractCalibrator,
    Datum,
    InverseProblem,
    LevenbergMarquardt,
    Prior,
    RankStatistics,
    course_problem,
)
from twinjax.calibration.rank_statistics import BINS, one_rank
from twinjax.core.config import conf_dir, instantiate, load_named
from twinjax.core.errors import SolverError
from twinjax.domain import Domain
from twinjax.job import model_of
from twinjax.model import DensityField, FisherKPP
from twinjax.observation import CellDensityObservation
from twinjax.treatment import Radiotherapy, Regimen

matplotlib.use("Agg")
import matplotlib.pyplot as plt

MODELS = ("front", "lung_volume", "claret", "stein", "pancreas", "pancreas_volume", "prostate_androgen_deprivation")
FALSE_ALARM = 0.01
LEVELS = (0.5, 0.8, 0.9, 0.95)


def front() -> InverseProblem:
    """A front on a line, treated between the second and the third look."""
    size, days = 60, (15.0, 30.0, 45.0)
    domain = Domain(np.ones(size), (1.0,))
    x = np.arange(size) + 0.5
    growth = {
        "diffusivity": {"distribution": ("lognormal", 0.3, 0.5), "where": "model.diffusivity"},
        "proliferation_rate": {"distribution": ("lognormal", 0.04, 0.5), "where": "model.proliferation_rate"},
        "alpha": {"distribution": ("lognormal", 0.03, 0.3), "where": "regimen.radiotherapy.alpha"},
    }
    return InverseProblem(
        FisherKPP(domain),
        Regimen((Radiotherapy(np.arange(32.0, 42.0), np.full(10, 2.0)),)),
        DensityField(0.8 * np.exp(-((x - size / 2) ** 2) / (2 * 5.0**2))),
        {"density": CellDensityObservation(noise_std=0.05, discrepancy_std=0.05, correlation_length_mm=5.0)},
        [Datum(day, "density", np.zeros(size), np.arange(size)) for day in days],
        Prior(growth),
        max_step=5.0,
    )


def course(model: str) -> InverseProblem:
    """The days, treatments and noise of a model's virtual patient, up to the last day that its job fits."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("config", [f"model={model}"])
    prior, solver, described = (instantiate(config[name], where=name) for name in ("prior", "solver", "patient"))
    patient = described.generate().until(config.calibration.until_day)
    return course_problem(patient, model_of(config, None), prior, solver=solver)


def method(name: str) -> AbstractCalibrator:
    """A calibrator of conf/calibrator that takes the noise as known and shows no bar."""
    calibrator = load_named("calibrator", name)
    if isinstance(calibrator, LevenbergMarquardt):
        return eqx.tree_at(lambda c: c.estimate_noise, calibrator, False)
    return eqx.tree_at(lambda c: (c.mode.estimate_noise, c.progress), calibrator, (False, False))


def ranks(problem: InverseProblem, name: str, calibrator, simulations: int, path: Path) -> RankStatistics:
    """From the file as far as they are there."""
    columns = ["simulation", "converged", *problem.prior.names]
    rows = list(csv.DictReader(path.open())) if path.is_file() else []
    done = {int(row["simulation"]) for row in rows}
    new = not path.is_file()
    with path.open("a", newline="") as stream:
        writer = csv.DictWriter(stream, columns)
        if new:
            writer.writeheader()
        for number in tqdm([n for n in range(simulations) if n not in done], desc=name, mininterval=5.0):
            try:
                rank, converged = one_rank(problem, calibrator, jax.random.fold_in(jax.random.key(0), number))
            except SolverError as error:
                logging.getLogger("twinjax").warning("simulation %d: %s", number, error)
                continue
            row = dict(zip(columns, [number, converged, *rank.tolist()], strict=True))
            writer.writerow(row)
            stream.flush()
            rows.append(row)
    rows = [row for row in rows if int(row["simulation"]) < simulations]
    found = np.array([[int(row[parameter]) for parameter in problem.prior.names] for row in rows])
    return RankStatistics(problem.prior.names, found, np.array([str(row["converged"]) == "True" for row in rows]))


def draw(found: dict[str, RankStatistics], path: Path) -> None:
    """Histograms, a row a model and method, with the range that holds 99 % of the counts of a right method."""
    widest = max(len(one.names) for one in found.values())
    figure, axes = plt.subplots(
        len(found), widest, figsize=(1.7 * widest, 1.3 * len(found)), squeeze=False, layout="constrained"
    )
    for row, (name, one) in zip(axes, found.items(), strict=True):
        lower, upper = stats.binom.interval(0.99, len(one.ranks), 1 / BINS)
        for axis, parameter in zip(row, one.names, strict=False):
            axis.axhspan(lower, upper, color="0.9", lw=0)
            axis.bar(np.arange(BINS), one.histogram(parameter), width=1.0, color="tab:blue")
            axis.set_title(parameter, fontsize=6)
        row[0].set_ylabel(name.replace(", ", "\n"), fontsize=6)
        for axis in row:
            axis.set(xticks=[], yticks=[])
        for axis in row[len(one.names) :]:
            axis.axis("off")
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(MODELS))
    parser.add_argument("--methods", nargs="+", default=["laplace", "importance", "nuts"], help="of conf/calibrator")
    parser.add_argument("--simulations", type=int, default=200)
    parser.add_argument("--output", type=Path, default=Path("outputs/ranks"))
    chosen = parser.parse_args()
    if chosen.simulations < 5 * BINS:
        parser.error(f"--simulations must be at least {5 * BINS}, for the test of {BINS} bins")
    jax.config.update("jax_enable_x64", True)
    # Of fits and solves, which would be thousands of lines.
    logging.getLogger("twinjax").setLevel(logging.WARNING)
    os.makedirs(chosen.output, exist_ok=True)
    found, lines = {}, []
    for model in chosen.models:
        problem = front() if model == "front" else course(model)
        for name in chosen.methods:
            began = time.perf_counter()
            one = ranks(
                problem, f"{model}, {name}", method(name), chosen.simulations, chosen.output / f"{model}_{name}.csv"
            )
            found[f"{model}, {name}"] = one
            p_values = one.p_values()
            worst = min(p_values, key=lambda parameter: p_values[parameter])
            covered = [np.mean(list(one.coverage(level).values())) for level in LEVELS]
            cells = [model, name, len(one.ranks), f"{100 * one.converged.mean():.0f} %"]
            cells += [f"{p_values[worst]:.2g} ({worst})", "yes" if one.uniform(FALSE_ALARM) else "NO"]
            cells += [f"{100 * share:.0f} %" for share in covered] + [f"{time.perf_counter() - began:.0f}"]
            lines.append("| " + " | ".join(map(str, cells)) + " |")
            print(lines[-1], flush=True)
    head = ["model", "method", "simulations", "converged", "smallest p", "uniform"]
    head += [f"inside {100 * level:.0f} %" for level in LEVELS] + ["seconds"]
    print("\n| " + " | ".join(head) + " |\n|" + " --- |" * len(head))
    print("\n".join(lines))
    draw(found, chosen.output / "ranks.png")


if __name__ == "__main__":
    main()
