"""Can a population model forecast lesions better than the last reading carried forward?

    python experiments/lung_cohort/run.py [flat_patient_data.csv] [--baseline FILE.png]

Lesions with six readings or more; the last three are held out. The file is that of github.com/ablaom/TumorGrowth.jl
(data/flat_patient_data.csv), or lung/lesion_series.csv of the folder named by TWINJAX_DATA, a part of it. Curve and
noise are chosen by a hold-out within the other readings. With `--baseline` only the last reading carried forward is
scored, which takes seconds, what changed after it is drawn, and it is told how far trends were off after the reading
that they led to: the error of a model that walks (`calibration.model_error`).
"""

import argparse
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from cohort import QUANTITY, read_lesions, split
from matplotlib.figure import Figure

from twinjax.calibration import (
    AbstractResidual,
    Cohort,
    IndependentResidual,
    PopulationForecast,
    PopulationModel,
    PopulationPosterior,
    Prior,
    WalkingResidual,
    fit_population,
)
from twinjax.calibration.residual import WALK_DAYS
from twinjax.core.config import load_named
from twinjax.core.errors import InputError
from twinjax.model import AbstractClosedFormModel
from twinjax.observation import QuantityObservation

# Readings are whole millimetres for the most part: rounding alone scatters by 1 / sqrt(12) mm.
READING_ERROR_MM = 0.3
# ln(d + 2 mm): lesions that vanish are recorded as 0 mm. Our own choice.
OFFSET_MM = 2.0
ERROR_SCALE = 0.1
# Per lesion: on average a quarter of the points is effective.
POINTS, ROUNDS, DRAWS = 400, 4, 300
# Held out within the earlier readings, of lesions with at least four of these, to choose by.
INNER_HELD_OUT, INNER_FEWEST = 2, 4
# mm: larger changes are drawn at the ends of the figure.
LARGEST_DRAWN = 20
# Share of a normal law within one deviation: lesions that vanish give the changes a tail that no deviation tells.
NORMAL_DEVIATION = 0.683


@dataclass(frozen=True)
class Candidate:
    """A curve (a name of conf/model, with the parameters of its prior that differ) and its noise."""

    model: str
    parameters: tuple[str, ...]
    residual: AbstractResidual

    @property
    def name(self) -> str:
        kind = "model error walks" if isinstance(self.residual, WalkingResidual) else "independent errors"
        return f"{self.model}, {kind}"

    def fit(self, courses, seed: int) -> PopulationPosterior:
        model, prior = load_named("model", self.model), load_named("prior", self.model)
        assert isinstance(model, AbstractClosedFormModel)
        chosen = {
            p.name: {"distribution": p.distribution, "where": p.where, "unit": p.unit}
            for p in prior.parameters
            if p.name in self.parameters
        }
        population = PopulationModel(
            Cohort.from_courses(courses, QUANTITY),
            model,
            QuantityObservation(QUANTITY, ERROR_SCALE, OFFSET_MM),
            Prior(chosen),
            residual=self.residual,
            reading_error=READING_ERROR_MM,
        )
        return fit_population(population, key=jax.random.key(seed), points=POINTS, rounds=ROUNDS, draws=DRAWS)


STEIN, CLARET = ("shrinkage_rate", "growth_rate"), ("growth_rate", "drug_kill_rate", "resistance_rate")
CANDIDATES = [
    Candidate("stein", STEIN, WalkingResidual()),
    Candidate("claret", CLARET, WalkingResidual()),
    Candidate("stein", STEIN, IndependentResidual()),
    Candidate("claret", CLARET, IndependentResidual()),
]


def absolute_errors(forecast: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """(lesions,) mean over the held-out readings, mm."""
    return np.abs(forecast - measured).mean(axis=1)


def as_recorded(forecast: np.ndarray, courses) -> np.ndarray:
    """Whole millimetres for a lesion whose readings so far are whole: the median of what will be recorded is so too."""
    whole = [np.all(course.measurements[QUANTITY][1] % 1 == 0) for course in courses]
    return np.where(np.array(whole)[:, None], np.round(forecast), forecast)


def row(name: str, errors: np.ndarray, baseline: np.ndarray, *others: str) -> str:
    relative = errors / baseline
    numbers = (errors.mean(), np.median(errors), relative.mean(), np.median(relative))
    return "| " + " | ".join([name, *(f"{x:.3f}" for x in numbers), *others]) + " |"


def last_and_first(courses) -> tuple[np.ndarray, np.ndarray]:
    values = [course.measurements[QUANTITY][1] for course in courses]
    return np.array([v[-1] for v in values]), np.array([v[0] for v in values])


def changes(last: np.ndarray, measured: np.ndarray) -> Figure:
    """Histograms of what each held-out reading has more than the last one before, in whole millimetres."""
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    axes = figure.subplots(1, measured.shape[1], sharey=True)
    for i, (axis, readings) in enumerate(zip(axes, measured.T, strict=True), 1):
        change = readings - last
        axis.hist(np.clip(change, -LARGEST_DRAWN, LARGEST_DRAWN), np.arange(-LARGEST_DRAWN - 0.5, LARGEST_DRAWN + 1))
        equal, middle = 100 * np.mean(change == 0), np.median(change)
        axis.set_title(f"reading {i}: {equal:.0f} % unchanged, median {middle:.1f} mm", fontsize=8)
        axis.set_xlabel("change since the last reading, mm")
    axes[0].set_ylabel("lesions")
    return figure


def walk_of_trends(lesions) -> tuple[float, int]:
    """By how much ln(d + 2 mm) leaves its last trend in 42 days, in 68 of 100 cases, and of how many.

    Of a walk with the deviation s in 42 days the slopes before and after a reading, over g and h days, differ with the
    variance s² / 42 (1 / g + 1 / h). What reading scatters is in it.
    """
    found = []
    for lesion in lesions:
        days, sizes = lesion.measurements[QUANTITY]
        gap = np.diff(days)
        slope = np.diff(np.log(sizes + OFFSET_MM)) / gap
        found.append(np.diff(slope) / np.sqrt((1 / gap[1:] + 1 / gap[:-1]) / WALK_DAYS))
    every = np.concatenate(found)
    return float(np.quantile(np.abs(every), NORMAL_DEVIATION)), every.size


def scores(forecast: PopulationForecast, measured: np.ndarray) -> tuple[str, str]:
    lower, upper = forecast.interval(0.9)
    covered = ((measured >= lower) & (measured <= upper)).mean()
    return f"{100 * covered:.0f} %", f"{forecast.quantile_score(measured).mean():.2f}"


def bootstrap_difference(errors: np.ndarray, reference: np.ndarray, seed: int) -> str:
    """Mean difference with its 95 % interval over lesions."""
    difference, rng = errors - reference, np.random.default_rng(seed)
    means = difference[rng.integers(len(difference), size=(4000, len(difference)))].mean(axis=1)
    lower, upper = np.quantile(means, [0.025, 0.975])
    return f"{difference.mean():+.3f} mm [{lower:+.3f}, {upper:+.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("csv", nargs="?", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--baseline", type=Path, metavar="FILE.png", help="only the last value, and a figure of it")
    arguments = parser.parse_args()
    folder = os.environ.get("TWINJAX_DATA")
    path = arguments.csv or (folder and Path(folder) / "lung" / "lesion_series.csv")
    if not path:
        sys.exit("give the path of flat_patient_data.csv (github.com/ablaom/TumorGrowth.jl), or set TWINJAX_DATA")
    jax.config.update("jax_enable_x64", True)
    try:
        lesions = read_lesions(Path(path))
    except InputError as error:
        sys.exit(str(error))
    earlier, days, measured = split(lesions, 3)
    last, baseline = last_and_first(earlier)
    carried = absolute_errors(last[:, None], measured)
    print(f"{len(lesions)} lesions with six readings or more\n")
    head = "| {} | mean | median | relative, mean | relative, median |"
    if arguments.baseline:
        print(head.format("held out, mm") + "\n|---|---|---|---|---|")
        print(row("last value carried forward", carried, baseline))
        walk, count = walk_of_trends(lesions)
        print(f"\nTrends are off by {walk:.3f} of the logarithm of a diameter in {WALK_DAYS:g} days ({count} changes)")
        changes(last, measured).savefig(arguments.baseline, dpi=110)
        return

    print("Chosen by: hold-out within the earlier readings (mean absolute error, mm)\n")
    long_enough = [course for course in earlier if course.days.size >= INNER_FEWEST]
    inner, inner_days, inner_measured = split(long_enough, INNER_HELD_OUT)
    inner_last, inner_baseline = last_and_first(inner)
    print(head.format(f"{len(inner)} lesions") + "\n|---|---|---|---|---|")
    print(row("last value carried forward", absolute_errors(inner_last[:, None], inner_measured), inner_baseline))
    found = {}
    for candidate in CANDIDATES:
        forecast = candidate.fit(inner, arguments.seed).forecast(inner_days, key=jax.random.key(arguments.seed))
        errors = absolute_errors(as_recorded(forecast.median, inner), inner_measured)
        found[candidate.name] = errors.mean()
        print(row(candidate.name, errors, inner_baseline), flush=True)
    chosen = min(CANDIDATES, key=lambda candidate: found[candidate.name])

    print(f"\nHeld out: the last three readings; the choice is '{chosen.name}'\n")
    print(head.format(f"{len(lesions)} lesions")[:-1] + "| 90 % interval covers | quantile score |")
    print("|---|---|---|---|---|---|---|")
    print(row("last value carried forward", carried, baseline, "no interval", f"{carried.mean():.2f}"))
    start = time.perf_counter()
    posterior = chosen.fit(earlier, arguments.seed)
    seconds = time.perf_counter() - start
    forecast = posterior.forecast(days, key=jax.random.key(arguments.seed))
    median = as_recorded(forecast.median, earlier)
    errors = absolute_errors(median, measured)
    print(row(chosen.name, errors, baseline, *scores(forecast, measured)))
    print(f"\nAgainst the last value: {bootstrap_difference(errors, carried, arguments.seed)} in mean absolute error")
    for i, one in enumerate((np.abs(median - measured) - np.abs(last[:, None] - measured)).mean(axis=0), 1):
        print(f"  reading {i} of the held-out: {one:+.3f} mm")
    print(f"\n{seconds:.0f} s; {posterior.diagnostics['verdict']}; Pareto k {posterior.diagnostics['pareto_k']:.2f}")
    for name, (median, spread) in posterior.medians().items():
        print(f"  {name}: median {median:.4g}, between lesions a factor of {np.exp(spread):.2f}")


if __name__ == "__main__":
    main()
