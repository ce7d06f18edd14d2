"""Coverage over virtual patients: does a forecast hold what it says, for every cancer type?

    python experiments/virtual_patients/run.py [model ...] [--patients 20] [--output outputs/virtual_patients]

For each model, patients are drawn from the model's own prior, measured with noise, calibrated up to
`calibration.until_day` and forecast, as the main job does with `conf/model/<model>.yaml`. Prints one row a model and
writes one line a patient to `<output>/<model>.csv`; patients that are there already are not done again. All synthetic.

A model without space is measured by the noise of `conf/patient/virtual_<model>.yaml` and drawn from the whole prior:
90 % intervals must then hold 90 % of the truth.
"""

import argparse
import csv
import sys
import time
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
from hydra import compose, initialize_config_dir
from tqdm import tqdm

from twinjax.app import model_of, settings_of
from twinjax.calibration import Tumor, course_problem
from twinjax.core.config import conf_dir, instantiate
from twinjax.core.errors import SolverError
from twinjax.model import InitialSize
from twinjax.patient import VirtualCourse
from twinjax.twin import CourseForecast, DigitalTwin
from twinjax.twin.course_accuracy import course_scores

# Draws whose tumour leaves this range of its size at the start, within the schedule, are no patients: drawn again.
SMALLEST_RATIO, LARGEST_RATIO = 1e-4, 1e4


def lumped(config, model, number: int) -> dict:
    """One virtual patient of a model without space: errors and coverage."""
    settings = settings_of(config)
    parts = {name: instantiate(config[name], where=name) for name in ("prior", "calibrator", "solver")}
    described, prior = drawn(instantiate(config.patient, where="patient"), parts["prior"], number)
    patient = described.generate()
    last_day = settings.last_calibrated_day(patient.days.tolist())
    problem = course_problem(patient.until(last_day), model, prior, solver=parts["solver"])
    posterior = parts["calibrator"].fit(problem, key=jax.random.key(number))
    twin = DigitalTwin(model, posterior.map_estimate, posterior.credible_interval(0.95))
    days = patient.days[patient.days >= problem.start].tolist()
    prediction = twin.predict(days[-1], days, regimen=patient.regimen, draws=settings.draws)
    assert isinstance(prediction, CourseForecast)
    held = [score for score in course_scores(patient, prediction, last_day) if score["held_out"]]
    intervals = posterior.credible_interval(0.9)
    inside = [intervals[name][0] <= described.truth[name] <= intervals[name][1] for name in posterior.names]
    return {
        "patient": number,
        "converged": posterior.diagnostics["converged"],
        "measurements": len(held),
        "measurements_covered": sum(score["in_interval"] for score in held),
        "parameters": len(inside),
        "parameters_covered": sum(inside),
        "median_error_percent": median_error(held, "predicted"),
        "last_value_error_percent": median_error(held, "last_value"),
    }


def median_error(scores, key: str) -> float:
    known = [score for score in scores if score["measured"] > 0 and score[key] is not None]
    return float(np.median([100 * abs(score[key] / score["measured"] - 1) for score in known]))


def drawn(described: VirtualCourse, prior, number: int):
    """The patient with parameters, size and noise of its own, and the prior that it was drawn from."""
    start = InitialSize(described.size)
    whole = Tumor(described.model, described.regimen, start, {})
    # What this patient does not have (a drug that is not given) is no parameter of it.
    known = course_problem(described.generate(), described.model, prior).prior
    for attempt in range(100):
        key = jax.random.fold_in(jax.random.key(number), attempt)
        z = jax.random.normal(key, (len(known.names),))
        tumor = whole.with_parameters(known, z)
        truth = {name: float(value) for name, value in known.values(z).items()}
        size = float(tumor.initial(None))
        patient = replace(described, model=tumor.model, regimen=tumor.regimen, size=size, seed=number + 1, truth=truth)
        try:
            sizes = patient.true_quantities(patient.visit_days)[described.model.size_quantity]
        except SolverError:
            continue
        if SMALLEST_RATIO * size < sizes.min() and sizes.max() < LARGEST_RATIO * size:
            return patient, known
    raise SolverError("no draw of the prior gives a patient of a size that can be measured; narrow the prior")


def run(name: str, patients: int, folder: Path) -> list[dict]:
    """All patients of a model, from the file as far as they are there."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("config", [f"model={name}"])
    model, path = model_of(config, None), folder / f"{name}.csv"
    rows = list(csv.DictReader(path.open())) if path.is_file() else []
    done = {int(row["patient"]) for row in rows}
    for number in tqdm([n for n in range(patients) if n not in done], desc=name):
        rows.append(lumped(config, model, number))
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
    return rows


def summary(name: str, rows: list[dict]) -> str:
    """The row of the table."""

    def total(key: str) -> int:
        return sum(int(row[key]) for row in rows)

    def middle(key: str) -> str:
        return f"{np.median([float(row[key]) for row in rows]):.0f} %"

    def share(kind: str) -> str:
        return f"{100 * total(f'{kind}_covered') / total(kind):.0f} % of {total(kind)}"

    converged = sum(str(row["converged"]) == "True" for row in rows)
    cells = [name, len(rows), converged, share("measurements"), share("parameters")]
    cells += [middle("median_error_percent"), middle("last_value_error_percent")]
    return "| " + " | ".join(map(str, cells)) + " |"


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="names of conf/model")
    parser.add_argument("--patients", type=int, default=20)
    parser.add_argument("--output", type=Path, default=Path("outputs/virtual_patients"))
    chosen = parser.parse_args(arguments)
    jax.config.update("jax_enable_x64", True)
    chosen.output.mkdir(parents=True, exist_ok=True)
    lines = []
    for name in chosen.models:
        began = time.perf_counter()
        lines.append(summary(name, run(name, chosen.patients, chosen.output)))
        print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    print(
        "| model | patients | converged | held-out measurements in 90 % interval | true parameters in 90 % interval |"
    )
    print("\n".join(lines))


if __name__ == "__main__":
    main(sys.argv[1:])
