"""What a cohort of virtual patients without space costs: processor time and compiled programs a patient, and scaling.

    python benchmarks/cohort.py [--patients 1000] [--workers 1 2] [--model claret] [--output outputs/cohort_load]

Runs `twinjax cohort=virtual` with the Laplace approximation, once for each number of workers, each patient with its own
report, and prints a table from `effort.csv`. A patient after the first of its process must compile nothing: the script
ends with an error where one does. Started again it goes on, and then counts only what the patients' own files tell. All
patients are synthetic.
"""

import argparse
import csv
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

SETTINGS = ("calibrator=laplace", "decision=null", "cohort=virtual")


def measured(folder: Path, model: str, patients: int, workers: int) -> dict[str, str]:
    command = [sys.executable, "-m", "twinjax", f"model={model}", *SETTINGS, f"cohort.patients={patients}"]
    command += [f"cohort.workers={workers}", f"hydra.run.dir={folder}"]
    fresh, began = not (folder / "patients").exists(), time.perf_counter()
    subprocess.run(command, check=True)
    wall = time.perf_counter() - began
    with open(folder / "effort.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=1000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--model", default="claret")
    parser.add_argument("--output", type=Path, default=Path("outputs/cohort_load"))
    chosen = parser.parse_args()
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
