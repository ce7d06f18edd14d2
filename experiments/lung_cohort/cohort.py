"""Readings of lesions on immunotherapy and chemotherapy trials, and what is held out of them."""

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np

from twinjax.core.errors import InputError
from twinjax.patient import ClinicalCourse

QUANTITY = "diameter_mm"
FEWEST_READINGS = 6
HELD_OUT = 3
# Columns of this project's part of the set, and of the public file of TumorGrowth.jl (data/flat_patient_data.csv).
COLUMNS = {
    "lesion": ("lesion_id", "Pt_hashID"),
    "arm": ("arm", "Study_Arm"),
    "day": ("day", "T_days"),
    "diameter": ("diameter_mm", "Lesion_diam"),
}


def read_lesions(path: Path) -> list[ClinicalCourse]:
    """Every lesion with `FEWEST_READINGS` or more, from its first reading on; two readings of one day are averaged."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        header = reader.fieldnames or []
        names = {}
        for key, choices in COLUMNS.items():
            found = [name for name in choices if name in header]
            if not found:
                raise InputError(f"{path}: there is no column {' or '.join(choices)}; is it flat_patient_data.csv?")
            names[key] = found[0]
        readings: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
        for row in reader:
            readings[row[names["lesion"]]][float(row[names["day"]])].append(float(row[names["diameter"]]))
    courses = []
    for lesion, series in readings.items():
        if sum(len(values) for values in series.values()) < FEWEST_READINGS:
            continue
        days = np.array(sorted(series))
        values = np.array([np.mean(series[day]) for day in days])
        courses.append(ClinicalCourse(f"lesion_{lesion}", {QUANTITY: (days - days[0], values)}))
    return courses


def split(courses: list[ClinicalCourse], held_out: int) -> tuple[list[ClinicalCourse], np.ndarray, np.ndarray]:
    """The courses without their last readings, and days and values (lesions, held_out) of those."""
    earlier, days, values = [], [], []
    for course in courses:
        all_days, all_values = course.measurements[QUANTITY]
        cut = all_days.size - held_out
        earlier.append(ClinicalCourse(course.patient_id, {QUANTITY: (all_days[:cut], all_values[:cut])}))
        days.append(all_days[cut:])
        values.append(all_values[cut:])
    return earlier, np.array(days), np.array(values)
