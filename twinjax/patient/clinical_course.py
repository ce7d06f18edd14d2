"""`ClinicalCourse`: a patient as numbers over time."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from twinjax.core.errors import InputError
from twinjax.patient.laboratory_value import as_entry, laboratory_value
from twinjax.patient.visit import check_order, check_patient_id
from twinjax.treatment import Regimen

log = logging.getLogger("twinjax")


class ClinicalCourse:
    """Sizes and laboratory values over time, and the regimen, in days since baseline.

        ClinicalCourse("NSCLC_001", {"volume_mm3": ([0, 30, 60], [9.1e3, 9.8e3, 7.7e3])}, regimen)
        ClinicalCourse("PC_001", {"psa_ng_ml": ([0, 30, 60], [12.4, 1.1, "<0.1"])}, regimen)

    **Fields:**

    - `patient_id`: a label for the user.
    - `measurements`: quantity, with its unit in the name (`volume_mm3`, `psa_ng_ml`), to `(days, values)`. A value
      beyond what could be told is given as text (`"<0.1"`, `">500"`) and stands there as that limit; missing ones (NaN,
      None, empty text) are left out, which a log line says.
    - `sides`: quantity to (values,) -1 where the value lies below, 1 where above, 0 where it was read.
    - `regimen`: what was given.
    - `source`: `"real"` or `"synthetic"`.
    - `truth`: for a synthetic patient, name of a parameter to its true value.
    - `reading_error`: quantity to the deviation of the logarithm with which it could be read, where that is known
      (`course_of_sizes`); it adds to the usual scatter.

    Raises `InputError` for days that are negative, unsorted or twice there, values that are negative or no numbers, and
    a quantity of which all are missing.
    """

    patient_id: str
    measurements: dict[str, tuple[np.ndarray, np.ndarray]]
    sides: dict[str, np.ndarray]
    regimen: Regimen
    source: str
    truth: dict[str, float]
    reading_error: dict[str, float]

    def __init__(
        self,
        patient_id: str,
        measurements: Mapping[str, Any],
        regimen: Regimen | None = None,
        *,
        source: str = "real",
        truth: Mapping[str, float] | None = None,
        reading_error: Mapping[str, float] | None = None,
    ):
        self.patient_id = check_patient_id(patient_id)
        if source not in ("real", "synthetic"):
            raise InputError(f"source must be 'real' or 'synthetic', got '{source}'")
        if not measurements:
            raise InputError("a clinical course needs at least one measured quantity, such as volume_mm3")
        checked = {name: _checked_series(name, series) for name, series in measurements.items()}
        self.measurements = {name: (days, values) for name, (days, values, _) in checked.items()}
        self.sides = {name: side for name, (_, _, side) in checked.items()}
        self.regimen, self.source, self.truth = regimen or Regimen(), source, dict(truth or {})
        self.reading_error = dict(reading_error or {})
        for name, error in self.reading_error.items():
            if not (name in self.measurements and np.isfinite(error) and error >= 0):
                raise InputError(f"reading_error of {name}: give a number >= 0 for a quantity that was measured")

    @property
    def days(self) -> np.ndarray:
        """All days with a measurement, ascending."""
        return np.unique(np.concatenate([days for days, _ in self.measurements.values()]))

    def until(self, day: float) -> "ClinicalCourse":
        """What was known on `day`: measurements up to and including it, treatments given before it; no truth."""
        kept = {
            name: (days[days <= day], [entry for entry, on in zip(self.entries(name), days, strict=True) if on <= day])
            for name, (days, _) in self.measurements.items()
            if (days <= day).any()
        }
        if not kept:
            raise InputError(f"nothing was measured on or before day {day:g}; the first is on day {self.days[0]:g}")
        error = {name: value for name, value in self.reading_error.items() if name in kept}
        return ClinicalCourse(self.patient_id, kept, self.regimen.before(day), source=self.source, reading_error=error)

    def entries(self, name: str) -> list[float | str]:
        """The values of a quantity as they were given: numbers, and text such as `<0.1`."""
        return list(map(as_entry, self.measurements[name][1].tolist(), self.sides[name].tolist()))

    def after(self, day: float) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Quantity to `(days, values)` later than `day`: what is held out when `until(day)` is fitted."""
        later = {name: (days[days > day], values[days > day]) for name, (days, values) in self.measurements.items()}
        return {name: series for name, series in later.items() if series[0].size}

    def __repr__(self) -> str:
        counts = ", ".join(f"{days.size} {name}" for name, (days, _) in self.measurements.items())
        return f"ClinicalCourse({self.source}, {counts}, {len(self.regimen.treatments)} treatments)"


def _checked_series(name: str, series) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(days, values, sides) without what is missing."""
    try:
        given, entries = series
        days, entries = np.asarray(given, float), list(entries)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: give (days, values), two lists") from error
    if days.ndim != 1 or days.size != len(entries) or days.size == 0:
        raise InputError(f"{name}: {days.size} days but {len(entries)} values; give one value per day, at least one")
    if not (np.isfinite(days).all() and (days >= 0).all()):
        raise InputError(f"{name}: every day must be a number >= 0 (days since baseline), got {days.tolist()}")
    found = [laboratory_value(e, f"{name}, day {d:g}") for d, e in zip(days.tolist(), entries, strict=True)]
    values, sides = np.asarray([value for value, _ in found]), np.asarray([side for _, side in found])
    known = ~np.isnan(values)
    if not known.any():
        raise InputError(f"{name}: every value is missing; leave the quantity out")
    if not known.all():
        log.info("  %s: %d missing values are left out, days %s", name, (~known).sum(), days[~known].tolist())
    check_order(days, name)
    return days[known], values[known], sides[known]
