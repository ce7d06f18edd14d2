"""A job of milliseconds in place of `run_patient`, and a cohort of it as a command: `python stand_in.py FOLDER`."""

import json
import sys
import time
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir
from scipy.integrate import solve_ivp

from twinjax.core.config import conf_dir
from twinjax.core.errors import InputError

NAMES = {"model": "claret", "patient": "virtual_claret"}


def configuration(*overrides: str):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("config", ["model=claret", "calibrator=laplace", *overrides])


def stand_in(config, folder, choices) -> dict:
    """A logistic tumour of the patient's seed, solved by SciPy; its files come one after the other."""
    assert choices == NAMES
    if config.patient.get("patient_id") == "virtual_0003" and config.title == "one is bad":
        raise InputError(f"the scan {config.patient.get('path')}/T1.nii of {folder} has no voxels")
    if config.title == "one has a bug":
        raise ZeroDivisionError("division by zero")
    rate, size = np.random.default_rng(config.seed).uniform(0.01, 0.1, 2).tolist()
    times = np.linspace(0, 60, 7)
    sizes = solve_ivp(lambda _, u: rate * u * (1 - u), (0, 60), [size], t_eval=times, rtol=1e-8).y[0].tolist()
    (folder / "forecast.csv").write_text("\n".join(map(str, sizes)))
    time.sleep(0.05)
    small = size < 0.05
    errors = {"metric": "median error of size", "value": 100 * size, "unit": "%", "target": "≤ 5", "met": small, "n": 4}
    share = 75.0 if small else 100.0
    shares = {
        "metric": "90 % interval covers size",
        "value": share,
        "unit": "%",
        "target": "≥ 90",
        "met": small,
        "n": 4,
    }
    results = {
        "synthetic": True,
        "parameters": [{"parameter": "rate", "median": rate, "lower": 0.9 * rate, "upper": 1.1 * rate}],
        "truth": {"rate": 1.05 * rate if small else 2 * rate},
        "diagnostics": {"converged": True, "verdict": "converged"},
        "metrics": [errors, shares],
        "scores": [
            {"quantity": "size", "held_out": day > 30, "measured": u, "predicted": 1.1 * u, "share_below": size * 10}
            for day, u in zip(range(0, 70, 10), sizes, strict=True)
        ],
        "provenance": {"seed": config.seed},
    }
    (Path(folder) / "results.json").write_text(json.dumps(results))
    return results


if __name__ == "__main__":
    from stand_in import stand_in as importable

    from twinjax.job import run_cohort

    workers, patients, folder = sys.argv[1:]
    settings = ("cohort=virtual", f"cohort.workers={workers}", f"cohort.patients={patients}")
    run_cohort(configuration(*settings), folder, NAMES, job=importable)
