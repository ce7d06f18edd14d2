"""What a cohort of virtual patients without space costs: processor time and compiled programs a patient, and scaling.

    python benchmarks/cohort.py [--patients 1000] [--workers 1 2] [--model claret] [--output outputs/cohort_load]
    python benchmarks/cohort.py --uneven [--output outputs/cohort_uneven]

Runs `twinjax cohort=virtual` with the Laplace approximation, once for each number of workers, each patient with its own
report, and prints a table from `effort.csv`. A patient after the first of its process must compile nothing: the script
ends with an error where one does. Started again it goes on, and then counts only what the patients' own files tell. All
patients are synthetic.

`--uneven`: in place of these twelve patients of a table, for `lung_volume`, who differ in how many volumes (4 to 12 up
to day 200), fractions (20 to 33) and doses of cisplatin (2 to 6) they have; the volumes are made up. Prints
`effort.csv`.
"""

import argparse
import csv
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

SETTINGS = ("calibrator=laplace", "decision=null")
UNEVEN_PATIENTS = 12


def efforts(folder: Path, *settings: str) -> list[dict[str, str]]:
    """The lines of `effort.csv` of a cohort."""
    command = [sys.executable, "-m", "twinjax", *SETTINGS, *settings, f"hydra.run.dir={folder}"]
    subprocess.run(command, check=True)
    with open(folder / "effort.csv", newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def measured(folder: Path, model: str, patients: int, workers: int) -> dict[str, str]:
    fresh, began = not (folder / "patients").exists(), time.perf_counter()
    virtual = ("cohort=virtual", f"cohort.patients={patients}", f"cohort.workers={workers}")
    rows = efforts(folder, f"model={model}", *virtual)
    wall = time.perf_counter() - began
    processor, programs = (np.asarray([float(row[key]) for row in rows]) for key in ("processor_seconds", "programs"))
    later = processor[programs == 0]
    if (programs > 0).sum() > workers and fresh:
        raise SystemExit(f"{(programs > 0).sum()} patients compiled programs of their own, with {workers} workers")
    first = f"{programs.max():.0f} programs, {processor[programs > 0].max():.0f} s"
    return {
        "workers": str(workers),
        "patients": str(len(rows)),
        "compiled by the first of each process": first,
        "processor time a later patient": f"{np.median(later):.2f} s",
        "patients an hour and core": f"{3600 / later.mean():.0f}",
        "wall time in all": f"{wall:.0f} s" if fresh else "",
    }


def uneven(folder: Path) -> None:
    settings = ("model=lung_volume", "patient=table", "patient.source=synthetic", "cohort=table")
    rows = efforts(folder / "results", *settings, f"cohort.path={uneven_table(folder / 'table')}")
    print((folder / "results" / "effort.csv").read_text("utf-8"))
    print(f"{sum(float(row['processor_seconds']) for row in rows):.0f} s of processor time in all")


def uneven_table(folder: Path) -> Path:
    """The table of a cohort, with the measurements and the treatment of each patient beside it."""
    rng, lines = np.random.default_rng(0), []
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, UNEVEN_PATIENTS + 1):
        name = f"uneven_{number:02d}"
        early, fractions, doses = rng.integers(4, 13), rng.integers(20, 34), rng.integers(2, 7)
        days = np.r_[0, np.sort(rng.choice(np.arange(10, 196), early - 1, replace=False)), 240, 300, 360]
        sizes = 3e4 * (0.7 * np.exp(-days / 50) + 0.3 * np.exp(days / 500)) * rng.lognormal(0, 0.1, days.size)
        volumes = [(day, "volume", f"{size:.0f}", "mm3") for day, size in zip(days, sizes, strict=True)]
        given = [(14 + i // 5 * 7 + i % 5, "radiotherapy", 2, "Gy", "") for i in range(fractions)]
        given += [(14.5 + 7 * i, "chemotherapy", 50, "mg/m2", "cisplatin") for i in range(doses)]
        write(folder / f"{name}.csv", [("day", "quantity", "value", "unit"), *volumes])
        write(folder / f"{name}_treatment.csv", [("day", "modality", "dose", "unit", "drug"), *sorted(given)])
        lines.append((name, f"{name}.csv", f"{name}_treatment.csv"))
    write(folder / "patients.csv", [("patient", "path", "treatment_file"), *lines])
    return folder / "patients.csv"


def write(path: Path, rows: list[tuple]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=1000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--model", default="claret")
    parser.add_argument("--uneven", action="store_true", help="patients with other numbers of data and doses")
    parser.add_argument("--output", type=Path, default=Path("outputs/cohort_load"))
    chosen = parser.parse_args()
    if chosen.uneven:
        uneven(chosen.output)
        return
    rows = [
        measured(chosen.output / f"{chosen.model}_{chosen.patients}_{workers}", chosen.model, chosen.patients, workers)
        for workers in chosen.workers
    ]
    print(f"{os.cpu_count()} cores; load before and since: {', '.join(f'{load:.1f}' for load in os.getloadavg())}")
    print("| " + " | ".join(rows[0]) + " |\n|" + " --- |" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(row.values()) + " |")


if __name__ == "__main__":
    main()
