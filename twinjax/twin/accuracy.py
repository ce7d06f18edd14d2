"""How near a forecast came: to segmentations, to cell density from ADC, and to the truth of a synthetic patient."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from twinjax.calibration import Posterior
from twinjax.calibration.scan_data import densest_adc, measured_density
from twinjax.domain import Domain
from twinjax.imaging.features import volume_mm3
from twinjax.imaging.scan import REGIONS, Scan
from twinjax.patient import PatientData, Visit
from twinjax.patient.truth import SpatialTruth
from twinjax.twin import metric
from twinjax.twin.draws import interval
from twinjax.twin.forecast import LITTLE_VOLUME_MM3, Forecast

# Metric, key of a score, unit, how the held-out visits are summed up, and the target with its direction.
_SUMMARIES = (
    ("Dice", "dice", "", np.mean, 0.85, 1),
    ("volume error, largest", "volume_error", "%", lambda v: 100 * np.max(np.abs(v)), 15.0, -1),
    ("centre-of-mass distance, largest", "center_distance_mm", "mm", np.max, 5.0, -1),
    ("95 % Hausdorff distance, largest", "hausdorff_95_mm", "mm", np.max, None, -1),
    ("ranked probability score of log volume, mean", "crps", "", np.mean, None, -1),
)

# The metric that says whether the posterior itself holds, where the truth is known.
TRUE_PARAMETERS = "90 % interval covers true parameters"


def segmented_regions(scan: Scan, domain: Domain) -> dict[str, np.ndarray]:
    """Region to the voxels of `domain` (bool) that the scan's segmentation puts there."""
    return {region: domain.from_grid(getattr(scan, region), scan.affine) for region in REGIONS}


def forecast_scores(
    patient: PatientData, prediction: Forecast, posterior: Posterior, last_day: float
) -> list[dict[str, Any]]:
    """Per visit and reference ("segmentation"; "truth" of a synthetic patient) how near the forecast came.

    Visits after `last_day`, the last that was calibrated on, are `held_out`.
    """
    domain, truth = prediction.domain, patient.truth
    adc_min = densest_adc(patient.until(last_day).visits)
    scores = []
    for visit in patient.visits:
        if not 0 < visit.day <= prediction.times[-1]:
            continue
        now = prediction.at([visit.day])
        references = {"segmentation": segmented_regions(visit.scan, domain)}
        if truth is not None:
            density = true_density(truth, visit.day, domain)
            references["truth"] = {region: density >= level for region, level in truth.levels.items()}
        for reference, masks in references.items():
            scores.append({"day": visit.day, "held_out": visit.day > last_day, "reference": reference})
            scores[-1] |= region_scores(now, masks)
        if truth is not None:
            near = (density > 0.02) | (now.density_mean[0] > 0.02)
            scores[-1]["density_concordance"] = metric.concordance(now.density_mean[0][near], density[near])
        scores[-1] |= _density_coverage(visit, now, posterior, adc_min)
    return scores


def region_scores(
    prediction: Forecast, masks: Mapping[str, np.ndarray], volumes: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """A forecast of one day against what each region was (bool, on the forecast's domain).

    `volumes` (mm³) replace those of the masks, which a coarse domain blurs. Flat, with keys such as `core_dice`;
    volumes are predicted as a segmentation would measure them, and `core_in_interval` says whether the 90 % interval
    of that holds the observed one, `core_share_below` which share of it lies below, and `core_crps` how good it was as
    a forecast of log (volume + `LITTLE_VOLUME_MM3`).
    """
    domain, scores = prediction.domain, {}
    for region, observed in masks.items():
        predicted = prediction.visible_probability[region][0] >= 0.5
        volume = float(observed.sum()) * domain.voxel_volume if volumes is None else volumes[region]
        draws = prediction.measured(f"{region}_volume_mm3")[:, 0]
        low, median, high = interval(draws)
        logs = np.log(draws + LITTLE_VOLUME_MM3)
        scores |= {
            f"{region}_dice": metric.dice(predicted, observed),
            f"{region}_volume_mm3": volume,
            f"{region}_predicted_mm3": float(median),
            f"{region}_volume_error": metric.relative_volume_error(float(median), volume),
            f"{region}_in_interval": bool(low <= volume <= high),
            f"{region}_share_below": metric.share_below(draws, volume),
            f"{region}_crps": metric.crps(logs, np.log(volume + LITTLE_VOLUME_MM3)),
            f"{region}_center_distance_mm": metric.center_of_mass_distance(predicted, observed, domain.spacing),
            f"{region}_hausdorff_95_mm": metric.hausdorff_95_distance(predicted, observed, domain.spacing),
        }
    return scores


def held_out_metrics(scores: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The held-out visits of `forecast_scores` against the targets; one row per metric, region and reference."""
    held = [score for score in scores if score["held_out"]]
    rows = []
    for reference in dict.fromkeys(score["reference"] for score in held):
        of_it = [score for score in held if score["reference"] == reference]
        for region, label in REGIONS.items():
            for title, key, unit, summary, target, sign in _SUMMARIES:
                values = np.asarray([score[f"{region}_{key}"] for score in of_it])
                # A region that is gone has no centre and no relative error.
                values = values[np.isfinite(values)]
                if values.size:
                    value, name = float(summary(values)), f"{title}, {label} against {reference}"
                    rows.append(metric_row(name, value, unit, values.size, target=target, sign=sign))
        inside = [score[f"{region}_in_interval"] for score in of_it for region in REGIONS]
        share = 100 * float(np.mean(inside))
        rows.append(metric_row(f"90 % interval covers volume of {reference}", share, "%", len(inside), target=90.0))
    values = [score["density_concordance"] for score in held if "density_concordance" in score]
    if values:
        rows.append(metric_row("concordance of cell density with the truth", float(np.mean(values)), "", len(values)))
    covered = [(score["density_coverage"], score["density_voxels"]) for score in held if "density_coverage" in score]
    if covered:
        share, count = np.asarray(covered).T
        value, total = 100 * float(np.average(share, weights=count)), int(count.sum())
        rows.append(metric_row("90 % interval covers cell density measured by ADC", value, "%", total, target=90.0))
    return rows


def fit_metrics(scan: Scan, prediction: Forecast) -> list[dict[str, Any]]:
    """How well a forecast of one day shows the segmentation of the scan that it was fitted to."""
    volumes = {region: volume_mm3(getattr(scan, region), scan.affine) for region in REGIONS}
    scores, rows = region_scores(prediction, segmented_regions(scan, prediction.domain), volumes), []
    for region, label in REGIONS.items():
        error, distance = 100 * scores[f"{region}_volume_error"], scores[f"{region}_center_distance_mm"]
        rows.append(metric_row(f"Dice of the fit, {label}", scores[f"{region}_dice"], "", 1))
        rows.append(metric_row(f"volume error of the fit, {label}", error, "%", 1))
        rows.append(metric_row(f"centre-of-mass distance of the fit, {label}", distance, "mm", 1))
    inside = [scores[f"{region}_in_interval"] for region in REGIONS]
    return [*rows, metric_row("90 % interval covers fitted volume", 100 * float(np.mean(inside)), "%", len(inside))]


def parameter_metrics(posterior: Posterior, truth: Mapping[str, float] | None) -> list[dict[str, Any]]:
    """How many of a synthetic patient's true parameters lie in their 90 % interval: one row, or none without truth."""
    intervals = posterior.credible_interval(0.9)
    inside = [
        intervals[name][0] <= true <= intervals[name][1] for name, true in (truth or {}).items() if name in intervals
    ]
    if not inside:
        return []
    share = 100 * float(np.mean(inside))
    return [metric_row(TRUE_PARAMETERS, share, "%", len(inside), target=90.0)]


def metric_row(
    name: str, value: float, unit: str, count: int, *, target: float | None = None, sign: int = 1
) -> dict[str, Any]:
    """A row of `metrics.csv`: `value` over `count` cases, which should reach `target` (stay below it: `sign` -1)."""
    bound = "" if target is None else f"{'≥' if sign > 0 else '≤'} {target:g}"
    met = None if target is None else bool(sign * value >= sign * target)
    return {"metric": name, "value": value, "unit": unit, "target": bound, "met": met, "n": count}


def true_density(truth: SpatialTruth, day: float, domain: Domain) -> np.ndarray:
    """The cell density of a synthetic patient on the day of a visit, on `domain`."""
    return domain.from_grid(truth.density[truth.days.index(float(day))], truth.domain.affine)


def true_volume(truth: SpatialTruth, region: str, times) -> np.ndarray:
    """The visible volume (mm³) of a region at `times`: straight lines between visits, NaN after the last."""
    volumes = (truth.density >= truth.levels[region]).sum(axis=(1, 2, 3)) * truth.domain.voxel_volume
    return np.interp(times, truth.days, volumes, right=np.nan)


def true_parameters(patient: PatientData, posterior: Posterior) -> dict[str, float] | None:
    """The truth of a synthetic patient for those calibrated parameters that have one; None for a real patient."""
    if patient.truth is None:
        return None
    return {name: patient.truth.parameters[name] for name in posterior.names if name in patient.truth.parameters}


def _density_coverage(visit: Visit, now: Forecast, posterior: Posterior, adc_min: float | None) -> dict[str, float]:
    """Share of tumour voxels whose measured cell density (from ADC) lies in its 90 % predictive interval."""
    measured = None if adc_min is None else measured_density(visit, now.domain, adc_min)
    if measured is None:
        return {}
    index, values = measured
    gain = posterior.mode.get("adc_gain", 1.0)
    mean, spread = gain * now.density_mean[0].ravel()[index], gain * now.density_std[0].ravel()[index]
    levels = posterior.diagnostics["noise"]["cell_density"]
    reach = 1.6449 * np.sqrt(spread**2 + levels["noise_std"] ** 2 + levels["discrepancy_std"] ** 2)
    return {
        "density_coverage": metric.coverage(mean - reach, mean + reach, values),
        "density_voxels": index.size,
    }
