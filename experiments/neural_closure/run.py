"""A growth law with a learned residual: does it forecast better where the law is wrong, and no worse where it is right?

    python experiments/neural_closure/run.py [--patients 60] [--cohorts 4] [--methods ...] [--figure FILE.png]
        [--output FOLDER]

Synthetic patients whose tumour grows untreated by Gompertz' law or the logistic one, measured by volume every 25 days
until day 200 (noise 0.12 in the logarithm). Each is fitted by the model with one of the two laws (rate and start
unknown, capacity known, as in conf/model/lung_volume.yaml), and the volumes of days 240 to 400 are forecast, which no
fit has seen. Beside the law alone:

- `alone`: the law and a `NeuralGrowth` residual, learned from the early volumes of this one patient.
- `cohort`: the same, where `fit_by_evidence` has first learned the residual, and how large it may be, from 20 other
  patients, followed to day 400. The patients of the test are dealt to `--cohorts` of them.
- `all weights`: as `alone`, with the hidden layer learned too (four units); not among the methods unless asked for.

The truth is the closed form, the fits solve numerically (Tsit5). Prints the deviations that the cohorts chose and the
table of truth, law and method, and writes `neural_closure.csv`, one line a patient and method.
"""

import argparse
import csv
import logging
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from twinjax.calibration import InverseProblem, LevenbergMarquardt, Posterior, Prior, course_problem, fit_by_evidence
from twinjax.model import AbstractTumorModel, NeuralGrowth, VolumeModel
from twinjax.patient import ClinicalCourse
from twinjax.twin import DigitalTwin

# Before the models below, whose parameters would be of single precision.
jax.config.update("jax_enable_x64", True)
QUANTITY, NOISE, SIZE = "volume_mm3", 0.12, 33_500.0
USED, LATER = np.arange(0.0, 201.0, 25.0), np.arange(240.0, 401.0, 40.0)
# Median rates (1/day) with which both laws grow about alike at first: of Gompertz' conf/prior/lung_volume.yaml.
RATES = {"gompertz": 0.0018, "logistic": 0.010}
METHODS = ("law", "alone", "cohort", "all weights")
CELLS = (("gompertz", "logistic"), ("logistic", "gompertz"), ("logistic", "logistic"), ("gompertz", "gompertz"))
# Patients of a cohort are others than those of the test, and than those of another cohort.
COHORT, FIRST_OF_COHORT = 20, 10_000
DEVIATION, DEVIATIONS = "model.growth.residual.deviation", (0.0, 0.1, 0.2, 0.4, 0.8)
NORMAL = ("normal", 0.0, 1.0)
DRAWS = 300
CALIBRATOR = LevenbergMarquardt(draws=DRAWS)


def truth(number: int, law: str) -> tuple[VolumeModel, float, np.random.Generator]:
    """The model and the volume at the start of a patient, and what draws the noise."""
    rng = np.random.default_rng(number)
    rate, size = RATES[law] * np.exp(0.4 * rng.normal()), SIZE * np.exp(0.5 * rng.normal())
    return VolumeModel(growth=law, proliferation_rate=rate), size, rng


def measured(number: int, law: str) -> tuple[np.ndarray, np.ndarray]:
    """True volumes and what was read, on the days of `USED` and `LATER`."""
    model, size, rng = truth(number, law)
    days = np.r_[USED, LATER]
    volumes = np.asarray(model.untreated(jnp.full(days.size, size), jnp.asarray(days)))
    return volumes, volumes * np.exp(NOISE * rng.normal(size=days.size))


def prior(base: str, *learned: str) -> Prior:
    """Rate and start, and the weights of the residual that are `learned`."""
    rate = {"distribution": ("lognormal", RATES[base], 0.9), "where": "model.proliferation_rate", "unit": "1/day"}
    start = {"distribution": ("lognormal", 1.0, NOISE), "where": "initial.ratio"}
    weights = {
        f"growth_residual_{name}": {"distribution": NORMAL, "where": f"model.growth.residual.{name}"}
        for name in learned
    }
    return Prior({"proliferation_rate": rate, "initial_size": start} | weights)


def problem(number: int, law: str, model: VolumeModel, of: Prior, days: np.ndarray) -> InverseProblem:
    """A patient whose volumes of `days` are known."""
    _, seen = measured(number, law)
    course = ClinicalCourse(f"{law}_{number}", {QUANTITY: (days, seen[: days.size])}, source="synthetic")
    return course_problem(course, model, of, noise={QUANTITY: NOISE})


def candidates(law: str, base: str, methods: list[str], cohort: int) -> dict[str, tuple[VolumeModel, Prior]]:
    """The fitted models by method; that of the cohort has been learned first."""
    closure, last = VolumeModel(growth=NeuralGrowth(base)), prior(base, "last")
    small = VolumeModel(growth=NeuralGrowth(base, width=4))
    found = {
        "law": (VolumeModel(growth=base), prior(base)),
        "alone": (closure, last),
        "all weights": (small, prior(base, "last", "hidden")),
    }
    if "cohort" in methods:
        first, days = FIRST_OF_COHORT + cohort * COHORT, np.r_[USED, LATER]
        patients = [problem(first + n, law, closure, last, days) for n in range(COHORT)]
        deviation, shared = fit_by_evidence(patients, "growth_residual", DEVIATION, DEVIATIONS)
        said = "" if shared.converged else ", NOT CONVERGED"
        print(f"{law} by the {base} law, cohort {cohort + 1}: deviation {deviation:g}{said}", flush=True)
        begun = NeuralGrowth(base, deviation=deviation)
        residual = begun.residual.knowing(shared.center, shared.covariance)
        found["cohort"] = VolumeModel(growth=NeuralGrowth(base, residual=residual)), last
    return {method: found[method] for method in methods}


def fitted(number: int, law: str, model: VolumeModel, of: Prior) -> Posterior:
    return CALIBRATOR.fit(problem(number, law, model, of, USED), key=jax.random.key(number))


def scored(number: int, law: str, model: VolumeModel, posterior: Posterior) -> dict:
    """How near the forecast came to the volumes after the last that was used."""
    true, seen = (values[USED.size :] for values in measured(number, law))
    twin = DigitalTwin(model, posterior.map_estimate, posterior.credible_interval(0.9))
    forecast = twin.predict(LATER[-1], LATER.tolist(), draws=DRAWS)
    draws, read = np.log(forecast.measured(QUANTITY)), np.log(seen)
    low, median, high = forecast.interval(QUANTITY, measured=True)
    return {
        "crps": float(crps(draws, read).mean()),
        "relative_error": float(np.mean(np.abs(median / true - 1))),
        "covered": float(np.mean((low <= seen) & (seen <= high))),
        "converged": posterior.diagnostics["converged"],
    }


def crps(draws: np.ndarray, value: np.ndarray) -> np.ndarray:
    """(T,) the continuous ranked probability score of draws (S, T): lower is better (Gneiting and Raftery 2007)."""
    ordered, count = np.sort(draws, axis=0), len(draws)
    ranks = (2 * np.arange(1, count + 1) - count - 1)[:, None]
    return np.mean(np.abs(ordered - value), axis=0) - np.sum(ranks * ordered, axis=0) / count**2


def rows_of(law: str, base: str, methods: list[str], patients: int, cohorts: int) -> tuple[list[dict], dict]:
    """One row a patient and method, and the models of the last cohort."""
    rows, chosen = [], {}
    for cohort in range(cohorts):
        chosen = candidates(law, base, methods, cohort)
        for number in tqdm(range(cohort, patients, cohorts), desc=f"{law} by {base}"):
            for method, (model, of) in chosen.items():
                result = scored(number, law, model, fitted(number, law, model, of))
                rows.append({"truth": law, "law": base, "method": method, "patient": number} | result)
    return rows, chosen


def summary(rows: list[dict]) -> None:
    print("| truth | law | method | CRPS of ln V | less the law's | error | in 90 % interval | not converged |")
    print("|" + " --- |" * 8)
    for law, base in dict.fromkeys((row["truth"], row["law"]) for row in rows):
        mine = {m: [r for r in rows if (r["truth"], r["law"], r["method"]) == (law, base, m)] for m in METHODS}
        mine = {method: sorted(of_it, key=lambda row: row["patient"]) for method, of_it in mine.items() if of_it}
        reference = np.array([row["crps"] for row in mine["law"]])
        for method, of_it in mine.items():
            score = np.array([row["crps"] for row in of_it])
            difference = score - reference
            error = difference.std(ddof=1) / np.sqrt(difference.size)
            gain = "" if method == "law" else f"{difference.mean():+.4f} ± {error:.4f}"
            relative, covered = (100 * np.mean([row[key] for row in of_it]) for key in ("relative_error", "covered"))
            lost = sum(not row["converged"] for row in of_it)
            print(
                f"| {law} | {base} | {method} | {score.mean():.4f} | {gain} | {relative:.0f} % | {covered:.0f} % "
                f"| {lost} of {len(of_it)} |"
            )


def figure(chosen: dict, law: str, base: str, number: int = 0) -> Figure:
    """The laws of growth, and the forecasts of one patient."""
    shown = Figure(figsize=(9, 3.6), layout="constrained")
    growth, course = shown.subplots(1, 2)
    true, _, _ = truth(number, law)
    volumes = np.geomspace(1e4, 3e6, 60)
    growth.plot(volumes, per_day(true, volumes), color="black", label=f"truth ({law})")
    volumes_true, seen = measured(number, law)
    days = np.r_[USED, LATER]
    course.plot(days, volumes_true, color="black")
    course.plot(days, seen, "o", mfc="white", color="black")
    course.axvspan(USED[-1], LATER[-1], color="0.93", zorder=0)
    for method, color in zip(METHODS, ("#d55e00", "#0072b2", "#009e73", "#cc79a7"), strict=True):
        if method not in chosen:
            continue
        model, of = chosen[method]
        posterior = fitted(number, law, model, of)
        assert posterior.problem is not None
        tumors = [posterior.problem.tumor_at(jnp.asarray(z)).model for z in posterior.draws(100)]
        low, middle, high = np.quantile([per_day(m, volumes) for m in tumors], [0.05, 0.5, 0.95], axis=0)
        growth.plot(volumes, middle, color=color, label={"law": f"{base} law alone"}.get(method, f"residual, {method}"))
        growth.fill_between(volumes, low, high, color=color, alpha=0.15)
        twin = DigitalTwin(model, posterior.map_estimate, posterior.credible_interval(0.9))
        later = np.arange(0.0, LATER[-1] + 1, 20.0)
        low, middle, high = twin.predict(LATER[-1], later.tolist(), draws=DRAWS).interval(QUANTITY)
        course.plot(later, middle, color=color)
        course.fill_between(later, low, high, color=color, alpha=0.15)
    growth.axvspan(*np.quantile(seen[: USED.size], [0, 1]), color="0.93", zorder=0)
    growth.set(xscale="log", xlabel="volume / mm³", ylabel="growth per volume / (1/day)", ylim=(0, None))
    course.set(yscale="log", xlabel="day", ylabel="volume / mm³")
    growth.legend(fontsize=8)
    return shown


def per_day(model: AbstractTumorModel, volumes: np.ndarray) -> np.ndarray:
    """Growth per volume, 1/day."""
    assert isinstance(model, VolumeModel)
    found = model.growth.growth(jnp.asarray(volumes), model.proliferation_rate, model.carrying_capacity_mm3)
    return np.asarray(found) / volumes


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=60)
    parser.add_argument("--cohorts", type=int, default=4)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS[:3]))
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--output", type=Path, default=Path("outputs/neural_closure"))
    chosen = parser.parse_args(arguments)
    # The table counts what every patient would warn of.
    logging.getLogger("twinjax").setLevel(logging.ERROR)
    rows, began = [], time.process_time()
    for law, base in CELLS:
        found, models = rows_of(law, base, chosen.methods, chosen.patients, chosen.cohorts)
        rows += found
        if chosen.figure and (law, base) == CELLS[0]:
            figure(models, law, base).savefig(chosen.figure, dpi=110)
    chosen.output.mkdir(parents=True, exist_ok=True)
    with (chosen.output / "neural_closure.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    summary(rows)
    print(f"{time.process_time() - began:.0f} s of processor time, compiling included")


if __name__ == "__main__":
    main(sys.argv[1:])
