"""Forecasts of the last cycle of intermittent androgen suppression: baselines and the cell quota model.

    python experiments/prostate_cohort/run.py [--steps 60] [--figure FILE.png]
        [--output outputs/prostate_cohort]

The patients are those of the folder `prostate` of TWINJAX_DATA (Bruchovsky et al. 2006, Cancer 107:389; public source
and form in `twinjax.patient.bruchovsky`). All cycles but the last are fitted, the last is forecast; the days of
treatment are taken as known. Prints a table over patients, and writes one line a patient and model to `scores.csv`.
The figure has three patients: those at the quartiles of the error of the switching exponential's forecast.
"""

import argparse
import csv
import os
import sys
import time
from pathlib import Path

import jax
import numpy as np
from baselines import last_value, switching_exponential
from cell_quota import fit
from cohort import OFFSET, Case, load_cases, score
from matplotlib.figure import Figure

QUARTILES = {"lower quartile": 0.25, "median": 0.5, "upper quartile": 0.75}
EXPONENTIAL = "switching exponential"


def courses(cases: list[Case], predictions: dict[str, list[np.ndarray]], forecast_errors: np.ndarray) -> Figure:
    """PSA, treatment and predictions of the patients at the quartiles of the errors (cases,)."""
    figure = Figure(figsize=(11, 3.0), layout="constrained")
    axes = figure.subplots(1, len(QUARTILES), sharey=True)
    order = np.argsort(forecast_errors)
    for axis, (place, quartile) in zip(axes, QUARTILES.items(), strict=True):
        number = order[round(quartile * (len(cases) - 1))]
        case = cases[number]
        for start, duration in zip(case.starts, case.durations, strict=True):
            axis.axvspan(start, start + duration, color="0.9", lw=0)
        for kept, face, label in ((case.fitted, "black", "measured, fitted"), (~case.fitted, "white", "held out")):
            axis.plot(case.days[kept], case.psa[kept] + OFFSET, "ko", mfc=face, ms=3, label=label)
        for name, predicted in predictions.items():
            axis.plot(case.days, np.maximum(predicted[number], 0) + OFFSET, lw=1, label=name)
        axis.set_yscale("log")
        axis.set_title(f"{place} of the error: log-RMSE {forecast_errors[number]:.2f}", fontsize=8)
        axis.set_xlabel("day")
    axes[0].set_ylabel(f"PSA + {OFFSET}, ng/mL")
    axes[0].legend(fontsize=6)
    return figure


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60, help="of Levenberg-Marquardt, at most")
    parser.add_argument("--seconds", type=float, default=np.inf, help="of fitting, about")
    parser.add_argument("--patients", type=int, default=None, help="only so many")
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--output", type=Path, default=Path("outputs/prostate_cohort"))
    chosen = parser.parse_args(arguments)
    jax.config.update("jax_enable_x64", True)
    cases = load_cases(os.environ.get("TWINJAX_DATA", ""))[: chosen.patients]
    began = time.perf_counter()
    fitted = fit(cases, steps=chosen.steps, seconds=chosen.seconds)
    print(
        f"cell quota model: {time.perf_counter() - began:.0f} s; sum of costs {fitted.costs[-1].sum():.1f}, "
        f"in the last step less by {fitted.costs[-2].sum() - fitted.costs[-1].sum():.2g}",
        file=sys.stderr,
    )
    predictions = {
        "last value carried forward": [last_value(case) for case in cases],
        EXPONENTIAL: [switching_exponential(case) for case in cases],
        "cell quota model": [psa[: case.days.size] for psa, case in zip(fitted.psa, cases, strict=True)],
    }
    scores = {
        name: np.array([score(case, psa) for case, psa in zip(cases, predicted, strict=True)])
        for name, predicted in predictions.items()
    }
    if chosen.figure:
        chosen.figure.parent.mkdir(parents=True, exist_ok=True)
        courses(cases, predictions, scores[EXPONENTIAL][:, 1]).savefig(chosen.figure, dpi=110)
    chosen.output.mkdir(parents=True, exist_ok=True)
    with (chosen.output / "scores.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["model", "patient_id", "fitted_log_rmse", "forecast_log_rmse", "forecast_mae_ng_ml"])
        for name, rows in scores.items():
            for case, row in zip(cases, rows, strict=True):
                writer.writerow([name, case.patient_id, *(f"{value:.4f}" for value in row)])
    print(f"{len(cases)} patients, medians; log-RMSE of ln(PSA + 0.05), quartiles in brackets")
    print("| model | fitted log-RMSE | forecast log-RMSE | forecast MAE, ng/mL | better than the exponential |")
    print("| --- | --- | --- | --- | --- |")
    for name, rows in scores.items():
        low, middle, high = np.quantile(rows, [0.25, 0.5, 0.75], axis=0)
        better = int((rows[:, 1] < scores[EXPONENTIAL][:, 1]).sum())
        count = "" if name == EXPONENTIAL else f"{better} of {len(cases)}"
        forecast = f"{middle[1]:.2f} ({low[1]:.2f} to {high[1]:.2f})"
        print(f"| {name} | {middle[0]:.2f} | {forecast} | {middle[2]:.2f} | {count} |")


if __name__ == "__main__":
    main(sys.argv[1:])
