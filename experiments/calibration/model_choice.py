"""Which growth law and which treatment term do data prefer? Leave-one-out, WAIC and stacking.

    python experiments/calibration/model_choice.py synthetic
    TWINJAX_DATA=<folder> python experiments/calibration/model_choice.py xenografts lesions

Every series is fitted by itself under each candidate (importance sampling from the Laplace approximation, noise raised
to the residuals) and compared by `twinjax.calibration.compare_models`. Prints one row a candidate and writes
`<output>/<set>.csv`, one line a series and candidate, and `<output>/<set>.png`; series that are
in the file are not done again.

- `synthetic`: 36 series of volumes whose law is known, exponential, logistic and Gompertz in turn; and 20 mice on
  four weekly doses of a drug that kills in every other mouse, fitted with and without it.
- `xenografts`: untreated patient-derived tumours of the pancreas and the lung (Gao et al. 2015), eight or more volumes.
- `lesions`: diameters of lung lesions on trial drugs (six or more readings, the first `LESIONS` of them): growth alone,
  growth and a drug whose effect fades (Claret), and shrinking and growing parts (Stein).

The first reading scales the start of every candidate and is among the data too, for all alike.
"""

import argparse
import csv
import logging
import os
import sys
from collections import defaultdict
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from lung_cohort.cohort import read_lesions
from matplotlib.figure import Figure
from tqdm import tqdm

import twinjax.calibration.problem as problem_module
from twinjax.calibration import ImportanceSampler, LevenbergMarquardt, ModelComparison, Prior, compare_models
from twinjax.calibration import course_problem as problem_of
from twinjax.core.config import load_named
from twinjax.core.errors import InputError
from twinjax.model import ClaretInhibition, SteinRegression, VolumeModel
from twinjax.patient import ClinicalCourse, VirtualCourse
from twinjax.report.model_choice import model_choice_figure
from twinjax.simulation import Trajectory, simulate
from twinjax.treatment import Chemotherapy, Regimen

# Before the models below, whose parameters would be of single precision.
jax.config.update("jax_enable_x64", True)
CALIBRATOR = ImportanceSampler(proposals=400, draws=1000, progress=False, mode=LevenbergMarquardt())
START = {"distribution": ("lognormal", 1.0, 0.12), "where": "initial.ratio"}
# Xenografts double in one to four weeks and end at some mL: wide priors about that, our own choice.
RATE = {"distribution": ("lognormal", 0.05, 0.8), "where": "model.proliferation_rate"}
CAPACITY = {"distribution": ("lognormal", 3000.0, 1.0), "where": "model.carrying_capacity_mm3"}
EXPONENTIAL = Prior({"proliferation_rate": RATE, "initial_size": START})
BOUNDED = Prior({"proliferation_rate": RATE, "carrying_capacity": CAPACITY, "initial_size": START})
# The exponential law is the logistic one without a bound.
LAWS = {
    "exponential": (VolumeModel(growth="logistic", carrying_capacity_mm3=1e15), EXPONENTIAL),
    "logistic": (VolumeModel(growth="logistic"), BOUNDED),
    "gompertz": (VolumeModel(growth="gompertz"), BOUNDED),
}
DRUG = {"clearance_rate": 0.7, "reference_dose": 1.0}
MOUSE = VolumeModel(growth="logistic", carrying_capacity_mm3=1169.755)
DRUGS = {
    "the drug kills": (MOUSE, load_named("prior", "pancreas_volume")),
    "the drug does nothing": (MOUSE, load_named("prior", "pancreas_volume"), False),
}
DIAMETER = {"distribution": ("lognormal", 1.0, 0.08), "where": "initial.ratio"}
GROWTH_ALONE = Prior(
    {
        # A rate of either sign: a lesion may shrink for good.
        "growth_rate": {"distribution": ("normal", 0.0, 0.004), "where": "model.growth_rate"},
        "initial_size": DIAMETER,
    }
)


TERMS = {
    "growth alone": (ClaretInhibition(drug_kill_rate=0.0), GROWTH_ALONE),
    "fading drug (Claret)": (ClaretInhibition(), load_named("prior", "claret")),
    "two parts (Stein)": (SteinRegression(), load_named("prior", "stein")),
}
LESIONS, FEWEST, SERIES, MICE = 40, 8, 36, 20
SYNTHETIC_DAYS, SYNTHETIC_NOISE = np.arange(0.0, 64.0, 4.0), 0.08


def compared(course: ClinicalCourse, candidates, seed: int) -> tuple[ModelComparison, dict[str, bool]]:
    """The comparison, and whether each fit converged."""
    posteriors = {
        name: CALIBRATOR.fit(problem_of(_given(course, *without), model, prior), key=jax.random.key(seed))
        for name, (model, prior, *without) in candidates.items()
    }
    return compare_models(posteriors), {name: p.diagnostics["converged"] for name, p in posteriors.items()}


def _given(course: ClinicalCourse, treated: bool = True) -> ClinicalCourse:
    """The course, as a model without the drug sees it where not `treated`."""
    return course if treated else ClinicalCourse(course.patient_id, course.measurements)


def synthetic_series(number: int) -> tuple[str, ClinicalCourse]:
    """A law, and volumes that it made; rate, capacity and start differ from series to series."""
    rng = np.random.default_rng(number)
    law = list(LAWS)[number % len(LAWS)]
    rates = {"exponential": 0.05, "logistic": 0.10, "gompertz": 0.05}
    model = VolumeModel(
        growth="logistic" if law == "exponential" else law,
        proliferation_rate=rates[law] * np.exp(0.2 * rng.normal()),
        carrying_capacity_mm3=1e15 if law == "exponential" else 2500.0 * np.exp(0.3 * rng.normal()),
    )
    schedule, noise = {"volume_mm3": SYNTHETIC_DAYS.tolist()}, {"volume_mm3": SYNTHETIC_NOISE}
    return law, VirtualCourse(f"series_{number}", model, 200.0, schedule, noise, seed=number).generate()


def treated_series(number: int) -> tuple[str, ClinicalCourse]:
    """Mice of Vishwanath et al. 2025 on four weekly doses, which kill in every other mouse."""
    rng = np.random.default_rng(number)
    kills = number % 2 == 0
    model = VolumeModel(
        growth="logistic",
        proliferation_rate=0.08 * np.exp(0.2 * rng.normal()),
        carrying_capacity_mm3=1169.755,
    )
    sensitivity = 0.15 * np.exp(0.3 * rng.normal()) if kills else 0.0
    doses = Chemotherapy([7.0, 14.0, 21.0, 28.0], 1.0, drug="gemcitabine", sensitivity=sensitivity, **DRUG)
    schedule, noise = {"volume_mm3": np.arange(0.0, 42.0, 3.0).tolist()}, {"volume_mm3": 0.1}
    mouse = VirtualCourse(f"mouse_{number}", model, 189.0, schedule, noise, Regimen([doses]), seed=number)
    return "the drug kills" if kills else "the drug does nothing", mouse.generate()


def xenografts(folder: Path) -> list[tuple[str, ClinicalCourse]]:
    """Untreated curves with `FEWEST` volumes or more, from the first positive one on."""
    courses = []
    for organ in ("lung", "pancreas"):
        path = folder / organ / "xenograft_volumes.csv"
        if not path.is_file():
            raise InputError(f"{path} is not there: TWINJAX_DATA must name the folder with {organ}/{path.name}")
        found = defaultdict(list)
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                if row["arm"] == "untreated" and float(row["volume_mm3"]) > 0:
                    found[row["tumor_model"], row["animal_id"]].append((float(row["day"]), float(row["volume_mm3"])))
        for (tumor, animal), values in sorted(found.items()):
            days, volumes = np.array(sorted(values)).T
            days, first = np.unique(days, return_index=True)
            if days.size >= FEWEST:
                measured = {"volume_mm3": (days - days[0], volumes[first])}
                courses.append((organ, ClinicalCourse(f"{organ}_{tumor}_{animal}", measured)))
    return courses


def lesions(folder: Path) -> list[tuple[str, ClinicalCourse]]:
    """Lesions as sums of diameters of one; those read as 0 mm at the start have no curve."""
    found = []
    for course in read_lesions(folder / "lung" / "lesion_series.csv"):
        days, diameters = course.measurements["diameter_mm"]
        if diameters[0] > 0:
            found.append(("", ClinicalCourse(course.patient_id, {"sum_of_diameters_mm": (days, diameters)})))
    return found[:LESIONS]


def exact(model, regimen, state0, times, *, start=0.0, **options) -> Trajectory:
    """`simulate` of an untreated model whose course is known in closed form: nothing to step, seconds to compile."""
    assert not regimen.treatments
    states = jax.vmap(lambda day: model.untreated(state0, day - start))(jnp.asarray(times, float))
    return Trajectory(jnp.asarray(times, float), states, jnp.asarray(True))


def run(name: str, series, candidates, folder: Path, *, treated: bool = False) -> None:
    """Compare every series that is not in the file yet; print what wins how often, and draw the figure."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.csv"
    rows = list(csv.DictReader(path.open())) if path.is_file() else []
    done = {row["series"] for row in rows}
    with mock.patch.object(problem_module, "simulate", simulate if treated else exact):
        for number, (truth, course) in enumerate(tqdm(series, desc=name)):
            if course.patient_id in done:
                continue
            comparison, converged = compared(course, candidates, number)
            for row in comparison.rows():
                best = row["model"] == comparison.best
                known = {"series": course.patient_id, "group": truth, "converged": converged[row["model"]]}
                rows.append({**known, **row, "best": best})
            with path.open("w", newline="") as stream:
                writer = csv.DictWriter(stream, rows[0].keys())
                writer.writeheader()
                writer.writerows(rows)
            # The last series, as an example.
            model_choice_figure(comparison).savefig(folder / f"{name}_last_series.png", dpi=110)
    rows = list(csv.DictReader(path.open()))
    summary(name, rows, list(candidates))
    figure(rows, list(candidates)).savefig(folder / f"{name}.png", dpi=110)


def summary(name: str, rows: list[dict], candidates: list[str]) -> None:
    groups = list(dict.fromkeys(row["group"] for row in rows))
    print(f"\n{name}: best by leave-one-out, of the series of each group")
    print("| group | series | " + " | ".join(candidates) + " |\n|" + " --- |" * (2 + len(candidates)))
    for group in groups:
        mine = [row for row in rows if row["group"] == group]
        wins = [sum(row["best"] == "True" for row in mine if row["model"] == one) for one in candidates]
        print(f"| {group or 'all'} | {sum(wins)} | " + " | ".join(map(str, wins)) + " |")
    print("\n| candidate | elpd, summed | mean stacking weight | series with Pareto k >= 0.7 | not converged |")
    print("|" + " --- |" * 5)
    for one in candidates:
        mine = [row for row in rows if row["model"] == one]
        doubtful = sum(float(row["worst_pareto_k"]) >= 0.7 for row in mine)
        lost = sum(row["converged"] != "True" for row in mine)
        total, weight = sum(float(row["elpd_loo"]) for row in mine), np.mean([float(row["weight"]) for row in mine])
        print(f"| {one} | {total:.1f} | {weight:.2f} | {doubtful} of {len(mine)} | {lost} |", flush=True)


def figure(rows: list[dict], candidates: list[str]) -> Figure:
    """Stacking weights of every series, grouped."""
    groups = list(dict.fromkeys(row["group"] for row in rows))
    shown = Figure(figsize=(7.5, 1.2 + 1.3 * len(groups)), layout="constrained")
    colors = ("#0072b2", "#d55e00", "#009e73")
    for panel, group in zip(np.ravel(shown.subplots(len(groups), 1, squeeze=False)), groups, strict=True):
        names = list(dict.fromkeys(row["series"] for row in rows if row["group"] == group))
        bottom = np.zeros(len(names))
        for color, one, hatch in zip(colors, candidates, ("", "//", ".."), strict=False):
            weight = {row["series"]: float(row["weight"]) for row in rows if row["model"] == one}
            height = np.array([weight[series] for series in names])
            panel.bar(range(len(names)), height, bottom=bottom, color=color, hatch=hatch, edgecolor="white", label=one)
            bottom += height
        panel.set(ylabel="stacking weight", title=group or "all series", xticks=[], ylim=(0, 1))
    handles, labels = panel.get_legend_handles_labels()
    shown.legend(handles, labels, loc="outside lower center", ncols=len(candidates))
    return shown


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", choices=["synthetic", "xenografts", "lesions"])
    parser.add_argument("--output", type=Path, default=Path("outputs/model_choice"))
    chosen = parser.parse_args(arguments)
    # The table counts what every series would warn of.
    logging.getLogger("twinjax").setLevel(logging.ERROR)
    data = Path(os.environ.get("TWINJAX_DATA", ""))
    for name in chosen.sets:
        if name == "synthetic":
            run("growth_laws_synthetic", [synthetic_series(n) for n in range(SERIES)], LAWS, chosen.output)
            mice = [treated_series(n) for n in range(MICE)]
            run("treatment_terms_synthetic", mice, DRUGS, chosen.output, treated=True)
        elif name == "xenografts":
            run("xenografts", xenografts(data), LAWS, chosen.output)
        else:
            run("lesions", lesions(data), TERMS, chosen.output)


if __name__ == "__main__":
    main(sys.argv[1:])
