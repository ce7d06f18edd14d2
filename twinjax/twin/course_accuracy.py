"""How near a forecast of measurements came, against carrying the last value forward."""

from typing import Any

import numpy as np

from twinjax.patient import ClinicalCourse
from twinjax.twin import metric
from twinjax.twin.accuracy import metric_row
from twinjax.twin.course import CourseForecast
from twinjax.twin.draws import interval

# With fewer pairs a correlation says nothing.
FEWEST_FOR_CONCORDANCE = 3


def course_scores(patient: ClinicalCourse, prediction: CourseForecast, last_day: float) -> list[dict[str, Any]]:
    """One row per measurement that the forecast predicts: median, 90 % interval of a measurement, and errors.

    Measurements after `last_day` are `held_out`; `last_value` is the last one up to that day. Of a value below or above
    what could be told (`side` -1 or 1) `measured` is that limit: the interval holds it where it reaches beyond, and
    there is no error. `share_below` is the share of the forecast below what was measured, `crps` the ranked probability
    score of its logarithm.
    """
    scores = []
    for name in prediction.noise:
        days, values = patient.measurements[name]
        known = values[days <= last_day]
        for day, value, side in zip(days.tolist(), values.tolist(), patient.sides[name].tolist(), strict=True):
            if not prediction.times[0] <= day <= prediction.times[-1]:
                continue
            now, offset = prediction.at([day]), prediction.offset[name]
            draws = now.measured(name)[:, 0]
            low, _, high = interval(draws).tolist()
            predicted = float(now.interval(name)[1, 0])
            inside = low <= value if side < 0 else value <= high if side > 0 else low <= value <= high
            scored = side == 0 and value + offset > 0
            ranked = scored and (draws + offset > 0).all()
            scores.append(
                {
                    "quantity": name,
                    "day": day,
                    "held_out": day > last_day,
                    "measured": value,
                    "predicted": predicted,
                    "lower_90": low,
                    "upper_90": high,
                    "side": side,
                    "in_interval": bool(inside),
                    "share_below": None if side else metric.share_below(draws, value),
                    "log_error": float(np.log((predicted + offset) / (value + offset))) if scored else None,
                    "crps": metric.crps(np.log(draws + offset), np.log(value + offset)) if ranked else None,
                    "last_value": float(known[-1]) if known.size else None,
                }
            )
    return scores


def course_metrics(scores: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The held-out measurements of `course_scores` summed up: one row per metric and quantity."""
    held, rows = [score for score in scores if score["held_out"]], []
    for name in dict.fromkeys(score["quantity"] for score in held):
        of_it = [score for score in held if score["quantity"] == name and not score["side"]]
        error = [100 * abs(s["predicted"] - s["measured"]) / s["measured"] for s in of_it if s["measured"] > 0]
        carried = [
            100 * abs(s["last_value"] - s["measured"]) / s["measured"]
            for s in of_it
            if s["measured"] > 0 and s["last_value"] is not None
        ]
        if len(of_it) >= FEWEST_FOR_CONCORDANCE:
            predicted, measured = ([score[key] for score in of_it] for key in ("predicted", "measured"))
            agreement = metric.concordance(np.asarray(predicted), np.asarray(measured))
            rows.append(metric_row(f"concordance of {name}", agreement, "", len(of_it)))
        ranked = [score["crps"] for score in of_it if score["crps"] is not None]
        if error:
            rows.append(metric_row(f"median error of {name}", float(np.median(error)), "%", len(error)))
        if carried:
            label = f"median error of {name}, last value carried forward"
            rows.append(metric_row(label, float(np.median(carried)), "%", len(carried)))
        if ranked:
            label = f"ranked probability score of log {name}, mean"
            rows.append(metric_row(label, float(np.mean(ranked)), "", len(ranked)))
    if held:
        share = 100 * float(np.mean([score["in_interval"] for score in held]))
        rows.append(metric_row("90 % interval covers held-out measurements", share, "%", len(held), target=90.0))
    return rows
