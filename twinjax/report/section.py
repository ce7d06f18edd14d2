"""Sections that reports share: the calibration, the treatment options and the computing time."""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from twinjax.calibration import Posterior
from twinjax.calibration.field_posterior import Averages
from twinjax.core.errors import InputError
from twinjax.imaging.scan import Scan
from twinjax.report.figure import (
    option_comparison,
    posterior_marginals,
    posterior_pairs,
    posterior_traces,
    timing_bars,
)
from twinjax.report.progression import criterion_words
from twinjax.report.report import KeyFigure, Section, Table
from twinjax.report.style import lower_first, quantity_label
from twinjax.report.table import (
    burden_table,
    diagnostics_table,
    option_table,
    parameter_table,
    range_text,
    timing_table,
)
from twinjax.treatment import Regimen
from twinjax.twin import Comparison, CompleteResponse
from twinjax.twin.comparison import SINCE_DECISION
from twinjax.twin.recommendation import CAVEAT
from twinjax.twin.solution import visibility_threshold

# What a tumour is best drawn on, in this order.
ANATOMICAL = ("T1CE", "T1", "FLAIR", "T2")


def calibration_section(
    posterior: Posterior, text: str, *, truth: Mapping[str, float] | None = None, tables: Sequence[Table] = ()
) -> Section:
    """Posterior and prior, pairs, traces of chains, parameters and checks; `tables` stand before the checks."""
    prior, units = prior_draws(posterior), posterior.units
    marginals = posterior_marginals(posterior, prior_draws=prior, truth=truth, units=units)
    figures = [
        ("Posterior (filled) and prior (dashed).", marginals),
        (
            f"Pairs of parameters{', crosses the truth (synthetic)' if truth else ''}.",
            posterior_pairs(posterior, truth=truth),
        ),
    ]
    # Independent draws have no order that could tell of convergence.
    if posterior.diagnostics.get("r_hat"):
        figures.append(("Draws in their order.", posterior_traces(posterior)))
    return Section(
        "Calibration",
        text,
        figures,
        [
            parameter_table(
                posterior,
                units=units,
                priors={name: range_text(draws) for name, draws in prior.items()},
                truth=truth,
                caption="Calibrated parameters; of the prior its 90 % interval.",
            ),
            *tables,
            diagnostics_table(posterior),
        ],
    )


def timing_section(seconds: Mapping[str, float]) -> Section:
    """Seconds per stage of the job."""
    return Section(
        "Where the time went",
        figures=[("Seconds per stage.", timing_bars(seconds))],
        tables=[timing_table(seconds)],
    )


def prior_draws(posterior: Posterior, count: int = 2000) -> dict[str, np.ndarray]:
    """Name to (count,) draws of the prior; of a posterior that knows its problem. Fields by their averages."""
    assert posterior.problem is not None
    return Averages(posterior.problem, posterior.z_map).prior_draws(count)


def visibility_levels(posterior: Posterior) -> dict[str, float]:
    """The densities from which core and oedema are seen at the mode, for the contours of `density_maps`."""
    assert posterior.problem is not None
    tumor = posterior.problem.tumor_at(jnp.asarray(posterior.z_map))
    return {
        label: float(visibility_threshold(tumor, region))
        for label, region in (("core", "core"), ("oedema", "whole_tumor"))
    }


def background_image(scan: Scan) -> np.ndarray:
    """What a tumour is drawn on: an anatomical image, else the tissue itself, as in published segmentations."""
    image = next((scan.images[name] for name in ANATOMICAL if name in scan.images), None)
    if image is not None:
        return image
    if scan.white_matter is not None and scan.grey_matter is not None:
        return np.asarray(scan.white_matter) + 0.6 * np.asarray(scan.grey_matter)
    if scan.brain_mask is not None:
        return scan.brain_mask.astype(np.float32)
    raise InputError("a report needs an anatomical image, tissue maps or a brain mask of the baseline")


def options_section(
    comparison: Comparison, options: Mapping[str, Regimen], uncalibrated: Sequence[str] = ()
) -> Section:
    """The compared options: outcome, progression and what each asks of the patient.

    `uncalibrated` names the parameters of treatments that the patient has not had.
    """
    quantity = comparison.outcome
    outcomes = {words(name): draws for name, draws in comparison.final.items()}
    curves = {words(n): f.quantities[quantity] for n, f in comparison.forecasts.items()}
    unseen = ""
    if uncalibrated:
        listed = ", ".join(name.replace("_", " ") for name in uncalibrated)
        unseen = f"\n\nNot yet given to this patient, and so drawn from the prior: {listed}."
    times = next(iter(comparison.forecasts.values())).times
    draws = len(comparison.final[comparison.best])
    figure = option_comparison(outcomes, quantity=quantity, curves=curves, times=times)
    return Section(
        "Treatment options",
        f"Each option from day {comparison.decision_day:g} to day {comparison.horizon_days:g}, under the same "
        "draws of the posterior, so that differences are those of the treatment alone. "
        + criterion_words(comparison.criterion, SINCE_DECISION)
        + unseen
        + f"\n\n{option_verdict(comparison)}\n\n{CAVEAT}",
        [("Options compared.", figure)],
        [
            option_table(outcomes, quantity=quantity),
            _progression_table(comparison),
            burden_table({words(n): option for n, option in options.items()}),
            *([sensitivity_table(comparison.sensitivity, draws, "the ratio")] if comparison.sensitivity else []),
        ],
    )


def option_verdict(comparison: Comparison) -> str:
    """What is expected of the best option against the next, in a sentence."""
    found, label = comparison.evidence(), lower_first(quantity_label(comparison.outcome)[0])
    ratio, gained = found["ratio"], {key: round(days) for key, days in found["days_gained"].items()}
    return (
        f"Against {words(found['against'])}, the next, {words(found['best'])} leaves {ratio['median']:.2f} times (90 % "
        f"interval {ratio['lower']:.2f} to {ratio['upper']:.2f}) the {label} on day {comparison.horizon_days:g}, less "
        f"in {100 * found['probability_smaller']:.0f} % of the draws; progression comes {gained['median']} days later "
        f"({gained['lower']} to {gained['upper']}; counted until that day at most)."
    ).replace("-", "−")


def response_section(response: Mapping[str, CompleteResponse]) -> Section:
    """The chance of a complete response at surgery, option by option."""
    rows = []
    for name, one in response.items():
        low, middle, high = (f"{volume / 1000:.3g}" for volume in one.cell_volume_mm3)
        chance = f"{100 * one.probability:.0f} % ({100 * one.lower:.0f} to {100 * one.upper:.0f})"
        rows.append([words(name), one.day, chance, middle, f"{low} to {high}"])
    threshold = next(iter(response.values())).threshold_mm3
    return Section(
        "Complete response",
        "How likely it is that surgery finds no tumour: that the cells, packed densely, fill less than "
        f"{threshold:.0f} mm³. That threshold is our own choice and not calibrated against pathology; the interval of "
        "the chance is that of as many draws.",
        tables=[Table(["treatment", "day", "chance (90 % interval)", "cell volume (mL)", "90 % interval"], rows)],
    )


def _progression_table(comparison: Comparison) -> Table:
    cells = [
        [
            words(r["option"]),
            round(r["days_to_progression"]),
            f"{r['ratio_to_best']:.2f} ({r['ratio_lower']:.2f} to {r['ratio_upper']:.2f})",
        ]
        for r in comparison.rows()
    ]
    columns = ["option", "days to progression, median", "relative to the best option (90 % interval)"]
    return Table(columns, cells, "Progression, and the difference between options draw by draw.")


def sensitivity_table(sensitivity: Mapping[str, float], draws: int, measure: str) -> Table:
    """What the difference of a plan from the standard, told by `measure`, hangs on."""
    rows = [[words(name), f"{value:+.2f}".replace("-", "−")] for name, value in sensitivity.items()]
    noise = 1.645 / np.sqrt(draws)
    caption = f"What the difference hangs on: rank correlation with its size, ± {noise:.2f} by chance alone."
    return Table(["parameter", f"rank correlation with {measure}"], rows, caption)


def best_option(comparison: Comparison, what: str) -> tuple[str, KeyFigure]:
    """The summary's sentence on the best option, which leaves `what`, and its large number."""
    chance = f"{100 * comparison.probability_best[comparison.best]:.0f} %"
    sentence = (
        f"From day {comparison.decision_day:g} on, {words(comparison.best)} leaves {what} on day "
        f"{comparison.horizon_days:g} in {chance} of the posterior draws, of the {len(comparison.forecasts)} options "
        "compared."
    )
    return sentence, KeyFigure("Best option", words(comparison.best), f"in {chance} of draws")


def words(name: str) -> str:
    """The name of an option for the reader."""
    return {"none": "no further treatment"}.get(name, name.replace("_", " "))
