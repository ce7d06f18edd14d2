"""The trial of intermittent androgen suppression as arrays: what is fitted, what is forecast, and the scores."""

from typing import NamedTuple

import numpy as np

from twinjax.patient import load_bruchovsky_trial
from twinjax.patient.bruchovsky import TrialCourse

# Scores and fits are in ln(PSA + OFFSET): the least value that the trial reports is 0.02 ng/mL, and some are 0.
OFFSET = 0.05
FEWEST_FITTED = 6


class Case(NamedTuple):
    """A patient: all cycles but the last are fitted, the last is forecast.

    **Fields:** `days`, `psa` (ng/mL), `testosterone` (nmol/L), `fitted` (True for the days that are), `starts` and
    `durations` (days) of treatment, which is known for the whole course.
    """

    patient_id: str
    days: np.ndarray
    psa: np.ndarray
    testosterone: np.ndarray
    fitted: np.ndarray
    starts: np.ndarray
    durations: np.ndarray

    @property
    def log_psa(self) -> np.ndarray:
        return np.log(self.psa + OFFSET)


def load_cases(data_folder: str) -> list[Case]:
    """The patients with at least `FEWEST_FITTED` days to fit."""
    cases = [_case(entry) for entry in load_bruchovsky_trial(data_folder)]
    return [case for case in cases if case.fitted.sum() >= FEWEST_FITTED]


def _case(entry: TrialCourse) -> Case:
    course, cycles = entry
    days, psa = course.measurements["psa_ng_ml"]
    treatment = course.regimen.treatments[0]
    starts, durations = _whole_phases(np.asarray(treatment.times), np.asarray(treatment.durations))
    return Case(
        course.patient_id,
        days,
        psa,
        course.measurements["testosterone_nmol_l"][1],
        cycles < cycles.max(),
        starts,
        durations,
    )


def _whole_phases(times: np.ndarray, durations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Start and length of each time on treatment, of depots that follow one another."""
    given = durations > 0
    times, ends = times[given], (times + durations)[given]
    first = np.append(True, times[1:] > ends[:-1] + 1e-6)
    last = np.append(first[1:], True)
    return times[first], ends[last] - times[first]


class Score(NamedTuple):
    """Of one patient: root mean square of the error in ln(PSA + 0.05), fitted and forecast; mean absolute error of the
    forecast in ng/mL.
    """

    fitted: float
    forecast: float
    absolute: float


def score(case: Case, predicted_psa: np.ndarray) -> Score:
    """The scores of a prediction (ng/mL) at all days of the case."""
    error = np.log(np.maximum(predicted_psa, 0) + OFFSET) - case.log_psa
    later = ~case.fitted
    return Score(
        float(np.sqrt(np.mean(error[case.fitted] ** 2))),
        float(np.sqrt(np.mean(error[later] ** 2))),
        float(np.mean(np.abs(predicted_psa - case.psa)[later])),
    )
