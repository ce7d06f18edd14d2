"""Many patients through one pipeline, resumable."""

import csv
import logging
import os
import time
from pathlib import Path

from tqdm import tqdm

from twinjax.core.errors import InputError, TwinjaxError
from twinjax.core.folder import signature
from twinjax.imaging.nifti import SUFFIXES
from twinjax.imaging.pipeline import ImagingPipeline
from twinjax.imaging.record import FILE

log = logging.getLogger("twinjax")

COLUMNS: tuple[str, ...] = ("patient", "state", "visits", "seconds", "message", "files")


def process_cohort(pipeline: ImagingPipeline, cohort_dir: str | Path, output_dir: str | Path) -> list[dict[str, str]]:
    """Process every patient folder of `cohort_dir` into a folder of the same name in `output_dir`.

    `cohort.csv` in `output_dir` has one line a patient: `done` or `failed` with its one-line message; a patient that
    fails does not stop the others. Run again, it does what is missing, what failed and what changed: a patient is done
    when its result is there and the sizes and times of its files are those of then. The lines are returned.

    Raises `InputError` for a folder without patients.
    """
    root, output = Path(cohort_dir), Path(output_dir)
    patients = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not patients:
        raise InputError(f"'{root.name}' has no patient folders")
    output.mkdir(parents=True, exist_ok=True)
    known = {row["patient"]: row for row in _rows(output / "cohort.csv")}
    for path in tqdm(patients, desc="patients", unit="patient"):
        files = signature(path, (*SUFFIXES, ".dcm"))
        row = known.get(path.name, {})
        if row.get("state") == "done" and row.get("files") == files and (output / path.name / FILE).is_file():
            continue
        began, message, visits = time.perf_counter(), "", 0
        try:
            visits = len(pipeline.process(path, output / path.name).visits)
        except (TwinjaxError, OSError) as error:
            message = " ".join(str(error).split())
            log.warning("patient %d of %d failed: %s", patients.index(path) + 1, len(patients), message)
        known[path.name] = {
            "patient": path.name,
            "state": "failed" if message else "done",
            "visits": str(visits),
            "seconds": f"{time.perf_counter() - began:.1f}",
            "message": message,
            "files": files,
        }
        _write(output / "cohort.csv", [known[p.name] for p in patients if p.name in known])
    return [known[path.name] for path in patients]


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    partial = path.with_suffix(".partial")
    with open(partial, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    os.replace(partial, path)
