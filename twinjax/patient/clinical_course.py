"""`ClinicalCourse`: a patient of whom numbers are known over time, and no images."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from twinjax.core.errors import InputError
from twinjax.patient.visit import check_order, check_patient_id
from twinjax.treatment import Regimen


class ClinicalCourse:
    """Sizes and laboratory values over time, and the regimen, in days since baseline.

        ClinicalCourse("NSCLC_001", {"volume_mm3": ([0, 30, 60], [9.1e3, 9.8e3, 7.7e3])}, regimen)

    **Fields:**

    - `patient_id`: a label for the user.
    - `measurements`: quantity, with its unit in the name (`volume_mm3`, `psa_ng_ml`), to `(days, values)`.
    - `regimen`: what was given.
    - `source`: `"real"` or `"synthetic"`.
    - `truth`: for a synthetic patient, name of a parameter to its true value.

    Raises `InputError` for days that are negative, unsorted or twice there, and values that are negative or missing.
    """

    patient_id: str
    measurements: dict[str, tuple[np.ndarray, np.ndarray]]
    regimen: Regimen
    source: str
    truth: dict[str, float]

    def __init__(
        self,
        patient_id: str,
        measurements: Mapping[str, Any],
        regimen: Regimen | None = None,
        *,
        source: str = "real",
        truth: Mapping[str, float] | None = None,
    ):
        self.patient_id = check_patient_id(patient_id)
        if source not in ("real", "synthetic"):
            raise InputError(f"source must be 'real' or 'synthetic', got '{source}'")
        if not measurements:
            raise InputError("a clinical course needs at least one measured quantity, such as volume_mm3")
        self.measurements = {name: _checked_series(name, series) for name, series in measurements.items()}
        self.regimen, self.source, self.truth = regimen or Regimen(), source, dict(truth or {})

    @property
    def days(self) -> np.ndarray:
        """All days with a measurement, ascending."""
        return np.unique(np.concatenate([days for days, _ in self.measurements.values()]))

    def until(self, day: float) -> "ClinicalCourse":
        """What was known on `day`: measurements up to and including it, treatments given before it; no truth."""
        kept = {
            name: (days[days <= day], values[days <= day])
            for name, (days, values) in self.measurements.items()
            if (days <= day).any()
        }
        if not kept:
            raise InputError(f"nothing was measured on or before day {day:g}; the first is on day {self.days[0]:g}")
        return ClinicalCourse(self.patient_id, kept, self.regimen.before(day), source=self.source)

    def after(self, day: float) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Quantity to `(days, values)` later than `day`: what is held out when `until(day)` is fitted."""
        later = {name: (days[days > day], values[days > day]) for name, (days, values) in self.measurements.items()}
        return {name: series for name, series in later.items() if series[0].size}

    def __repr__(self) -> str:
        counts = ", ".join(f"{days.size} {name}" for name, (days, _) in self.measurements.items())
        return f"ClinicalCourse({self.source}, {counts}, {len(self.regimen.treatments)} treatments)"


def _checked_series(name: str, series) -> tuple[np.ndarray, np.ndarray]:
    try:
        days, values = (np.asarray(part, float) for part in series)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: give (days, values), two lists of numbers") from error
    if days.ndim != 1 or days.shape != values.shape or days.size == 0:
        raise InputError(f"{name}: {days.size} days but {values.size} values; give one value per day, at least one")
    if not (np.isfinite(days).all() and (days >= 0).all()):
        raise InputError(f"{name}: every day must be a number >= 0 (days since baseline), got {days.tolist()}")
    if not (np.isfinite(values).all() and (values >= 0).all()):
        raise InputError(f"{name}: every value must be a number >= 0, got {values.tolist()}; leave missing ones out")
    check_order(days, name)
    return days, values
