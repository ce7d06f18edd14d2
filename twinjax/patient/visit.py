"""`Visit`: what was measured on one day."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from twinjax.core.errors import InputError
from twinjax.imaging.scan import Scan
from twinjax.patient.laboratory_value import laboratory_value


@dataclass(frozen=True, eq=False)
class Visit:
    """One visit of a patient.

    **Fields:** `day` (days since baseline, >= 0), `scan`, and `measurements` (laboratory values with the unit
    in the name, for example `psa_ng_ml`: numbers, or text such as `<0.1` for what could not be told; NaN if missing).
    """

    day: float
    scan: Scan
    measurements: Mapping[str, float | str] = field(default_factory=dict)

    def __post_init__(self):
        if not np.isfinite(self.day) or self.day < 0:
            raise InputError(f"a visit's day must be a number >= 0 (days since baseline), got {self.day}")
        for name, entry in self.measurements.items():
            laboratory_value(entry, f"visit of day {self.day:g}, {name}")


def check_order(days, source: str) -> None:
    """Refuse duplicate or unsorted visit days; `source` names the file or folder in the message."""
    days = list(days)
    if len(set(days)) < len(days):
        repeated = sorted({d for d in days if days.count(d) > 1})
        raise InputError(f"{source}: more than one visit on day {repeated}; merge them or correct the days")
    if days != sorted(days):
        raise InputError(f"{source}: the visits are not in the order of their days {days}; sort them")


def check_patient_id(patient_id: str) -> str:
    """`patient_id`, or `InputError` where it could be a path."""
    if not isinstance(patient_id, str) or not re.fullmatch(r"\w[\w.\- ]{0,63}", patient_id) or ".." in patient_id:
        raise InputError("patient_id must be 1 to 64 letters, digits, '_', '-', '.' or spaces, without path separators")
    return patient_id
