"""Forecasts of the last cycle of intermittent androgen suppression: baselines and the cell quota model.

    python experiments/prostate_cohort/run.py [--steps 60] [--output outputs/prostate_cohort]

The patients are those of the folder `prostate` of TWINJAX_DATA (Bruchovsky et al. 2006, Cancer 107:389; public source
and form in `twinjax.patient.bruchovsky`). All cycles but the last are fitted, the last is forecast; the days of
treatment are taken as known. Prints a table over patients, and writes one line a patient and model to `scores.csv`.
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
from cohort import load_cases, score


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60, help="of Levenberg-Marquardt, at most")
    parser.add_argument("--seconds", type=float, default=np.inf, help="of fitting, about")
    parser.add_argument("--patients", type=int, default=None, help="only so many")
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
        "switching exponential": [switching_exponential(case) for case in cases],
        "cell quota model": [psa[: case.days.size] for psa, case in zip(fitted.psa, cases, strict=True)],
    }
    scores = {
        name: np.array([score(case, psa) for case, psa in zip(cases, predicted, strict=True)])
        for name, predicted in predictions.items()
    }
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
        better = int((rows[:, 1] < scores["switching exponential"][:, 1]).sum())
        count = "" if name == "switching exponential" else f"{better} of {len(cases)}"
        forecast = f"{middle[1]:.2f} ({low[1]:.2f} to {high[1]:.2f})"
        print(f"| {name} | {middle[0]:.2f} | {forecast} | {middle[2]:.2f} | {count} |")


if __name__ == "__main__":
    main(sys.argv[1:])
