"""Schedules written as a clinician would: courses of fractions, cycles of drug days."""

import numpy as np

from twinjax.core.errors import InputError
from twinjax.treatment.chemotherapy import Chemotherapy
from twinjax.treatment.radiotherapy import Radiotherapy
from twinjax.treatment.regimen import Regimen


def radiotherapy_course(
    start_day: float,
    fractions: int,
    dose_per_fraction_gy: float,
    *,
    weekdays_only: bool = True,
    start_weekday: int = 0,
    **properties,
) -> Regimen:
    """`fractions` of one size, daily, Monday to Friday unless told otherwise (`start_weekday` 0 is Monday).

    `properties` go to `Radiotherapy` (`alpha`, `alpha_beta_ratio`, `oxygen_enhancement_ratio`).
    """
    if fractions < 1:
        raise InputError(f"radiotherapy: fractions must be at least 1, got {fractions}")
    days, day = [], 0
    while len(days) < fractions:
        if not weekdays_only or (start_weekday + day) % 7 < 5:
            days.append(start_day + day)
        day += 1
    return Regimen([Radiotherapy(np.asarray(days, float), dose_per_fraction_gy, **properties)])


def chemotherapy_cycles(
    start_day: float,
    cycles: int,
    cycle_length_days: float,
    days_in_cycle: list[int],
    doses: list[float],
    **properties,
) -> Regimen:
    """`cycles` of a drug on `days_in_cycle` (1 is the first day); `doses` (mg/m²) one per cycle, or one for all.

    `properties` go to `Chemotherapy` (`drug`, `sensitivity`, `clearance_rate`, `reference_dose`).
    """
    if cycles < 1:
        raise InputError(f"chemotherapy: cycles must be at least 1, got {cycles}")
    per_cycle = [doses[0]] * cycles if len(doses) == 1 else list(doses)
    if len(per_cycle) != cycles:
        raise InputError(f"chemotherapy: {cycles} cycles but {len(per_cycle)} doses; give one dose per cycle or one")
    times = [start_day + c * cycle_length_days + d - 1 for c in range(cycles) for d in days_in_cycle]
    amounts = [dose for dose in per_cycle for _ in days_in_cycle]
    return Regimen([Chemotherapy(np.asarray(times, float), np.asarray(amounts, float), **properties)])


def protocol(parts: list[Regimen], *, start_day: float = 0.0, description: str = "") -> Regimen:
    """The courses of a named protocol together, counted from `start_day`; `description` is for the reader."""
    together = Regimen()
    for part in parts:
        together = together + part
    return together.shifted(start_day)
