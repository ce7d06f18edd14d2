"""Patients of the trial of intermittent androgen suppression by Bruchovsky et al. 2006 (Cancer 107:389).

Public as text files, one a patient, in github.com/ttphan4/cell_quota_model_of_prostate_cancer (MIT), folder
`Core fitting and forecasting/Data_62`. Either that folder is read, or one table `intermittent_adt.csv` with the columns
patient_id, day, psa_ng_ml, testosterone_nmol_l, cycle, on_treatment. A laboratory value may be missing, or stand below
or above a limit (`<0.1`), as `laboratory_value` reads it.

Two faults of the text files are mended: `patient200.txt` is a truncated copy of patient 30 and is dropped, and a stray
letter in a number (patient 7, row 9) is taken out.
"""

import csv
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from twinjax.core.errors import InputError
from twinjax.patient.clinical_course import ClinicalCourse
from twinjax.patient.laboratory_value import as_entry, laboratory_value
from twinjax.patient.reading import case_folder, inside
from twinjax.treatment import Regimen
from twinjax.treatment.androgen_deprivation import AndrogenDeprivation

TABLE = "intermittent_adt.csv"
COLUMNS = ("patient_id", "day", "psa_ng_ml", "testosterone_nmol_l", "cycle", "on_treatment")
# A truncated copy of patient 30.
DROPPED = ("patient200",)
# A monthly depot: what a forecast from a day on takes as given outlasts that day by no more.
DOSE_INTERVAL_DAYS = 28.0


class TrialCourse(NamedTuple):
    """One patient: `course`, and the cycle of treatment (`cycles`, from 1) that each day of `psa_ng_ml` belongs to."""

    course: ClinicalCourse
    cycles: np.ndarray


def load_bruchovsky(
    data_folder: str | Path | None = None, case: str = "prostate", *, patient_id: str = "P17"
) -> ClinicalCourse:
    """One patient of the trial in the folder `data_folder/case`.

    `psa_ng_ml` and `testosterone_nmol_l` over time, and when androgen was suppressed.

    Days count from the patient's first row. Treatment is on from the first row that says so to the first that says
    off, or to the last row. Raises `InputError` for a folder without the table, or a patient that it does not have.
    """
    rows = _read(data_folder, case)
    if patient_id not in rows:
        raise InputError(f"patient_id '{patient_id}' is not in the trial's data; choose one of {', '.join(rows)}")
    return _course(patient_id, rows[patient_id]).course


def load_bruchovsky_trial(data_folder: str | Path | None = None, case: str = "prostate") -> list[TrialCourse]:
    """All patients of the trial, as `load_bruchovsky` gives them."""
    return [_course(patient_id, rows) for patient_id, rows in _read(data_folder, case).items()]


def _course(patient_id: str, rows: np.ndarray) -> TrialCourse:
    # Two rows of one day: the later one knows more.
    rows = rows[np.append(np.diff(rows[:, 0]) > 0, True)]
    days, on = rows[:, 0] - rows[0, 0], rows[:, 4] > 0.5
    turns = np.flatnonzero(np.diff(on, prepend=False, append=False))
    ends = np.append(days, days[-1])
    starts, stops = ends[turns[::2]], ends[turns[1::2]]
    lasting = stops > starts
    treatments = []
    if lasting.any():
        treatments = [
            AndrogenDeprivation.on_intervals(starts[lasting], stops[lasting], dose_interval_days=DOSE_INTERVAL_DAYS)
        ]
    measured = {"psa_ng_ml": (days, _entries(rows, 1)), "testosterone_nmol_l": (days, _entries(rows, 2))}
    course = ClinicalCourse(patient_id, measured, Regimen(treatments))
    return TrialCourse(course, rows[~np.isnan(rows[:, 1]), 3].astype(int))


def _entries(rows: np.ndarray, column: int) -> list[float | str]:
    """Values as `ClinicalCourse` takes them; the sides stand in the last two columns."""
    return list(map(as_entry, rows[:, column].tolist(), rows[:, column + 4].astype(int).tolist()))


def _read(data_folder: str | Path | None, case: str) -> dict[str, np.ndarray]:
    """Patient to rows of day, PSA, testosterone, cycle, treatment, and the sides of PSA and testosterone, by day."""
    _, folder = case_folder(data_folder, case)
    table = inside(folder, TABLE)
    found = _read_table(table) if table.is_file() else _read_texts(folder)
    if not found:
        raise InputError(f"{folder} has neither {TABLE} nor the text files patient*.txt of the trial")
    return {name: rows[np.argsort(rows[:, 0], kind="stable")] for name, rows in found.items()}


def _read_table(path: Path) -> dict[str, np.ndarray]:
    collected: dict[str, list] = {}
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if missing := [name for name in COLUMNS if name not in (reader.fieldnames or [])]:
            raise InputError(f"{path.name} lacks the columns {', '.join(missing)}; it needs {', '.join(COLUMNS)}")
        for number, row in enumerate(reader, 2):
            fields = {f"{path.name} row {number}, {name}": row[name] for name in COLUMNS[1:]}
            collected.setdefault(row["patient_id"], []).append(_row(fields))
    return {name: np.asarray(rows) for name, rows in collected.items()}


def _read_texts(folder: Path) -> dict[str, np.ndarray]:
    found = {}
    for path in sorted(folder.glob("patient*.txt")):
        if path.stem in DROPPED:
            continue
        rows = []
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            fields = [field for field in re.split(r"[,\s]+", line.strip()) if field]
            if not fields:
                continue
            if len(fields) != len(COLUMNS):
                raise InputError(f"{path.name} row {number} has {len(fields)} fields, not {len(COLUMNS)}")
            # The first is the patient's number, of which some rows have lost a part.
            named = zip(COLUMNS[1:], fields[1:], strict=True)
            rows.append(_row({f"{path.name} row {number}, {name}": re.sub("[a-z]", "", f) for name, f in named}))
        found["P" + path.stem.removeprefix("patient")] = np.asarray(rows)
    return found


def _row(fields: dict[str, str]) -> list[float]:
    """Numbers of a row and the sides of its two laboratory values; `fields`: where each stands, and its text."""
    (day, *others), places = fields.values(), list(fields)
    readings = [laboratory_value(others[i], places[i + 1]) for i in (0, 1)]
    numbers = [_number(text, place) for text, place in zip(others[2:], places[3:], strict=True)]
    values, sides = zip(*readings, strict=True)
    return [_number(day, places[0]), *values, *numbers, *sides]


def _number(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise InputError(f"{where}: '{text}' is no number") from error
