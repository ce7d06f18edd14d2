"""Coverage over virtual patients: does a forecast hold what it says, for every cancer type?

    python experiments/virtual_patients/run.py model ... [--patients 20] [--calibrator laplace]
        [--output outputs/virtual_patients]

For each model (or `model:patient`, for another than the model's own) patients are drawn from the model's prior,
measured with noise, calibrated up to `calibration.until_day` and forecast, as the main job does with
`conf/model/<model>.yaml`, by the Laplace approximation unless `--calibrator` names another of conf/calibrator. Prints
one row a model and writes one line a patient to `<output>/<model>_<calibrator>.csv`, and one line a parameter of each
patient to `..._parameters.csv` (`recovery.py` makes a table of those); patients that are there are not done again. All
synthetic.

A model without space is drawn from the whole prior: 90 % intervals must then hold 90 % of the truth. A spatial patient
has the organ, tumour and noise of `conf/patient/virtual_<model>.yaml`; each parameter that lives in the model or the
treatment is drawn with `SPATIAL_SPREAD` of its prior's width about the patient's own truth, as the tumour must fit the
organ. Its truth is solved on another grid than the fit's, so that errors of the grid count.
"""

import argparse
import csv
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from hydra import compose, initialize_config_dir
from tqdm import tqdm

from twinjax.app import model_of, settings_of
from twinjax.calibration import Tumor, coarse_and_fine, course_problem, longitudinal_problem
from twinjax.core.config import conf_dir, instantiate
from twinjax.core.errors import SolverError
from twinjax.imaging.features import volume_mm3
from twinjax.imaging.scan import REGIONS
from twinjax.model import InitialSize
from twinjax.patient import VirtualCourse
from twinjax.twin import CourseForecast, DigitalTwin, Forecast
from twinjax.twin.accuracy import forecast_scores
from twinjax.twin.course_accuracy import course_scores

# Width, in that of the prior, from which parameters of a spatial patient are drawn.
SPATIAL_SPREAD = 0.3
# Of a spatial patient's forecast: each is a solve, and 20 repeated measurements of each make the interval.
SPATIAL_DRAWS = 40
# Draws whose tumour leaves this range of its size at the start, within the schedule, are no patients: drawn again.
SMALLEST_RATIO, LARGEST_RATIO = 1e-4, 1e4
# Parameters of the priors that are the size at the start, relative to its measurement.
RATIOS = ("initial_size", "initial_ratio")
COLUMNS = (
    "model",
    "patients",
    "converged",
    "held out, in 90 % interval",
    "true parameters in 90 % interval",
    "median error",
    "error of the last value",
    "Dice",
    "centre of mass, largest distance",
)


class Parts:
    """What the configuration names, made once: patients that share it share the compiled programs."""

    def __init__(self, config):
        self.config, self.settings = config, settings_of(config)
        self.prior, self.calibrator, self.solver, self.patient = (
            instantiate(config[name], where=name) for name in ("prior", "calibrator", "solver", "patient")
        )


def lumped(parts: Parts, number: int) -> tuple[dict, list[dict]]:
    """One virtual patient of a model without space: errors and coverage, and its parameters."""
    settings, model = parts.settings, model_of(parts.config, None)
    described, prior = drawn(parts.patient, parts.prior, number)
    patient = described.generate()
    last_day = settings.last_calibrated_day(patient.days.tolist())
    problem = course_problem(patient.until(last_day), model, prior, solver=parts.solver)
    posterior = parts.calibrator.fit(problem, key=jax.random.key(number))
    twin = DigitalTwin(model, posterior.map_estimate, posterior.credible_interval(0.95))
    days = patient.days[patient.days >= problem.start].tolist()
    prediction = twin.predict(days[-1], days, regimen=patient.regimen, draws=settings.draws)
    assert isinstance(prediction, CourseForecast)
    held = [score for score in course_scores(patient, prediction, last_day) if score["held_out"]]
    parameters = recovered(number, posterior, true_parameters(described, patient))
    return {
        "patient": number,
        "converged": posterior.diagnostics["converged"],
        "measurements": len(held),
        "measurements_covered": sum(score["in_interval"] for score in held),
        "parameters": len(parameters),
        "parameters_covered": sum(parameter["covered"] for parameter in parameters),
        "median_error_percent": median_error(held, "predicted"),
        "last_value_error_percent": median_error(held, "last_value"),
    }, parameters


def recovered(number: int, posterior, truth) -> list[dict]:
    """Of every parameter whose truth is known: the posterior's median and 90 % interval, and the truth."""
    return [
        {
            "patient": number,
            "parameter": row["parameter"],
            "truth": truth[row["parameter"]],
            **{key: row[key] for key in ("median", "lower", "upper", "contraction")},
            "covered": int(row["lower"] <= truth[row["parameter"]] <= row["upper"]),
        }
        for row in posterior.rows(0.9)
        if row["parameter"] in truth
    ]


def spatial(parts: Parts, number: int) -> tuple[dict, list[dict]]:
    """One virtual patient with scans: overlap, errors and coverage at the held-out visits, and its parameters."""
    settings = parts.settings
    patient = organ_drawn(parts.patient, parts.prior, number).generate()
    last_day = settings.last_calibrated_day(patient.days.tolist())

    def problem(model):
        options = {"margin_mm": settings.margin_mm, "correlation_length_mm": settings.correlation_length_mm}
        steps = {"solver": parts.solver, "max_step": settings.max_step}
        return longitudinal_problem(patient.until(last_day), model, parts.prior, **options, **steps)

    model = model_of(parts.config, patient.brain_mask)
    coarse, fine = coarse_and_fine(problem, model, settings.resolution_mm)
    posterior = parts.calibrator.fit(coarse, key=jax.random.key(number)).attach(fine)
    twin = DigitalTwin(model, posterior.map_estimate, posterior.credible_interval(0.95))
    days = patient.days[patient.days > 0].tolist()
    prediction = twin.predict(days[-1], days, regimen=patient.regimen, draws=SPATIAL_DRAWS)
    assert isinstance(prediction, Forecast)
    held = [s for s in forecast_scores(patient, prediction, posterior, last_day) if s["held_out"]]
    true = [score for score in held if score["reference"] == "truth"]
    parameters = recovered(number, posterior, patient.truth.parameters)
    covered = [score[f"{region}_in_interval"] for score in true for region in REGIONS]
    return {
        "patient": number,
        "converged": posterior.diagnostics["converged"],
        "measurements": len(covered),
        "measurements_covered": sum(covered),
        "parameters": len(parameters),
        "parameters_covered": sum(parameter["covered"] for parameter in parameters),
        "median_error_percent": 100 * float(np.nanmedian([abs(s["whole_tumor_volume_error"]) for s in true])),
        "last_value_error_percent": last_volume_error(patient, last_day, true),
        "dice": float(np.mean([score["whole_tumor_dice"] for score in true])),
        "center_distance_mm": float(np.nanmax([score["whole_tumor_center_distance_mm"] for score in true])),
    }, parameters


def last_volume_error(patient, last_day: float, scores) -> float:
    """Of the last segmented volume carried forward, in per cent."""
    scan = [visit.scan for visit in patient.visits if visit.day <= last_day][-1]
    volume = volume_mm3(scan.whole_tumor, scan.affine)
    true = np.asarray([score["whole_tumor_volume_mm3"] for score in scores])
    # What is gone has no relative error.
    return 100 * float(np.median(np.abs(volume / true[true > 0] - 1))) if (true > 0).any() else float("nan")


def organ_drawn(described, prior, number: int):
    """The virtual organ with parameters, outline and noise of its own."""
    whole = Tumor(described.model, described.regimen, InitialSize(1.0), {})
    truth, rng = dict(described.truth), np.random.default_rng(number)
    for parameter in prior.parameters:
        lives = all(path.split(".")[0] in ("model", "regimen") for path in parameter.where)
        if parameter.name not in truth or not lives:
            continue
        # Drawn in the whitened coordinate, about that of the config's own truth.
        grid = np.linspace(-4, 4, 4001)
        values = np.asarray(jax.vmap(parameter.from_standard_normal)(jnp.asarray(grid)))
        center = float(np.interp(described.truth[parameter.name], values, grid))
        value = float(np.interp(center + SPATIAL_SPREAD * rng.normal(), grid, values))
        truth[parameter.name] = value
        for path in parameter.where:
            count = len(whole.leaves_at(path))
            set_all = [jnp.asarray(value, float)] * count
            whole = eqx.tree_at(lambda t, path=path: t.leaves_at(path), whole, set_all) if count else whole
    return replace(described, model=whole.model, regimen=whole.regimen, truth=truth, seed=number + 1)


def median_error(scores, key: str) -> float:
    known = [score for score in scores if score["measured"] > 0 and score[key] is not None]
    return float(np.median([100 * abs(score[key] / score["measured"] - 1) for score in known]))


def true_parameters(described: VirtualCourse, patient) -> dict[str, float]:
    """By name; of the size at the start the ratio to what was measured, which is what a fit knows."""
    measured = patient.measurements[described.model.size_quantity][1][0]
    true = described.true_quantities(described.visit_days[:1])[described.model.size_quantity][0]
    return {n: true / measured if n in RATIOS else value for n, value in described.truth.items()}


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


def run(name: str, patients: int, calibrator: str, folder: Path) -> list[dict]:
    """All patients of a model, from the file as far as they are there."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        model, _, patient = name.partition(":")
        config = compose(
            "config", [f"calibrator={calibrator}", f"model={model}", *([f"patient={patient}"] if patient else [])]
        )
    parts = Parts(config)
    one = lumped if isinstance(parts.patient, VirtualCourse) else spatial
    stem = f"{name.replace(':', '_')}_{calibrator}"
    path, parameters_path = folder / f"{stem}.csv", folder / f"{stem}_parameters.csv"
    rows, parameters = read(path), read(parameters_path)
    done = {int(row["patient"]) for row in rows}
    for number in tqdm([n for n in range(patients) if n not in done], desc=name):
        row, recovered_ = one(parts, number)
        rows.append(row)
        # A run that was ended between the two files has parameters of a patient that will be done again.
        parameters = [p for p in parameters if int(p["patient"]) != number] + recovered_
        write(parameters_path, parameters)
        write(path, rows)
    return rows


def read(path: Path) -> list[dict]:
    return list(csv.DictReader(path.open())) if path.is_file() else []


def write(path: Path, rows: list[dict]) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    os.replace(partial, path)


def summary(name: str, rows: list[dict]) -> str:
    """The row of the table."""

    def total(key: str) -> int:
        return sum(int(row[key]) for row in rows)

    def middle(key: str) -> str:
        return f"{np.nanmedian([float(row[key]) for row in rows]):.0f} %"

    def share(kind: str) -> str:
        return f"{100 * total(f'{kind}_covered') / total(kind):.0f} % of {total(kind)}"

    converged = sum(str(row["converged"]) == "True" for row in rows)
    cells = [name, len(rows), converged, share("measurements"), share("parameters")]
    cells += [middle("median_error_percent"), middle("last_value_error_percent")]
    if "dice" in rows[0]:
        dice, distance = ([float(row[key]) for row in rows] for key in ("dice", "center_distance_mm"))
        cells += [f"{np.median(dice):.2f} (lowest {min(dice):.2f})", f"{np.nanmedian(distance):.1f} mm"]
    else:
        cells += ["", ""]
    return "| " + " | ".join(map(str, cells)) + " |"


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="names of conf/model, or model:patient")
    parser.add_argument("--patients", type=int, default=20)
    parser.add_argument("--calibrator", default="laplace", help="name of conf/calibrator")
    parser.add_argument("--output", type=Path, default=Path("outputs/virtual_patients"))
    chosen = parser.parse_args(arguments)
    jax.config.update("jax_enable_x64", True)
    chosen.output.mkdir(parents=True, exist_ok=True)
    lines = []
    for name in chosen.models:
        began = time.perf_counter()
        lines.append(summary(name, run(name, chosen.patients, chosen.calibrator, chosen.output)))
        print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    print("| " + " | ".join(COLUMNS) + " |\n|" + " --- |" * len(COLUMNS))
    print("\n".join(lines))


if __name__ == "__main__":
    main(sys.argv[1:])
