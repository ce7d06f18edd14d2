"""Schedules written as a clinician would: courses of fractions, cycles of drug days."""

import numpy as np

from twinjax.core.errors import InputError
from twinjax.pharmacokinetics import BODY_SURFACE_AREA_M2, body_surface_dose
from twinjax.treatment.checkpoint_blockade import CheckpointBlockade
from twinjax.treatment.chemotherapy import Chemotherapy
from twinjax.treatment.pharmacokinetic import PharmacokineticTherapy
from twinjax.treatment.radiotherapy import Radiotherapy
from twinjax.treatment.regimen import Regimen
from twinjax.treatment.tumor_treating_fields import TumorTreatingFields


def radiotherapy_course(
    start_day: float,
    fractions: int,
    dose_per_fraction_gy: float,
    *,
    weekdays_only: bool = True,
    start_weekday: int = 0,
    interval_days: int = 1,
    **properties,
) -> Regimen:
    """`fractions` of one size, Monday to Friday unless told otherwise (`start_weekday` 0 is Monday).

    `interval_days` is the least time from one to the next: 1 daily, 2 every other day, put off over weekends.
    `properties` go to `Radiotherapy` (`alpha`, `alpha_beta_ratio`, `oxygen_enhancement_ratio`).
    """
    if fractions < 1:
        raise InputError(f"radiotherapy: fractions must be at least 1, got {fractions}")
    if interval_days < 1:
        raise InputError(f"radiotherapy: interval_days must be at least 1, got {interval_days}")
    days, day = [], 0
    while len(days) < fractions:
        given = not weekdays_only or (start_weekday + day) % 7 < 5
        if given:
            days.append(start_day + day)
        day += interval_days if given else 1
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
    times, amounts = _cycle_doses("chemotherapy", start_day, cycles, cycle_length_days, days_in_cycle, doses)
    return Regimen([Chemotherapy(times, amounts, **properties)])


def pharmacokinetic_cycles(
    start_day: float,
    cycles: int,
    cycle_length_days: float,
    days_in_cycle: list[int],
    doses_mg_m2: list[float],
    *,
    body_surface_area_m2: float = BODY_SURFACE_AREA_M2,
    **properties,
) -> Regimen:
    """`cycles` of a drug with its pharmacokinetics; days and doses as in `chemotherapy_cycles`.

    `properties` go to `PharmacokineticTherapy` (`drug`, `infusion_hours`, `effect`, `metabolite`, `pharmacokinetics`).
    """
    times, doses = _cycle_doses("drug", start_day, cycles, cycle_length_days, days_in_cycle, doses_mg_m2)
    return Regimen([PharmacokineticTherapy(times, body_surface_dose(doses, body_surface_area_m2), **properties)])


def checkpoint_blockade_cycles(
    start_day: float,
    cycles: int,
    cycle_length_days: float,
    dose_mg: float,
    **properties,
) -> Regimen:
    """One dose of an antibody at the beginning of each of `cycles`.

    `properties` go to `CheckpointBlockade` (`drug`, `infusion_hours`, `half_concentration`, `pharmacokinetics`).
    """
    times, doses = _cycle_doses("checkpoint blockade", start_day, cycles, cycle_length_days, [1], [dose_mg])
    return Regimen([CheckpointBlockade(times, doses, **properties)])


def _cycle_doses(what: str, start_day, cycles, cycle_length_days, days_in_cycle, doses):
    """Days and doses, one of each per dose."""
    if cycles < 1:
        raise InputError(f"{what}: cycles must be at least 1, got {cycles}")
    per_cycle = [doses[0]] * cycles if len(doses) == 1 else list(doses)
    if len(per_cycle) != cycles:
        raise InputError(f"{what}: {cycles} cycles but {len(per_cycle)} doses; give one dose per cycle or one")
    times = [start_day + c * cycle_length_days + d - 1 for c in range(cycles) for d in days_in_cycle]
    amounts = [dose for dose in per_cycle for _ in days_in_cycle]
    return np.asarray(times, float), np.asarray(amounts, float)


def tumor_treating_fields_course(
    start_day: float, days: float, *, usage: float = 0.75, interval_days: float = 7.0, **properties
) -> Regimen:
    """The device for `days`, worn for the fraction `usage` of every day, in intervals of `interval_days`.

    A regimen is cut between intervals only (`Regimen.before`, `after`). `properties` go to `TumorTreatingFields`
    (`full_usage_kill_rate`, without which there is no effect).
    """
    if not (days > 0 and interval_days > 0):
        raise InputError(
            f"tumour treating fields: days and interval_days must be positive, got {days}, {interval_days}"
        )
    begin = np.arange(0.0, days, interval_days)
    lengths = np.minimum(interval_days, days - begin)
    return Regimen([TumorTreatingFields(start_day + begin, lengths, usage, **properties)])


def protocol(parts: list[Regimen], *, start_day: float = 0.0, description: str = "") -> Regimen:
    """The courses of a named protocol together, counted from `start_day`; `description` is for the reader."""
    together = Regimen()
    for part in parts:
        together = together + part
    return together.shifted(start_day)
