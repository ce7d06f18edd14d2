"""Several visits: calibrate on the early ones, forecast the later, compare treatments, report."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import diffrax
import jax
import numpy as np

from twinjax.calibration import AbstractCalibrator, Posterior, Prior, longitudinal_problem
from twinjax.calibration.longitudinal import densest_adc, measured_density
from twinjax.core.config import choices, load_named
from twinjax.core.errors import InputError
from twinjax.job.output import Run, provenance
from twinjax.model import AbstractTumorModel, UntimedFisherKPP
from twinjax.patient import PatientData, Visit
from twinjax.patient.virtual import VirtualTruth
from twinjax.report import KeyFigure, PatientReport, Section, Table, write_report
from twinjax.report.anatomy import density_maps, scan_overview
from twinjax.report.figure import (
    ObservedPoints,
    option_comparison,
    posterior_marginals,
    posterior_pairs,
    posterior_traces,
    score_bars,
    timing_bars,
    treatment_marks,
    volume_curve,
)
from twinjax.report.table import (
    burden_table,
    diagnostics_table,
    metrics_table,
    option_table,
    parameter_table,
    posterior_warnings,
    timing_table,
    visits_table,
)
from twinjax.treatment import Regimen
from twinjax.twin import Comparison, DigitalTwin, Forecast, compare, metric

log = logging.getLogger("twinjax")

REGIONS = {"whole_tumor": "whole tumour", "core": "core"}
LIMITATIONS = (
    "Research software: not a medical device, and not for decisions about a patient.",
    "The model sees infiltrating cells only: no mass effect, no vasogenic oedema, no pseudoprogression.",
    "Visible boundaries are taken as contours of equal cell density; the levels are calibrated, not measured.",
    "Sensitivities of treatments that this patient has not had are population values.",
)

# Fields of `LongitudinalSettings` that must be positive, and the keys of the configuration that set them.
_POSITIVE = {
    "resolution_mm": "calibration.resolution_mm",
    "margin_mm": "calibration.margin_mm",
    "correlation_length_mm": "calibration.correlation_length_mm",
    "max_step": "calibration.max_step",
    "horizon_days": "forecast.horizon_days",
    "interval_days": "forecast.interval_days",
    "decision_horizon_days": "decision.horizon_days",
}


@dataclass(frozen=True)
class LongitudinalSettings:
    """What the job is to do; days since baseline. See conf/config.yaml for the meaning of each."""

    until_day: float | None = None
    resolution_mm: float = 3.0
    margin_mm: float = 16.0
    correlation_length_mm: float = 6.0
    max_step: float = 1.0
    horizon_days: float = 180.0
    interval_days: float = 7.0
    draws: int = 100
    decision_horizon_days: float = 120.0
    decision_draws: int = 60
    options: Sequence[str] = field(default_factory=tuple)

    def __post_init__(self):
        for name, key in _POSITIVE.items():
            value = getattr(self, name)
            if not (isinstance(value, int | float) and np.isfinite(value) and value > 0):
                raise InputError(f"{key} must be a positive number, got {value}")
        for name, key in (("draws", "forecast.draws"), ("decision_draws", "decision.draws")):
            if not isinstance(value := getattr(self, name), int) or value < 10:
                raise InputError(f"{key} must be a whole number of at least 10, for an interval, got {value}")
        if not (self.until_day is None or isinstance(self.until_day, int | float)):
            raise InputError(f"calibration.until_day must be a day or null, got {self.until_day}")
        known = choices("treatment")
        if isinstance(self.options, str) or len(self.options) == 1:
            raise InputError(
                f"decision.options: give two or more names to compare, or decision=null; got {self.options}"
            )
        for option in self.options:
            if option not in known:
                raise InputError(f"decision.options: '{option}' is unknown; choose from {', '.join(known)}")

    def check(self, days: Sequence[float], model: AbstractTumorModel, prior: Prior) -> None:
        """Refuse settings that do not fit a patient with visits on `days`; `InputError` names the key."""
        single = isinstance(model, UntimedFisherKPP)
        if len(days) < 2 and not single:
            raise InputError(
                "this patient has one visit: choose model=glioblastoma_single_scan prior=glioblastoma_single_scan"
            )
        if len(days) > 1 and single:
            raise InputError("a patient with several visits needs model=glioblastoma prior=glioblastoma")
        for parameter in prior.parameters:
            for path in parameter.where:
                group, name, *_ = path.split(".")
                if group == "model" and name not in {field.name for field in fields(model)}:
                    raise InputError(
                        f"the prior of {parameter.name} sets '{path}', which {type(model).__name__} does not have; "
                        "choose the prior that goes with the model, such as model=glioblastoma prior=glioblastoma"
                    )
        if single:
            return
        last = self.last_calibrated_day(days)
        if not self.horizon_days > last:
            raise InputError(
                f"forecast.horizon_days must lie after the last calibrated visit (day {last:g}), "
                f"got {self.horizon_days}"
            )
        if sum(day <= last for day in days) < 2:
            raise InputError(
                f"calibration.until_day={self.until_day} leaves fewer than two of the visits (days {days})"
            )

    def last_calibrated_day(self, days: Sequence[float]) -> float:
        """The day of the last visit that is fitted."""
        fitted = [day for day in days if self.until_day is None or day <= self.until_day]
        return float(fitted[-1]) if fitted else float("-inf")


def run_longitudinal(
    run: Run,
    patient: PatientData,
    model: AbstractTumorModel,
    prior: Prior,
    calibrator: AbstractCalibrator,
    settings: LongitudinalSettings,
    *,
    solver: diffrax.AbstractSolver | None = None,
    seed: int = 0,
    config: str = "",
) -> dict[str, Any]:
    """The whole job on a patient; writes all files into `run.folder` and returns the metrics.

    Files: `report.html`, `posterior.nc`, `parameters.csv`, `metrics.csv`, `results.json`, `volumes.csv`,
    `density_mean_day_0140.nii.gz` and `density_std_...` on the patient's grid.
    """
    settings.check(patient.days.tolist(), model, prior)
    last_day = settings.last_calibrated_day(patient.days.tolist())
    past = patient.until(last_day)
    options = {name: load_named("treatment", name) for name in settings.options}
    with run.stage("calibrate on the early visits"):
        log.info(
            "  visits of days %s; held out: %s", past.days.tolist(), [v.day for v in patient.visits_after(last_day)]
        )
        common = {
            "margin_mm": settings.margin_mm,
            "correlation_length_mm": settings.correlation_length_mm,
            "solver": solver,
            "max_step": settings.max_step,
        }
        fine = longitudinal_problem(past, model, prior, **common)
        edge = max(settings.resolution_mm, *model.domain.spacing)
        coarse = longitudinal_problem(past, model.on(model.domain.resampled(edge)), prior, **common)
        posterior = calibrator.fit(coarse, key=jax.random.key(seed)).attach(fine)
        log.info("  %s: %s", posterior.diagnostics["method"], posterior.diagnostics["verdict"])
        posterior.save(run.folder / "posterior.nc")
        run.write_csv("parameters.csv", posterior.rows())
        for row in posterior.rows():
            log.info("  %-26s %.4g [%.4g, %.4g] %s", *(row[k] for k in ("parameter", "map", "lower", "upper", "unit")))
    with run.stage("forecast"):
        twin = DigitalTwin(model, posterior.map_estimate, posterior.credible_interval(0.95))
        times = np.unique(
            np.r_[patient.days, np.arange(0, settings.horizon_days, settings.interval_days), settings.horizon_days]
        )
        times = times[times <= settings.horizon_days]
        prediction = twin.predict(
            settings.horizon_days, times.tolist(), regimen=patient.regimen, draws=settings.draws, progress=True
        )
        baseline = patient.visits[0].scan
        shown = sorted(
            {day for day in patient.days.tolist() if 0 < day < settings.horizon_days} | {settings.horizon_days}
        )
        for day, mean, spread in zip(
            shown, prediction.at(shown).density_mean, prediction.at(shown).density_std, strict=True
        ):
            for name, field_ in (("mean", mean), ("std", spread)):
                file = f"density_{name}_day_{round(day):04d}.nii.gz"
                run.write_field(file, field_, prediction.domain, baseline.affine, baseline.shape)
        run.write_csv("volumes.csv", _volume_rows(prediction))
    with run.stage("compare with what was held out"):
        scores = _scores(patient, prediction, posterior, last_day)
        rows = _metric_rows(scores)
        run.write_csv("metrics.csv", rows)
        for row in rows:
            log.info("  %-46s %s %s (target %s)", row["metric"], _short(row["value"]), row["unit"], row["target"])
    comparison = None
    if len(options) >= 2:
        with run.stage("compare treatments"):
            comparison = compare(
                twin,
                options,
                decision_day=last_day,
                horizon_days=last_day + settings.decision_horizon_days,
                given=patient.regimen,
                draws=settings.decision_draws,
                progress=True,
            )
            for row in comparison.rows():
                log.info(
                    "  %-26s %.1f mL [%.1f, %.1f], best in %.0f %% of draws",
                    *(row[k] for k in ("option", "volume_ml", "volume_lower_ml", "volume_upper_ml")),
                    100 * row["probability_best"],
                )
    source = provenance(config, seed, patient)
    results = {
        "patient": patient.patient_id,
        "synthetic": patient.source == "synthetic",
        "parameters": posterior.rows(),
        "diagnostics": dict(posterior.diagnostics),
        "metrics": rows,
        "scores_by_visit": scores,
        "options": None if comparison is None else comparison.rows(),
        "provenance": source,
    }
    with run.stage("write the report"):
        report = _report(
            patient, posterior, prediction, scores, rows, comparison, options, last_day, source, dict(run.seconds)
        )
        write_report(report, run.folder / "report.html")
    run.write_json("results.json", results | {"seconds": run.seconds})
    return results


def _volume_rows(prediction: Forecast) -> list[dict]:
    rows = []
    for region in prediction.volume_noise:
        name = f"{region}_volume_mm3"
        plain, measured = prediction.interval(name), prediction.interval(name, measured=True)
        for i, day in enumerate(prediction.times.tolist()):
            rows.append(
                {
                    "day": day,
                    "region": region,
                    "median_mm3": plain[1, i],
                    "lower_90_mm3": plain[0, i],
                    "upper_90_mm3": plain[2, i],
                    "measured_lower_90_mm3": measured[0, i],
                    "measured_upper_90_mm3": measured[2, i],
                }
            )
    return rows


def _scores(patient: PatientData, prediction: Forecast, posterior: Posterior, last_day: float) -> list[dict[str, Any]]:
    """Per visit and reference ("segmentation"; "truth" of a synthetic patient) how near the forecast came."""
    domain, truth = prediction.domain, patient.truth
    adc_min = densest_adc(patient.until(last_day).visits)
    scores = []
    for visit in patient.visits:
        if not 0 < visit.day <= prediction.times[-1]:
            continue
        now = prediction.at([visit.day])
        references: dict[str, dict[str, np.ndarray]] = {
            "segmentation": {
                region: domain.from_grid(getattr(visit.scan, region).astype(np.float32), visit.scan.affine) >= 0.5
                for region in REGIONS
            }
        }
        if isinstance(truth, VirtualTruth):
            density = _truth_density(truth, visit.day, domain)
            levels = {"core": truth.config.visibility.core, "whole_tumor": truth.config.visibility.oedema}
            references["truth"] = {region: density >= level for region, level in levels.items()}
        for reference, masks in references.items():
            row: dict[str, Any] = {"day": visit.day, "held_out": visit.day > last_day, "reference": reference}
            for region, observed in masks.items():
                predicted = now.visible_probability[region][0] >= 0.5
                quantity = f"{region}_volume_mm3"
                volume = float(observed.sum()) * domain.voxel_volume
                low, median, high = now.interval(quantity, measured=True)[:, 0]
                row |= {
                    f"{region}_dice": metric.dice(predicted, observed),
                    f"{region}_volume_mm3": volume,
                    f"{region}_predicted_mm3": float(median),
                    f"{region}_volume_error": metric.relative_volume_error(float(median), volume),
                    f"{region}_in_interval": bool(low <= volume <= high),
                    f"{region}_center_distance_mm": metric.center_of_mass_distance(predicted, observed, domain.spacing),
                }
            scores.append(row)
        if isinstance(truth, VirtualTruth):
            near = (density > 0.02) | (now.density_mean[0] > 0.02)
            scores[-1]["density_concordance"] = metric.concordance(now.density_mean[0][near], density[near])
        scores[-1] |= _density_coverage(visit, now, posterior, adc_min)
    return scores


def _density_coverage(visit: Visit, now: Forecast, posterior: Posterior, adc_min: float | None) -> dict[str, float]:
    """Share of tumour voxels whose measured cell density (from ADC) lies in its 90 % predictive interval."""
    measured = None if adc_min is None else measured_density(visit, now.domain, adc_min)
    if measured is None:
        return {}
    index, values = measured
    gain = posterior.mode.get("adc_gain", 1.0)
    mean, spread = gain * now.density_mean[0].ravel()[index], gain * now.density_std[0].ravel()[index]
    reach = 1.6449 * np.sqrt(spread**2 + posterior.diagnostics["noise"]["cell_density"] ** 2)
    return {
        "density_coverage": metric.coverage(mean - reach, mean + reach, values),
        "density_voxels": index.size,
    }


def _truth_density(truth: VirtualTruth, day: float, domain) -> np.ndarray:
    position = truth.config.visit_days.index(round(day))
    return domain.from_grid(truth.density[position], truth.domain.affine)


# Metric, key of a score, unit, how the held-out visits are summed up, and the target with its direction.
_SUMMARIES = (
    ("Dice", "dice", "", np.mean, 0.85, 1),
    ("volume error, largest", "volume_error", "%", lambda v: 100 * np.max(np.abs(v)), 15.0, -1),
    ("centre-of-mass distance, largest", "center_distance_mm", "mm", np.max, 5.0, -1),
)


def _metric_rows(scores: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The held-out visits against the mission's targets; one row per metric, region and reference."""
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
                    value = float(summary(values))
                    rows.append(_row(f"{title}, {label} against {reference}", value, unit, target, sign, values.size))
        inside = [score[f"{region}_in_interval"] for score in of_it for region in REGIONS]
        rows.append(
            _row(f"90 % interval covers volume of {reference}", 100 * float(np.mean(inside)), "%", 90.0, 1, len(inside))
        )
    for key, title in (("density_concordance", "concordance of cell density with the truth"),):
        values = [score[key] for score in held if key in score]
        if values:
            rows.append(_row(title, float(np.mean(values)), "", None, 1, len(values)))
    covered = [(score["density_coverage"], score["density_voxels"]) for score in held if "density_coverage" in score]
    if covered:
        share, count = np.asarray(covered).T
        value = 100 * float(np.average(share, weights=count))
        rows.append(_row("90 % interval covers cell density measured by ADC", value, "%", 90.0, 1, int(count.sum())))
    return rows


def _row(name: str, value: float, unit: str, target: float | None, sign: int, count: int) -> dict[str, Any]:
    bound = "" if target is None else f"{'≥' if sign > 0 else '≤'} {target:g}"
    met = None if target is None else bool(sign * value >= sign * target)
    return {"metric": name, "value": value, "unit": unit, "target": bound, "met": met, "n": count}


def _short(value: float) -> str:
    return f"{value:.3g}"


def _report(
    patient: PatientData,
    posterior: Posterior,
    prediction: Forecast,
    scores: list[dict[str, Any]],
    rows: list[dict[str, Any]],
    comparison: Comparison | None,
    options: Mapping[str, Regimen],
    last_day: float,
    source: dict[str, Any],
    seconds: dict[str, float],
) -> PatientReport:
    calibrated = [day for day in patient.days.tolist() if day <= last_day]
    horizon = float(prediction.times[-1])
    truth = _truth_values(patient, posterior)
    prior_draws = _prior_draws(posterior)
    volume = prediction.interval("whole_tumor_volume_mm3", measured=True)[:, -1] / 1000
    summary = [
        f"A growth model was calibrated to {len(calibrated)} visits (days {_days(calibrated)}) by "
        f"{posterior.diagnostics['method']}; the calibration is {posterior.diagnostics['verdict']}.",
        f"By day {horizon:g} a whole-tumour volume of {volume[1]:.1f} mL is expected under the treatment as planned "
        f"(90 % interval {volume[0]:.1f} to {volume[2]:.1f} mL).",
    ]
    key_figures = [
        KeyFigure(
            f"Whole tumour, day {horizon:g}", f"{volume[1]:.1f} mL", f"90 %: {volume[0]:.1f} to {volume[2]:.1f} mL"
        )
    ]
    held = [score for score in scores if score["held_out"] and score["reference"] == "segmentation"]
    if held:
        overlap = float(np.mean([score["whole_tumor_dice"] for score in held]))
        inside = [score[f"{region}_in_interval"] for score in held for region in REGIONS]
        summary.append(
            f"Against the {len(held)} held-out visits the forecast reached a mean Dice of {overlap:.2f} (whole "
            f"tumour), and {sum(inside)} of {len(inside)} measured volumes lay inside their 90 % interval."
        )
        key_figures.append(KeyFigure("Forecast Dice, held out", f"{overlap:.2f}", "target 0.85"))
    if comparison is not None:
        chance = comparison.probability_best[comparison.best]
        summary.append(
            f"From day {comparison.decision_day:g} on, {_words(comparison.best)} leaves the smallest tumour on day "
            f"{comparison.horizon_days:g} in {100 * chance:.0f} % of the posterior draws, of the {len(options)} "
            "options compared."
        )
        key_figures.append(KeyFigure("Best option", _words(comparison.best), f"in {100 * chance:.0f} % of draws"))
    warnings = posterior_warnings(posterior)
    if prediction.failed_draws:
        warnings.append(f"{prediction.failed_draws} forecasts failed in the solver and were left out.")
    first = patient.visits[0].scan
    background = prediction.domain.from_grid(first.images.get("T1CE", next(iter(first.images.values()))), first.affine)
    maps_at = sorted({day for day in patient.days.tolist() if last_day < day < horizon} | {horizon})
    levels = {"core": posterior.mode.get("core_threshold", 0.6), "oedema": posterior.mode.get("oedema_threshold", 0.3)}
    observed_masks = {
        visit.day: prediction.domain.from_grid(visit.scan.whole_tumor.astype(np.float32), visit.scan.affine) >= 0.5
        for visit in patient.visits_after(last_day)
    }
    sections = [
        Section(
            "Scans",
            "Every visit in the plane where the tumour is largest. Contours are the segmentation: core solid, whole "
            "tumour dashed.",
            [("Scans with the segmented tumour.", scan_overview(patient.visits))],
            [visits_table(patient.visits, calibrated_days=calibrated)],
        ),
        Section(
            "Forecast",
            "Volumes over time with 50 % and 90 % intervals of what a segmentation would measure: the uncertainty of "
            "the parameters, the scatter of segmentation, and the error of the model at the visits it was fitted to.",
            [
                ("Volume over time.", _volume_figure(patient, prediction, last_day)),
                (
                    "Predicted density of tumour cells.",
                    density_maps(
                        prediction.at(maps_at),
                        background,
                        thresholds=levels,
                        truth=_truth_stack(patient, prediction, maps_at),
                        observed=observed_masks,
                    ),
                ),
            ],
        ),
    ]
    if rows:
        days = list(dict.fromkeys(score["day"] for score in held))
        bars = {label: [score[f"{region}_dice"] for score in held] for region, label in REGIONS.items()}
        cells = [[r["metric"], round(r["value"], 3), r["unit"], r["target"], r["met"], r["n"]] for r in rows]
        sections.append(
            Section(
                "How good was it",
                "The forecast of the held-out visits against their segmentations and, for a synthetic patient, the "
                "truth that it was made with.",
                [
                    (
                        "Overlap at the held-out visits.",
                        score_bars([f"day {d:g}" for d in days], bars, title="Dice", target=0.85),
                    )
                ],
                [metrics_table(cells, "Accuracy at the held-out visits, against the project's targets.")],
            )
        )
    sections.append(
        Section(
            "Calibration",
            "What the visits say about the parameters. A parameter whose posterior is as wide as its prior has not "
            "been informed by this patient.",
            [
                (
                    "Posterior (filled) and prior (dashed).",
                    posterior_marginals(posterior, prior_draws=prior_draws, truth=truth, units=posterior.units),
                ),
                ("Pairs of parameters.", posterior_pairs(posterior, truth=truth)),
                ("Draws in their order.", posterior_traces(posterior)),
            ],
            [
                parameter_table(posterior, units=posterior.units, prior_draws=prior_draws, truth=truth),
                diagnostics_table(posterior),
            ],
        )
    )
    if comparison is not None:
        named = {_words(name): draws for name, draws in comparison.final_volume.items()}
        curves = {_words(n): f.quantities["whole_tumor_volume_mm3"] for n, f in comparison.forecasts.items()}
        times = next(iter(comparison.forecasts.values())).times
        sections.append(
            Section(
                "Treatment options",
                f"Each option from day {comparison.decision_day:g} to day {comparison.horizon_days:g}, under the same "
                "draws of the posterior, so that differences are those of the treatment alone. Progression: 40 % "
                "above the smallest volume since the decision (RANO 2.0).",
                [
                    (
                        "Options compared.",
                        option_comparison(named, quantity="whole_tumor_volume_mm3", curves=curves, times=times),
                    )
                ],
                [
                    option_table(named, quantity="whole_tumor_volume_mm3"),
                    _progression_table(comparison),
                    burden_table({_words(n): option for n, option in options.items()}),
                ],
            )
        )
    sections.append(
        Section(
            "Where the time went",
            figures=[("Seconds per stage.", timing_bars(seconds))],
            tables=[timing_table(seconds)],
        )
    )
    synthetic = patient.source == "synthetic"
    return PatientReport(
        title="Glioblastoma digital twin",
        patient_id=patient.patient_id,
        synthetic=synthetic,
        summary=summary,
        key_figures=key_figures,
        warnings=warnings,
        sections=sections,
        provenance=source,
        limitations=LIMITATIONS,
    )


def _progression_table(comparison: Comparison) -> Table:
    cells = [
        [
            _words(r["option"]),
            round(r["days_to_progression"]),
            f"{r['ratio_to_best']:.2f} ({r['ratio_lower']:.2f} to {r['ratio_upper']:.2f})",
        ]
        for r in comparison.rows()
    ]
    columns = ["option", "days to progression, median", "volume relative to the best option (90 % interval)"]
    return Table(columns, cells, "Progression, and the difference between options draw by draw.")


def _volume_figure(patient: PatientData, prediction: Forecast, last_day: float):
    days = [visit.day for visit in patient.visits]
    used = [day <= last_day for day in days]
    names = {f"{region}_volume_mm3": region for region in REGIONS if region in prediction.volume_noise}
    observed = {}
    for name, region in names.items():
        values = [
            float(getattr(visit.scan, region).sum()) * float(np.prod(visit.scan.spacing)) for visit in patient.visits
        ]
        observed[name] = ObservedPoints(days, values, used)
    truth = None
    if isinstance(patient.truth, VirtualTruth):
        truth = {name: _truth_volume(patient.truth, region, prediction.times) for name, region in names.items()}
    return volume_curve(
        prediction.times,
        {name: prediction.measured(name) for name in names},
        observed=observed,
        truth=truth,
        treatments=treatment_marks(patient.regimen),
        forecast_start=last_day,
    )


def _truth_volume(truth: VirtualTruth, region: str, times) -> np.ndarray:
    """The true volume at the visits, NaN between them (a line through the visits would be no truth)."""
    level = {"core": truth.config.visibility.core, "whole_tumor": truth.config.visibility.oedema}[region]
    volumes = (truth.density >= level).sum(axis=(1, 2, 3)) * truth.domain.voxel_volume
    return np.interp(times, truth.config.visit_days, volumes, right=np.nan)


def _truth_stack(patient: PatientData, prediction: Forecast, days) -> np.ndarray | None:
    if not isinstance(patient.truth, VirtualTruth):
        return None
    known = set(patient.truth.config.visit_days)
    unknown = np.full(prediction.domain.shape, np.nan, np.float32)
    return np.stack([_truth_density(patient.truth, d, prediction.domain) if d in known else unknown for d in days])


def _truth_values(patient: PatientData, posterior: Posterior) -> dict[str, float] | None:
    """The truth of a synthetic patient for those parameters that have one."""
    if not isinstance(patient.truth, VirtualTruth):
        return None
    record = patient.truth.config.parameters()
    values = {
        "diffusivity": record["diffusivity"],
        "proliferation_rate": record["proliferation_rate"],
        "radiotherapy_alpha": record["sensitivities"].get("radiotherapy", {}).get("alpha"),
        "temozolomide_sensitivity": record["sensitivities"].get("temozolomide", {}).get("sensitivity"),
        "core_threshold": record["visibility"]["core"],
        "oedema_threshold": record["visibility"]["oedema"],
    }
    return {name: values[name] for name in posterior.names if values.get(name) is not None}


def _prior_draws(posterior: Posterior, count: int = 2000) -> dict[str, np.ndarray]:
    assert posterior.problem is not None
    z = jax.random.normal(jax.random.key(0), (count, posterior.problem.dimension))
    return {name: np.asarray(v) for name, v in jax.vmap(posterior.problem.prior.values)(z).items()}


def _days(days: Sequence[float]) -> str:
    return ", ".join(f"{day:g}" for day in days)


def _words(name: str) -> str:
    return {"none": "no further treatment"}.get(name, name.replace("_", " "))
