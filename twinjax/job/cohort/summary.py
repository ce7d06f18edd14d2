"""What a cohort showed: one line a patient, and the patients together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from twinjax.imaging.scan import REGIONS
from twinjax.twin.metric import concordance

# How the names of those metrics begin that are shares of values (held out, or true) inside an interval of 90 %.
COVERAGE = "90 % interval covers"


@dataclass(frozen=True)
class Found:
    """Of one patient: `results` as `results.json` holds them, None where the job `failed` (why, in one line).

    `effort` of the job: `seconds`, `processor_seconds`, `programs` that it compiled or read from the disk, and
    `compile_seconds` that this took; the last is missing where an older version wrote it.
    """

    name: str
    results: Mapping[str, Any] | None = None
    failed: str = ""
    effort: Mapping[str, Any] | None = None


def patient_row(found: Found) -> dict[str, Any]:
    """The patient's line of `cohort.csv`: state, verdict, metrics, and of every parameter the 90 % interval."""
    if found.results is None:
        return {"patient": found.name, "state": "failed", "message": found.failed}
    results, truth = found.results, found.results.get("truth") or {}
    row = {
        "patient": found.name,
        "state": "done",
        "message": "",
        "synthetic": results["synthetic"],
        "seed": results["provenance"]["seed"],
        "converged": results["diagnostics"]["converged"],
        "verdict": results["diagnostics"]["verdict"],
    }
    row |= {metric["metric"]: metric["value"] for metric in results["metrics"]}
    for parameter in results["parameters"]:
        name = parameter["parameter"]
        row |= {name: parameter["median"], f"{name}_lower": parameter["lower"], f"{name}_upper": parameter["upper"]}
        if name in truth:
            row[f"{name}_truth"] = truth[name]
    return row


def metric_rows(cohort: Sequence[Found]) -> list[dict[str, Any]]:
    """Each metric over the patients: median, 5th and 95th percentile, and in how many its target is met.

    Of a coverage `value` is the share of all values, and `error` its standard error over patients: the values
    of one patient err together.
    """
    found: dict[str, list[Mapping[str, Any]]] = {}
    for one in cohort:
        for metric in (one.results or {}).get("metrics", ()):
            found.setdefault(metric["metric"], []).append(metric)
    rows = []
    for name, of_it in found.items():
        known = [metric for metric in of_it if metric["value"] is not None]
        if not known:
            continue
        values, counts = (np.asarray([metric[key] for metric in known], float) for key in ("value", "n"))
        low, middle, high = np.quantile(values, [0.05, 0.5, 0.95]).tolist()
        pooled = name.startswith(COVERAGE)
        value = float(np.average(values, weights=counts)) if pooled else middle
        error = None
        if pooled and len(known) > 1:
            spread = counts * (values - value) / counts.mean()
            error = float(spread.std(ddof=1) / np.sqrt(len(known)))
        rows.append(
            {
                "metric": name,
                "unit": known[0]["unit"],
                "value": value,
                "error": error,
                "low": low,
                "high": high,
                "target": known[0]["target"],
                "met": sum(bool(metric["met"]) for metric in known) if known[0]["target"] else None,
                "patients": len(known),
                "n": int(counts.sum()),
            }
        )
    return rows


def held_out_rows(cohort: Sequence[Found]) -> list[dict[str, Any]]:
    """Each quantity over the patients' held-out measurements, of synthetic patients with scans their true volumes.

    `concordance` of the forecast medians with what was measured; `shares_below`, of every measurement the share of its
    forecast below it, which are evenly spread over [0, 1] where forecasts hold what they say.
    """
    found: dict[str, list[tuple[float, float, float]]] = {}
    for one in cohort:
        for score in (one.results or {}).get("scores", []) + (one.results or {}).get("scores_of_laboratory", []):
            if score["held_out"] and score["share_below"] is not None:
                row = (score["measured"], score["predicted"], score["share_below"])
                found.setdefault(score["quantity"], []).append(row)
        scans = [score for score in (one.results or {}).get("scores_by_visit", []) if score["held_out"]]
        reference = "truth" if any(score["reference"] == "truth" for score in scans) else "segmentation"
        for score in scans:
            for region in REGIONS if score["reference"] == reference else ():
                keys = (f"{region}_volume_mm3", f"{region}_predicted_mm3", f"{region}_share_below")
                found.setdefault(keys[0], []).append(tuple(score[key] for key in keys))
    rows = []
    for name, of_it in found.items():
        measured, predicted, below = np.asarray(of_it, float).T
        agreement = concordance(predicted, measured)
        rows.append({"quantity": name, "n": below.size, "concordance": agreement, "shares_below": below.tolist()})
    return rows


def parameter_rows(cohort: Sequence[Found]) -> list[dict[str, Any]]:
    """Of synthetic patients: how near each parameter came to its truth, and in how many the interval holds it."""
    found: dict[str, list[tuple[float, float, float, float]]] = {}
    for one in cohort:
        results = one.results or {}
        truth = results.get("truth") or {}
        for p in results.get("parameters", ()):
            if p["parameter"] in truth:
                row = (truth[p["parameter"]], p["median"], p["lower"], p["upper"])
                found.setdefault(p["parameter"], []).append(row)
    rows = []
    for name, of_it in found.items():
        true, median, lower, upper = np.asarray(of_it, float).T
        error = 100 * np.median(np.abs(median / true - 1)) if (true != 0).all() else None
        covered = int(((lower <= true) & (true <= upper)).sum())
        rows.append({"parameter": name, "patients": true.size, "covered": covered, "median_error_percent": error})
    return rows
