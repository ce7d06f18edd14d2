"""Coverage over virtual patients: does a forecast hold what it says, for every cancer type?

    python experiments/virtual_patients/run.py model ... [--patients 20] [--calibrator laplace] [--misfit]
        [--model-error 0.3] [--output outputs/virtual_patients] [--record]

For each model (or `model:patient`, for another than the model's own) patients are drawn from the model's prior,
measured with noise, calibrated up to `calibration.until_day` and forecast, as the main job does with
`conf/model/<model>.yaml`, by the Laplace approximation unless `--calibrator` names another of conf/calibrator. Prints
one row a model and writes one line a patient to `<output>/<model>_<calibrator>.csv`, one line a parameter of each
patient to `..._parameters.csv` (`recovery.py` makes a table of those) and one line a held-out measurement to
`..._held_out.csv`, with the share of the forecast below it; patients that are there are not done again. All synthetic.

A model without space is drawn from the whole prior: 90 % intervals must then hold 90 % of the truth. A spatial patient
has the organ, tumour and noise of `conf/patient/virtual_<model>.yaml`; each parameter that lives in the model or the
treatment is drawn with `SPATIAL_SPREAD` of its prior's width about the patient's own truth, as the tumour must fit the
organ. Its truth is solved on another grid than the fit's, so that errors of the grid count.

With `--record` the shares are put into `twinjax/twin/coverage.csv` too, which reports show beside their intervals.

With `--misfit` the fitted model is wrong: tumours grow by the growth law (logistic, Gompertz) that the model does not
have, tissue maps are warped and later scans lie off, as `patients.py` says how far. `--model-error` is
`calibration.model_error` of models without space: the fit knows that its model may be wrong.
"""

import argparse
import csv
import functools
import os
import sys
import time
from pathlib import Path

import jax
import numpy as np
from hydra import compose, initialize_config_dir
from patients import misread, of_another_law, true_parameters
from tqdm import tqdm

from twinjax.calibration import coarse_and_fine, course_problem, longitudinal_problem
from twinjax.calibration.drawn import drawn_course, drawn_organ
from twinjax.core.config import conf_dir, instantiate
from twinjax.core.errors import InputError
from twinjax.imaging.features import volume_mm3
from twinjax.imaging.scan import REGIONS
from twinjax.job import model_of, settings_of
from twinjax.patient import VirtualCourse
from twinjax.twin import CourseForecast, DigitalTwin, Forecast
from twinjax.twin.accuracy import forecast_scores
from twinjax.twin.course_accuracy import course_scores
from twinjax.twin.coverage import LEVELS, MEASURED, MeasuredCoverage, record_coverage

# A model, unless another number is asked for.
PATIENTS = 20
# Of a spatial patient's forecast: each is a solve, and 20 repeated measurements of each make the interval.
SPATIAL_DRAWS = 40
COLUMNS = (
    "model",
    "patients",
    "converged",
    "held out, in 50, 80, 90 and 95 % intervals",
    "true parameters in 90 % interval",
    "median error",
    "error of the last value",
    "Dice",
    "centre of mass, largest distance",
)


# Spatial patients after which compiled programs are forgotten: they share those that solve, not the many small ones,
# and when nothing was shared sixteen reached the number of memory maps that Linux allows a process (65530).
FORGET_AFTER = 8

# What was found of one patient: its line, its parameters and its held-out measurements.
Found = tuple[dict, list[dict], list[dict]]


class Parts:
    """What the configuration names, made once: patients that share it share the compiled programs."""

    def __init__(self, config, misfit: bool):
        self.config, self.settings, self.misfit = config, settings_of(config), misfit
        self.prior, self.calibrator, self.solver, self.patient = (
            instantiate(config[name], where=name) for name in ("prior", "calibrator", "solver", "patient")
        )


def lumped(parts: Parts, number: int) -> Found:
    """One virtual patient of a model without space: errors and coverage, and its parameters."""
    settings, model = parts.settings, model_of(parts.config, None)
    described, prior = drawn_course(parts.patient, parts.prior, number)
    if parts.misfit:
        described = of_another_law(described)
    patient = described.generate()
    last_day = settings.last_calibrated_day(patient.days.tolist())
    problem = course_problem(
        patient.until(last_day), model, prior, model_error=settings.model_error, solver=parts.solver
    )
    posterior = parts.calibrator.fit(problem, key=jax.random.key(number))
    twin = DigitalTwin(model, posterior.map_estimate, posterior.credible_interval(0.95))
    days = patient.days[patient.days >= problem.start].tolist()
    prediction = twin.predict(days[-1], days, regimen=patient.regimen, draws=settings.draws)
    assert isinstance(prediction, CourseForecast)
    held = [score for score in course_scores(patient, prediction, last_day) if score["held_out"]]
    parameters = recovered(number, posterior, true_parameters(described, patient))
    below = [
        held_out(number, one["quantity"], one["day"], one["share_below"])
        for one in held
        if one["share_below"] is not None
    ]
    return (
        {
            **fit_of(number, posterior, parameters),
            "median_error_percent": median_error(held, "predicted"),
            "last_value_error_percent": median_error(held, "last_value"),
        },
        parameters,
        below,
    )


def fit_of(number: int, posterior, parameters: list[dict]) -> dict:
    """What a patient's line says of the fit."""
    return {
        "patient": number,
        "converged": posterior.diagnostics["converged"],
        "parameters": len(parameters),
        "parameters_covered": sum(parameter["covered"] for parameter in parameters),
    }


def held_out(number: int, quantity: str, day: float, share_below: float) -> dict:
    """The line of a measurement that was held out."""
    return {"patient": number, "quantity": quantity, "day": day, "below": share_below}


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


def spatial(parts: Parts, number: int) -> Found:
    """One virtual patient with scans: overlap, errors and coverage at the held-out visits, and its parameters."""
    settings = parts.settings
    described = drawn_organ(parts.patient, parts.prior, number)
    patient = misread(of_another_law(described).generate(), number) if parts.misfit else described.generate()
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
    below = [
        held_out(number, region, score["day"], score[f"{region}_share_below"]) for score in true for region in REGIONS
    ]
    return (
        {
            **fit_of(number, posterior, parameters),
            "median_error_percent": 100 * float(np.nanmedian([abs(s["whole_tumor_volume_error"]) for s in true])),
            "last_value_error_percent": last_volume_error(patient, last_day, true),
            "dice": float(np.mean([score["whole_tumor_dice"] for score in true])),
            "center_distance_mm": float(np.nanmax([score["whole_tumor_center_distance_mm"] for score in true])),
        },
        parameters,
        below,
    )


def last_volume_error(patient, last_day: float, scores) -> float:
    """Of the last segmented volume carried forward, in per cent."""
    scan = [visit.scan for visit in patient.visits if visit.day <= last_day][-1]
    volume = volume_mm3(scan.whole_tumor, scan.affine)
    true = np.asarray([score["whole_tumor_volume_mm3"] for score in scores])
    # What is gone has no relative error.
    return 100 * float(np.median(np.abs(volume / true[true > 0] - 1))) if (true > 0).any() else float("nan")


def median_error(scores, key: str) -> float:
    known = [score for score in scores if score["measured"] > 0 and score[key] is not None]
    return float(np.median([100 * abs(score[key] / score["measured"] - 1) for score in known]))


def run(
    name: str, patients: int, calibrator: str, folder: Path, misfit: bool, model_error: float
) -> tuple[list[dict], list[dict]]:
    """Lines of all patients of a model and of their held-out measurements, from the files as far as they are there."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        model, _, patient = name.partition(":")
        chosen = [f"calibrator={calibrator}", f"model={model}", f"calibration.model_error={model_error}"]
        config = compose("config", [*chosen, *([f"patient={patient}"] if patient else [])])
    parts = Parts(config, misfit)
    one = lumped if isinstance(parts.patient, VirtualCourse) else spatial
    if model_error and one is spatial:
        raise InputError(f"--model-error is for models without space; leave it out for {name}")
    stem = f"{name.replace(':', '_')}_{calibrator}{'_misfit' if misfit else ''}"
    stem += f"_{model_error:g}" if model_error else ""
    paths = [folder / f"{stem}{kind}.csv" for kind in ("_parameters", "_held_out", "")]
    parameters, below, rows = map(read, paths)
    done = {int(row["patient"]) for row in rows}
    for count, number in enumerate(tqdm([n for n in range(patients) if n not in done], desc=name), start=1):
        found = one(parts, number)
        if one is spatial and count % FORGET_AFTER == 0:
            jax.clear_caches()
        # A run that was ended between two files has lines of a patient that will be done again.
        parameters = [p for p in parameters if int(p["patient"]) != number] + found[1]
        below = [p for p in below if int(p["patient"]) != number] + found[2]
        rows.append(found[0])
        for path, lines in zip(paths, (parameters, below, rows), strict=True):
            write(path, lines)
    return rows, below


def read(path: Path) -> list[dict]:
    return list(csv.DictReader(path.open())) if path.is_file() else []


def write(path: Path, rows: list[dict]) -> None:
    # A misfit has no parameters whose truth is known.
    if not rows:
        return
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    os.replace(partial, path)


def summary(name: str, rows: list[dict], below: list[dict]) -> str:
    """The row of the table."""
    total, converged = functools.partial(_total, rows), sum(str(row["converged"]) == "True" for row in rows)

    def middle(key: str) -> str:
        return f"{np.nanmedian([float(row[key]) for row in rows]):.0f} %"

    def share(kind: str) -> str:
        return f"{100 * total(f'{kind}_covered') / total(kind):.0f} % of {total(kind)}" if total(kind) else ""

    inside = ", ".join(map(str, _inside(below).values()))
    cells = [name, len(rows), converged, f"{inside} % of {len(below)}", share("parameters")]
    cells += [middle("median_error_percent"), middle("last_value_error_percent")]
    if "dice" in rows[0]:
        dice, distance = ([float(row[key]) for row in rows] for key in ("dice", "center_distance_mm"))
        cells += [f"{np.median(dice):.2f} (lowest {min(dice):.2f})", f"{np.nanmedian(distance):.1f} mm"]
    else:
        cells += ["", ""]
    return "| " + " | ".join(map(str, cells)) + " |"


def recorded(name: str, chosen: argparse.Namespace, rows: list[dict], below: list[dict]) -> MeasuredCoverage:
    """The shares of the row of the table, as reports read them, with the command that measured them."""
    (model, _, patient), known = name.partition(":"), _total(rows, "parameters")
    command = f"python experiments/virtual_patients/run.py {name}"
    command += "" if chosen.calibrator == "laplace" else f" --calibrator {chosen.calibrator}"
    command += " --misfit" * chosen.misfit + ("" if len(rows) == PATIENTS else f" --patients {len(rows)}")
    command += f" --model-error {chosen.model_error:g}" if chosen.model_error else ""
    return MeasuredCoverage(
        model,
        patient,
        chosen.calibrator,
        chosen.misfit,
        chosen.model_error,
        len(rows),
        sum(str(row["converged"]) == "True" for row in rows),
        len(below),
        dict(_inside(below)),
        known or None,
        round(100 * _total(rows, "parameters_covered") / known) if known else None,
        command,
    )


def _total(rows: list[dict], key: str) -> int:
    return sum(int(row[key]) for row in rows)


def _inside(below: list[dict]) -> dict[int, int]:
    """Nominal level to the per cent of what was held out in intervals of that level."""
    away = np.array([abs(float(one["below"]) - 0.5) for one in below])
    return {level: round(100 * float(np.mean(away <= level / 200))) for level in LEVELS}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="names of conf/model, or model:patient")
    parser.add_argument("--patients", type=int, default=PATIENTS)
    parser.add_argument("--calibrator", default="laplace", help="name of conf/calibrator")
    parser.add_argument("--misfit", action="store_true", help="tumours that the fitted model does not describe")
    parser.add_argument("--model-error", type=float, default=0.0, help="that the fit reckons with; without space only")
    parser.add_argument("--output", type=Path, default=Path("outputs/virtual_patients"))
    parser.add_argument("--record", nargs="?", type=Path, const=MEASURED, help="also into the file that reports read")
    chosen = parser.parse_args(arguments)
    jax.config.update("jax_enable_x64", True)
    chosen.output.mkdir(parents=True, exist_ok=True)
    lines = []
    for name in chosen.models:
        began = time.perf_counter()
        how = chosen.patients, chosen.calibrator, chosen.output, chosen.misfit, chosen.model_error
        rows, below = run(name, *how)
        lines.append(summary(name, rows, below))
        if chosen.record is not None:
            record_coverage(recorded(name, chosen, rows, below), chosen.record)
        print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    print("| " + " | ".join(COLUMNS) + " |\n|" + " --- |" * len(COLUMNS))
    print("\n".join(lines))


if __name__ == "__main__":
    main(sys.argv[1:])
