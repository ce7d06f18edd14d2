"""A patient without images: a table of sizes and laboratory values, one line a measurement.

Columns (comma-separated, UTF-8); the lines of one quantity are in order of time:

    day or date          days since baseline (fractions allowed), or an ISO date (2024-03-01), the first of which is
                         day 0; one of the two columns
    quantity             a key of `QUANTITIES`; case, spaces and hyphens do not matter (CA 19-9)
    value                a number >= 0; <0.1 or >500 for what could not be told
    unit                 of the value, from `UNITS`
    standard_deviation   of the reading, in the same unit; optional, as is any of its cells
    below_detection      yes where the value is the limit of detection, no or empty where it was read; optional
"""

import datetime
import logging
import math
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from twinjax.core.errors import InputError
from twinjax.observation.quantity import SCATTER
from twinjax.patient.clinical_course import ClinicalCourse
from twinjax.patient.csv_rows import check_time_column, read_csv_rows
from twinjax.patient.laboratory_value import as_entry, laboratory_value
from twinjax.patient.treatment_table import parse_number, read_treatment_csv

log = logging.getLogger("twinjax")

NEEDED = ("quantity", "value", "unit")
OPTIONAL = ("standard_deviation", "below_detection")
# How the name of a quantity ends, the units that it is read in, and what one of them is in its own. Exact ones only: a
# molar mass is not.
UNITS: dict[str, dict[str, float]] = {
    "mm3": {"mm³": 1.0, "cm³": 1e3, "mL": 1e3},
    "mm": {"mm": 1.0, "cm": 10.0},
    "ng_ml": {"ng/mL": 1.0, "µg/L": 1.0},
    "nmol_l": {"nmol/L": 1.0},
    "u_ml": {"U/mL": 1.0, "kU/L": 1.0},
}
# How a table calls a quantity whose noise is known, to its name with the unit, and the unit.
QUANTITIES = {
    name.removesuffix(f"_{ending}"): (name, ending)
    for name in SCATTER
    for ending in UNITS
    if name.endswith(f"_{ending}")
}
_FLAGS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


class Reading(NamedTuple):
    """One line: where it stands, its day, the value as `ClinicalCourse` takes it, and its relative deviation."""

    where: str
    day: float
    entry: float | str
    deviation: float | None


def load_table(
    path: str | Path | None = None,
    *,
    patient_id: str | None = None,
    treatment_file: str | Path | None = None,
    body_surface_area_m2: float | None = None,
    source: str = "real",
) -> ClinicalCourse:
    """A table of measurements, as `ClinicalCourse`, in mm, mm³, ng/mL, nmol/L and U/mL; columns in the module's text.

    `patient_id` defaults to the file's name, without its ending. `treatment_file` and `body_surface_area_m2` are those
    of `read_treatment_csv`; its dates count from the first date of the table. Calendar dates stop here. As the
    likelihood has one deviation a quantity, `reading_error` is the root mean square of its relative ones.

    Raises `InputError` with file, line and column of the first bad entry.
    """
    if path is None or not str(path):
        raise InputError("patient.path is not set; give the CSV file with the measurements")
    path = Path(path)
    if not path.is_file():
        raise InputError(f"patient.path: the table '{path}' does not exist; give a CSV file")
    columns, rows = read_csv_rows(path, "patient.path: the table")
    if missing := [name for name in NEEDED if name not in columns]:
        raise InputError(f"{path.name}: column {', '.join(missing)} is missing; columns are separated by commas")
    check_time_column(path.name, columns)
    if others := [name for name in columns if name not in ("day", "date", *NEEDED, *OPTIONAL)]:
        log.info("  %s: not read are the columns %s", path.name, ", ".join(others))
    records = list(rows)
    if not records:
        raise InputError(f"{path.name} has no measurement; give one line for each")
    days, baseline = _days(records)
    series = _series(days, records)
    measured = {name: ([r.day for r in readings], [r.entry for r in readings]) for name, readings in series.items()}
    error = {name: _root_mean_square(r.deviation for r in readings) for name, readings in series.items()}
    regimen = None
    if treatment_file is not None:
        regimen = read_treatment_csv(treatment_file, baseline_date=baseline, body_surface_area_m2=body_surface_area_m2)
    return ClinicalCourse(patient_id or path.stem, measured, regimen, source=source, reading_error=error)


def _days(records: list[tuple[str, dict[str, str]]]) -> tuple[list[float], datetime.date | None]:
    """The day of every row, and the date of day 0 where there are dates."""
    if "day" in records[0][1]:
        return [parse_number(row["day"], "day", f"{where}, column day") for where, row in records], None
    dates = [_date(row["date"], where) for where, row in records]
    return [float((date - min(dates)).days) for date in dates], min(dates)


def _date(text: str, where: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        # A date tells who the patient is, a mistyped one too.
        raise InputError(f"{where}, column date: that is not an ISO date; write it as 2024-03-01") from None


def _series(days: list[float], records: list[tuple[str, dict[str, str]]]) -> dict[str, list[Reading]]:
    """Quantity, with its unit in the name, to its readings in order of time."""
    series: dict[str, list[Reading]] = {}
    for day, (where, row) in zip(days, records, strict=True):
        name, factor = _quantity(row, where)
        reading = _reading(row, day, factor, where)
        above, column = series.setdefault(name, []), "day" if "day" in row else "date"
        if above and day <= above[-1].day:
            if day == above[-1].day:
                fix = "has the same time; keep one of the two, or their mean"
            else:
                fix = "comes later; sort the lines of a quantity by time"
            raise InputError(f"{where}, column {column}: the {row['quantity']} of {above[-1].where} {fix}")
        above.append(reading)
    return series


def _quantity(row: dict[str, str], where: str) -> tuple[str, float]:
    """The name with the unit, and the factor that brings a value to it."""
    known = {_letters(name): found for name, found in QUANTITIES.items()}
    if _letters(row["quantity"]) not in known:
        raise InputError(
            f"{where}, column quantity: '{row['quantity']}' is unknown; use one of {', '.join(QUANTITIES)}"
        )
    name, ending = known[_letters(row["quantity"])]
    units = {_plain_unit(unit): factor for unit, factor in UNITS[ending].items()}
    if _plain_unit(row["unit"]) not in units:
        raise InputError(
            f"{where}, column unit: '{row['unit']}' is unknown for {row['quantity']}; use {' or '.join(UNITS[ending])}"
        )
    return name, units[_plain_unit(row["unit"])]


def _reading(row: dict[str, str], day: float, factor: float, where: str) -> Reading:
    try:
        value, side = laboratory_value(row["value"], where)
    except InputError:
        value, side = math.nan, 0
    if math.isnan(value):
        raise InputError(
            f"{where}, column value: give a number >= 0, with a point, or <0.1 or >500 for what could not be told; "
            "leave the line out where nothing was measured"
        )
    side = _side(row.get("below_detection", "").lower(), side, f"{where}, column below_detection")
    deviation, column = None, f"{where}, column standard_deviation"
    if text := row.get("standard_deviation"):
        if side:
            raise InputError(f"{column}: the value is a limit, which has none; leave it empty")
        given = parse_number(text, "the standard deviation", column)
        # Of a tumour that is gone no relative one can be told.
        deviation = given / value if value > 0 else None
    return Reading(where, day, as_entry(value * factor, side), deviation)


def _side(flag: str, side: int, where: str) -> int:
    """-1 where the value lies below detection, by the flag or by the value itself."""
    if not flag:
        return side
    if flag not in _FLAGS:
        raise InputError(f"{where}: give yes or no, or leave it empty")
    if side and _FLAGS[flag] != (side < 0):
        raise InputError(f"{where}: '{flag}' contradicts the sign < or > of the value; mend one of them")
    return -1 if _FLAGS[flag] else 0


def _root_mean_square(deviations: Iterable[float | None]) -> float:
    """Of those that are given; 0 where none is."""
    squares = [deviation**2 for deviation in deviations if deviation is not None]
    return math.sqrt(sum(squares) / len(squares)) if squares else 0.0


def _letters(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter.isalnum())


def _plain_unit(text: str) -> str:
    """As people type it: µ has two code points, and is written u; ³ is written 3 or ^3."""
    for found, plain in {"µ": "u", "μ": "u", "³": "3", "^": "", " ": ""}.items():
        text = text.replace(found, plain)
    return text.lower()
