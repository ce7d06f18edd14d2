"""What any model has to beat: the last value carried forward, and the switching exponential."""

import numpy as np
from cohort import OFFSET, Case
from scipy.optimize import least_squares


def last_value(case: Case) -> np.ndarray:
    """The last fitted PSA on every day (ng/mL)."""
    return np.full(case.days.size, case.psa[case.fitted][-1])


def switching_exponential(case: Case) -> np.ndarray:
    """PSA that grows at one rate without treatment and falls to a floor at another with it (ng/mL), by least squares.

    The four numbers of a patient are fitted in ln(PSA + 0.05), from two starts.
    """

    def residuals(parameters):
        return (np.log(_switching(case, parameters) + OFFSET) - case.log_psa)[case.fitted]

    fits = []
    for growth in (0.0087, 0.02):
        # The median rates of the trial, and twice that of growth.
        start = [np.log(case.psa[0] + OFFSET), growth, 0.0327, np.log(max(case.psa[case.fitted].min(), 0.02))]
        bounds = ([-5, 0, 0, -6], [8, 0.5, 0.5, 3])
        fits.append(least_squares(residuals, start, bounds=bounds, x_scale=[1, 0.01, 0.01, 1]))
    return _switching(case, min(fits, key=lambda fit: fit.cost).x)


def _switching(case: Case, parameters) -> np.ndarray:
    start, growth, decline, floor = np.exp(parameters[0]), parameters[1], parameters[2], np.exp(parameters[3])
    predicted, level = np.empty(case.days.size), start
    for begin, end, treated in _phases(case):
        within = (case.days >= begin) & (case.days < end)

        def after(days, level=level, treated=treated):
            if treated:
                return floor + (level - floor) * np.exp(-decline * days)
            return np.minimum(level * np.exp(growth * days), 1e4)

        predicted[within], level = after(case.days[within] - begin), after(end - begin)
    return predicted


def _phases(case: Case) -> list[tuple[float, float, bool]]:
    """(begin, end, treated) from day 0 to behind the last day."""
    phases, now = [], 0.0
    for begin, length in zip(case.starts, case.durations, strict=True):
        if begin > now:
            phases.append((now, begin, False))
        phases.append((begin, begin + length, True))
        now = begin + length
    return [*phases, (now, max(now, case.days[-1]) + 1, False)]
