"""Tables and sentences of a report, made from posteriors, visits, regimens and metrics."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from twinjax.calibration import Posterior
from twinjax.calibration.importance import LARGEST_PARETO_K
from twinjax.calibration.posterior import LARGEST_R_HAT, SMALLEST_EFFECTIVE_DRAWS, informed_by
from twinjax.imaging.features import volume_mm3
from twinjax.patient.visit import Visit
from twinjax.report.figure import Draws
from twinjax.report.report import Table, format_cell
from twinjax.report.style import lower_first, quantity_label, with_unit
from twinjax.treatment import Regimen
from twinjax.twin.draws import probability_best


def interval_text(draws, quantity: str) -> str:
    """`"21.4 mL (90 % interval 17.8 to 26.0)"` of draws (S,) of a quantity whose unit ends its name."""
    _, unit, scale = quantity_label(quantity)
    low, middle, high = (three_digits(q) for q in np.quantile(np.asarray(draws, float) * scale, [0.05, 0.5, 0.95]))
    return f"{middle} {unit}".strip() + f" (90 % interval {low} to {high})"


def range_text(draws) -> str:
    """`"0.02 to 0.3"`, the 90 % interval of draws (S,)."""
    return _range(*np.quantile(np.asarray(draws, float), [0.05, 0.95]))


def parameter_table(
    posterior: Posterior,
    *,
    units: Mapping[str, str] | None = None,
    priors: Mapping[str, str] | None = None,
    truth: Mapping[str, float] | None = None,
    caption: str = "Calibrated parameters.",
) -> Table:
    """One row per parameter; `priors` are descriptions."""
    intervals, diagnostics = posterior.credible_interval(0.9), posterior.diagnostics
    # Draws that are no chains have no R-hat.
    chains = bool(diagnostics.get("r_hat"))
    columns = ["parameter", "unit", "prior", "most probable", "90 % interval", *["R\u2011hat"] * chains]
    columns += ["effective draws", "informed by (contraction)"]
    rows = []
    for name in posterior.names:
        informed = "—"
        if name in (contraction := diagnostics.get("contraction") or {}):
            informed = f"{informed_by(contraction[name])} ({100 * max(0.0, contraction[name]):.0f}\u00a0%)"
        row = [quantity_label(name)[0], (units or {}).get(name, ""), (priors or {}).get(name, "—")]
        row += [three_digits(posterior.map_estimate[name]), _range(*intervals[name])]
        row += [_of(diagnostics, "r_hat", name, ".3f")] * chains
        rows.append([*row, _of(diagnostics, "ess", name, ",.0f"), informed])
    if truth:
        columns.insert(3, "truth (synthetic)")
        for name, row in zip(posterior.names, rows, strict=True):
            row.insert(3, three_digits(truth[name]) if name in truth else "—")
    return Table(columns, rows, caption)


def diagnostics_table(posterior: Posterior, caption: str = "Can the calibration be trusted?") -> Table:
    """The checks of a calibration in plain words, with what was found and what is wanted."""
    found = posterior.diagnostics
    r_hat, draws = _values(found, "r_hat"), _values(found, "ess")
    rows: list[list] = [["Method", str(found.get("method", "—")), "", None]]
    if r_hat:
        question = "Do independent chains find the same answer? (largest R-hat)"
        rows.append([question, f"{max(r_hat):.3f}", f"below {LARGEST_R_HAT}", max(r_hat) < LARGEST_R_HAT])
    if draws:
        question = "How many independent draws carry the result? (smallest effective sample size)"
        rows.append(
            [
                question,
                f"{min(draws):.0f}",
                f"at least {SMALLEST_EFFECTIVE_DRAWS}",
                min(draws) >= SMALLEST_EFFECTIVE_DRAWS,
            ]
        )
    if "pareto_k" in found:
        question = "Do the weighted draws stand for the posterior? (Pareto k of the importance weights)"
        shape = float(found["pareto_k"])
        rows.append([question, f"{shape:.2f}", f"below {LARGEST_PARETO_K}", shape < LARGEST_PARETO_K])
    for key, question in (
        ("divergences", "Did the sampler meet regions that it could not follow? (divergences)"),
        ("solver_failures", "Did the tumour simulation fail for some draws? (solver failures)"),
    ):
        if key in found:
            rows.append([question, format_cell(int(found[key])), "0", int(found[key]) == 0])
    rows.append(["Verdict", str(found.get("verdict", "—")), "converged", bool(found.get("converged", False))])
    return Table(["check", "found", "wanted", "met"], rows, caption)


# Prior standard deviations from the prior's centre beyond which a mode contradicts it: 1 in 80 under the prior.
PRIOR_CONFLICT = 2.5


def posterior_warnings(posterior: Posterior, *, failed_forecasts: int = 0) -> list[str]:
    """Sentences for the report's banner; empty where the calibration converged, no solve failed, and the mode is
    where the prior expects it."""
    found = posterior.diagnostics
    warnings, failures = [], int(found.get("solver_failures", 0))
    if not found.get("converged", False):
        verdict = str(found.get("verdict", ""))
        warnings.append(f"The calibration has not converged: do not use its numbers. {verdict}".strip())
    if failures:
        warnings.append(f"The tumour simulation failed for {failures} draws: the intervals leave them out.")
    far = [name for name, z in posterior.whitened_mode.items() if abs(z) > PRIOR_CONFLICT]
    if far:
        warnings.append(
            f"Data and prior disagree about {', '.join(far).replace('_', ' ')} (the mode lies more than "
            f"{PRIOR_CONFLICT:g} standard deviations out): the model may not fit this patient."
        )
    if failed_forecasts:
        warnings.append(f"{failed_forecasts} forecasts failed in the solver and were left out.")
    return warnings


def metric_cells(metrics: Sequence[Mapping[str, Any]]) -> list[list]:
    """The rows of `metrics_table` from those of `metric_row`."""
    return [[r["metric"], round(r["value"], 3), r["unit"], r["target"], r["met"], r["n"]] for r in metrics]


def metrics_table(rows: Sequence[Sequence], caption: str = "Accuracy.") -> Table:
    """Rows of `(name, value, unit, target, met, n)`; `met` is True, False or None where there is no target."""
    return Table(["measure", "value", "unit", "target", "met", "n"], [list(row) for row in rows], caption)


def option_table(outcomes: Draws, *, quantity: str, caption: str = "Treatment options.") -> Table:
    """Median, 90 % interval and probability of being best (lowest) per option, best first; draws (S,) are paired."""
    label, unit, scale = quantity_label(quantity)
    chances = probability_best(outcomes)
    rows = []
    for option in sorted(outcomes, key=lambda name: -chances[name]):
        low, middle, high = (
            three_digits(q) for q in np.quantile(np.asarray(outcomes[option]) * scale, [0.05, 0.5, 0.95])
        )
        rows.append([option, middle, f"{low} to {high}", f"{100 * chances[option]:.0f} %"])
    middle = with_unit(f"{lower_first(label)}, median", unit)
    return Table(["option", middle, "90 % interval", "probability best"], rows, caption)


def burden_table(regimens: Mapping[str, Regimen], caption: str = "What each option asks of the patient.") -> Table:
    """One row per treatment of each option: its schedule and dose burden (BED, EQD2, cumulative drug)."""
    burdens = {option: regimen.burden() or [{"treatment": "none"}] for option, regimen in regimens.items()}
    keys = dict.fromkeys(key for rows in burdens.values() for row in rows for key in row)
    # The days stand last, whichever treatment came first.
    order = sorted(keys, key=lambda key: key in ("first_day", "last_day"))
    rows = [
        [option if row is rows[0] else "", *(row.get(key) for key in order)]
        for option, rows in burdens.items()
        for row in rows
    ]
    headings = [with_unit(lower_first(label), unit) for label, unit, _ in map(quantity_label, order)]
    return Table(["option", *headings], rows, caption)


def visits_table(
    visits: Sequence[Visit], *, calibrated_days: Sequence[float] | None = None, caption: str = "Visits."
) -> Table:
    """Day, images, tumour volumes (mL) and laboratory values per visit; `calibrated_days` tell what each served."""
    laboratory = list(dict.fromkeys(name for visit in visits for name in visit.measurements))
    columns = ["day", "images", "core (mL)", "whole tumour (mL)"]
    columns += [with_unit(lower_first(label), unit) for label, unit, _ in map(quantity_label, laboratory)]
    rows: list[list] = []
    for visit in visits:
        scan = visit.scan
        regions = [None, None] if scan.segmentation is None else [scan.core, scan.whole_tumor]
        volumes = [None if region is None else round(volume_mm3(region, scan.affine) / 1000, 2) for region in regions]
        values = [visit.measurements.get(name) for name in laboratory]
        rows.append([visit.day, ", ".join(scan.images) or "—", *volumes, *values])
    if calibrated_days is not None:
        columns.append("used for")
        for visit, row in zip(visits, rows, strict=True):
            row.append("calibration" if visit.day in calibrated_days else "held out, to test the forecast")
    return Table(columns, rows, caption)


def timing_table(seconds: Mapping[str, float], caption: str = "Computing time.") -> Table:
    """Seconds per stage and their sum."""
    rows = [[stage, round(value, 2)] for stage, value in seconds.items()]
    return Table(["stage", "seconds"], [*rows, ["all stages", round(sum(seconds.values()), 2)]], caption)


def _range(low: float, high: float) -> str:
    return f"{three_digits(low)} to {three_digits(high)}".replace(" ", "\u00a0")


def three_digits(value: float) -> str:
    """Three significant digits without an exponent where it can be read without."""
    if value and not 1e-4 <= abs(value) < 1e7:
        return f"{value:.2e}".replace("-", "−")
    digits = 0 if not value else max(0, 2 - int(np.floor(np.log10(abs(value)))))
    return f"{value:,.{digits}f}".replace(",", "\u202f").replace("-", "−")


def _of(diagnostics: Mapping, key: str, name: str, form: str) -> str:
    per_parameter = diagnostics.get(key) or {}
    return format(float(per_parameter[name]), form).replace(",", "\u202f") if name in per_parameter else "—"


def _values(diagnostics: Mapping, key: str) -> list[float]:
    return [float(value) for value in (diagnostics.get(key) or {}).values()]
