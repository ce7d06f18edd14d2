"""The treatment table, `treatment.csv`: one row per fraction, drug dose or operation, in order of time.

Columns (comma-separated, UTF-8; further columns are ignored):

    day or date   days since baseline (fractions allowed: 3.25), or an ISO date (2024-03-01); one of the two columns
    modality      radiotherapy, chemotherapy or surgery
    dose, unit    radiotherapy: per fraction, in Gy or cGy; chemotherapy: mg/m2, or mg (needs the body surface
                  area); both empty for surgery
    drug          for chemotherapy a drug of `conf/treatment`, whose values it gets; empty otherwise

Two fractions on one day get different times (3.0 and 3.25). The cavity of an operation is label 4 of the first
visit after it.
"""

import csv
import datetime
import logging
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from twinjax.core.errors import InputError
from twinjax.imaging import labels
from twinjax.patient.csv_rows import check_time_column, read_csv_rows
from twinjax.patient.visit import Visit
from twinjax.treatment import Chemotherapy, Radiotherapy, Regimen, Resection
from twinjax.treatment.known_drug import known_chemotherapy, known_drug

logger = logging.getLogger(__name__)

UNITS: dict[str, tuple[str, ...]] = {"radiotherapy": ("Gy", "cGy"), "chemotherapy": ("mg/m2", "mg"), "surgery": ()}
# The largest single-fraction doses in use (radiosurgery) are below 35 Gy.
LARGEST_FRACTION_GY = 40.0


class TreatmentRow(NamedTuple):
    """One row in standard units: `day` since baseline; `dose` in Gy (radiotherapy) or mg/m² (chemotherapy)."""

    day: float
    modality: str
    dose: float
    drug: str


def read_treatment_csv(
    path: str | Path,
    *,
    visits: Sequence[Visit] = (),
    baseline_date: datetime.date | None = None,
    body_surface_area_m2: float | None = None,
) -> Regimen:
    """The regimen of a treatment table; columns and units in the module's text.

    `visits` give the cavity of an operation, `baseline_date` turns dates into days, `body_surface_area_m2` (m²)
    turns mg into mg/m². Raises `InputError` with the line of the first bad row, and for an operation without `visits`.
    """
    path = Path(path)
    columns, records = read_csv_rows(path, "treatment file")
    missing = [name for name in ("modality", "dose", "unit", "drug") if name not in columns]
    if missing:
        raise InputError(f"{path.name}: column {', '.join(missing)} is missing; columns are separated by commas")
    check_time_column(path.name, columns)
    rows: list[TreatmentRow] = []
    for where, record in records:
        if "day" in record:
            day = parse_number(record["day"], "day", where)
        else:
            day = days_since(record["date"], baseline_date, where)
        row = standard_row(
            day, record["modality"], record["dose"], record["unit"], record["drug"], where, body_surface_area_m2
        )
        if row in rows:
            raise InputError(f"{where}: the same row stands above; remove it, or give a second dose its own time")
        if rows and row.day < rows[-1].day:
            raise InputError(f"{where}: day {row.day:g} comes after day {rows[-1].day:g}; sort the rows by time")
        rows.append(row)
    return regimen_of(rows, visits)


def standard_row(
    day: float, modality: str, dose: str, unit: str, drug: str, where: str, body_surface_area_m2: float | None = None
) -> TreatmentRow:
    """One checked row in standard units; `where` opens the message of an `InputError`."""
    modality = modality.lower()
    if modality not in UNITS:
        raise InputError(f"{where}: modality '{modality}' is unknown; use one of {', '.join(UNITS)}")
    if modality == "surgery":
        if dose or unit or drug:
            raise InputError(f"{where}: surgery has no dose, unit or drug; leave them empty")
        return TreatmentRow(day, modality, 0.0, "")
    allowed = {name.lower(): name for name in UNITS[modality]}
    found = allowed.get(unit.lower().replace("²", "2"))
    if found is None:
        raise InputError(f"{where}: unit '{unit}' is unknown for {modality}; use {' or '.join(UNITS[modality])}")
    amount = parse_number(dose, "dose", where)
    if modality == "radiotherapy":
        amount = amount / 100 if found == "cGy" else amount
        if amount > LARGEST_FRACTION_GY:
            raise InputError(f"{where}: {amount:g} Gy in one fraction; write one row per fraction, and check Gy or cGy")
        if drug:
            raise InputError(f"{where}: radiotherapy has no drug; leave it empty")
        return TreatmentRow(day, modality, amount, "")
    if not drug:
        raise InputError(f"{where}: chemotherapy needs the name of the drug")
    try:
        drug = known_drug(drug)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    if found == "mg":
        if body_surface_area_m2 is None:
            raise InputError(f"{where}: a dose in mg needs body_surface_area_m2; give it, or the dose in mg/m2")
        if not 0.2 <= body_surface_area_m2 <= 4:
            raise InputError(f"body_surface_area_m2 must lie between 0.2 and 4 m², got {body_surface_area_m2}")
        amount = amount / body_surface_area_m2
    return TreatmentRow(day, modality, amount, drug)


def parse_number(text: str, name: str, where: str) -> float:
    """A finite number >= 0; `InputError` otherwise, which tells numbers only: a text may be a date."""
    try:
        value = float(text)
    except ValueError:
        raise InputError(f"{where}: {name} must be a number >= 0, and is none") from None
    if not math.isfinite(value) or value < 0:
        raise InputError(f"{where}: {name} must be a number >= 0, got '{text}'")
    return value


def days_since(text: str, baseline: datetime.date | None, where: str) -> float:
    """Days from the first date of the patient to an ISO date; `InputError` where it lies before. Tells no date."""
    if baseline is None:
        raise InputError(f"{where}: dates need visit folders, or measurements, by date too; use the column day")
    try:
        days = float((datetime.date.fromisoformat(text) - baseline).days)
    except ValueError:
        raise InputError(f"{where}: the date is not an ISO date (2024-03-01)") from None
    if days < 0:
        raise InputError(f"{where}: the date is {-days:g} days before the first visit; leave out earlier treatment")
    return days


def regimen_of(rows: Iterable[TreatmentRow], visits: Sequence[Visit] = ()) -> Regimen:
    """Radiotherapy, one chemotherapy per drug, and a resection per operation whose cavity was segmented."""
    rows = list(rows)
    treatments: list = []
    courses: dict[tuple[str, str], list[TreatmentRow]] = {}
    for row in rows:
        courses.setdefault((row.modality, row.drug), []).append(row)
    for (modality, drug), course in courses.items():
        times, doses = np.asarray([row.day for row in course]), np.asarray([row.dose for row in course])
        if modality == "radiotherapy":
            treatments.append(Radiotherapy(times, doses))
        elif modality == "chemotherapy":
            treatments.append(known_chemotherapy(drug, times, doses))
        else:
            treatments.extend(filter(None, (_resection(day, visits) for day in times.tolist())))
    return Regimen(treatments)


def _resection(day: float, visits: Sequence[Visit]) -> Resection | None:
    if not visits:
        raise InputError(
            f"surgery on day {day:g} needs the scan after it, which shows what was removed; without scans leave the "
            "row out and let the table of measurements begin after the operation"
        )
    # A scan of the same day may come before or after the operation: the cavity tells.
    for visit in (visit for visit in visits if visit.day >= day):
        cavity = visit.scan.segmentation == labels.CAVITY
        if np.any(cavity):
            return Resection(day, cavity, visit.scan.affine)
        if visit.day > day:
            break
    logger.warning("surgery on day %g is left out: the first visit after it shows no cavity (label 4)", day)
    return None


def write_treatment_csv(path: str | Path, regimen: Regimen) -> None:
    """Write a regimen as `read_treatment_csv` reads it, without drug parameters, cavities and dose maps."""
    rows = []
    for treatment in regimen.treatments:
        if isinstance(treatment, Radiotherapy):
            rows += [(t, "radiotherapy", f"{d:.7g}", "Gy", "") for t, d in _doses(treatment)]
        elif isinstance(treatment, Chemotherapy):
            rows += [(t, "chemotherapy", f"{d:.7g}", "mg/m2", treatment.drug) for t, d in _doses(treatment)]
        elif isinstance(treatment, Resection):
            rows.append((float(treatment.times[0]), "surgery", "", "", ""))
        else:
            raise InputError(f"the treatment table has no rows for {type(treatment).__name__}")
    if len(set(rows)) < len(rows):
        raise InputError("the regimen gives the same dose twice at one time; give the second its own time")
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("day", "modality", "dose", "unit", "drug"))
        writer.writerows((f"{day:.9g}", *rest) for day, *rest in sorted(rows))


def _doses(treatment: Radiotherapy | Chemotherapy) -> list[tuple[float, float]]:
    return list(zip(np.asarray(treatment.times).tolist(), np.asarray(treatment.doses).tolist(), strict=True))
