"""Which model explains the data best: leave-one-out by importance sampling, WAIC, stacking weights and evidence."""

import logging
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from twinjax.calibration.density import datum_log_likelihoods
from twinjax.calibration.diagnostics import import_arviz
from twinjax.calibration.importance import LARGEST_PARETO_K
from twinjax.calibration.posterior import Posterior
from twinjax.core.errors import InputError

log = logging.getLogger("twinjax")

# Above this variance of a datum's log likelihood WAIC cannot be trusted (Vehtari et al. 2017, Stat Comput 27:1413).
LARGEST_WAIC_VARIANCE = 0.4
# Smaller differences say nothing, and their standard errors are too small (Sivula et al. 2020, arXiv 2008.10296).
SMALL_DIFFERENCE = 4.0


@dataclass(frozen=True)
class ModelScore:
    """How well one model foresees data that it was not fitted to; log densities, larger is better.

    **Fields:** `elpd_loo` with its standard error `se` and the effective number of parameters `p_loo`; `difference` to
    the best model and its standard error; `elpd_waic`, `p_waic`; `weight`, of stacking the predictive distributions
    (Yao et al. 2018, Bayesian Anal 13:917); `worst_pareto_k`, and `unreliable`, the data whose leave-one-out value
    cannot be trusted; `waic_unreliable` likewise; `log_evidence`, None where the calibrator gives none.
    """

    model: str
    elpd_loo: float
    se: float
    p_loo: float
    difference: float
    difference_se: float
    elpd_waic: float
    p_waic: float
    weight: float
    worst_pareto_k: float
    unreliable: tuple[str, ...]
    waic_unreliable: tuple[str, ...]
    log_evidence: float | None


@dataclass(frozen=True)
class ModelComparison:
    """**Fields:** `scores`, the best model by leave-one-out first; `left_out`, what was left out at a time."""

    scores: tuple[ModelScore, ...]
    left_out: tuple[str, ...]

    @property
    def best(self) -> str:
        return self.scores[0].model

    @property
    def warnings(self) -> list[str]:
        """What cannot be trusted, in plain words."""
        found = []
        for score in self.scores:
            if score.unreliable:
                found.append(
                    f"{score.model}: the leave-one-out value of {', '.join(score.unreliable)} is NOT to be trusted "
                    f"(Pareto k up to {score.worst_pareto_k:.2f}, wanted < {LARGEST_PARETO_K}): the posterior without "
                    "it is another; fit anew without it"
                )
            if score.waic_unreliable:
                found.append(f"{score.model}: WAIC is NOT to be trusted for {', '.join(score.waic_unreliable)}")
        best, second = self.scores[:2]
        if second.difference < max(SMALL_DIFFERENCE, 2 * second.difference_se):
            found.append(
                f"{best.model} and {second.model} cannot be told apart: they differ by {second.difference:.1f} with a "
                f"standard error of {second.difference_se:.1f}"
            )
        return found

    def rows(self) -> list[dict[str, Any]]:
        """One row per model for tables and CSV; lists as text."""
        rows = [asdict(score) for score in self.scores]
        for row in rows:
            for key in ("unreliable", "waic_unreliable"):
                row[key] = "; ".join(row[key])
        return rows

    def text(self) -> str:
        """The table for a terminal, and the warnings beneath it."""
        head = ("model", "elpd loo", "p loo", "difference", "elpd waic", "weight", "Pareto k", "log evidence")
        lines = [
            (
                s.model,
                f"{s.elpd_loo:.1f} ± {s.se:.1f}",
                f"{s.p_loo:.1f}",
                f"{s.difference:.1f} ± {s.difference_se:.1f}",
                f"{s.elpd_waic:.1f}",
                f"{s.weight:.2f}",
                f"{s.worst_pareto_k:.2f}",
                "" if s.log_evidence is None else f"{s.log_evidence:.1f}",
            )
            for s in self.scores
        ]
        widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
        table = ["  ".join(cell.rjust(w) for cell, w in zip(line, widths, strict=True)) for line in (head, *lines)]
        return "\n".join([*table, *(f"WARNING: {warning}" for warning in self.warnings)])


def compare_models(
    posteriors: Mapping[str, Posterior], *, leave_out: str = "datum", solves: int = 500
) -> ModelComparison:
    """Compare posteriors of the same data under different models (or treatment terms), by name.

    The score is the expected log predictive density of what is left out, by Pareto-smoothed importance sampling of the
    draws (PSIS-LOO; Vehtari et al. 2017, Stat Comput 27:1413), without a fit of its own. `leave_out="datum"` leaves out
    all that one observation gave on one day, of a scan its voxels together, as they are not independent;
    `leave_out="visit"` all data of a day. Noise levels are those of each posterior: raised where a model fits badly, so
    that a bad model is punished by its width. `solves` draws are solved of each model, at most.

    Warnings go to the log. Raises `InputError` for fewer than two models, other data, or a posterior without a problem.
    """
    if len(posteriors) < 2:
        raise InputError("a comparison needs at least two models")
    if leave_out not in ("datum", "visit"):
        raise InputError(f"leave_out must be 'datum' or 'visit', got '{leave_out}'")
    groups, labels = _groups(posteriors, leave_out)
    arviz = import_arviz()
    found, unreliable = {}, {}
    for name, posterior in posteriors.items():
        each = _log_likelihoods(posterior, solves)
        values = np.stack([each[:, groups == group].sum(axis=1) for group in range(len(labels))], axis=1)
        data = arviz.from_dict(log_likelihood={"data": values[None]})
        share = min(1.0, min(posterior.diagnostics["ess"].values()) / posterior.z[..., 0].size)
        with warnings.catch_warnings():
            # Ours are said below, with the names of the data.
            warnings.simplefilter("ignore")
            found[name] = arviz.loo(data, pointwise=True, reff=share), arviz.waic(data, pointwise=True)
        k, spread = np.asarray(found[name][0].pareto_k), values.var(axis=0)
        unreliable[name] = tuple(
            tuple(label for label, bad in zip(labels, worse, strict=True) if bad)
            for worse in (~(k < LARGEST_PARETO_K), spread > LARGEST_WAIC_VARIANCE)
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = arviz.compare({name: loo for name, (loo, _) in found.items()}, ic="loo", method="stacking")
    scores = [
        ModelScore(
            model=str(name),
            elpd_loo=float(found[name][0].elpd_loo),
            se=float(found[name][0].se),
            p_loo=float(found[name][0].p_loo),
            difference=float(row["elpd_diff"]),
            difference_se=float(row["dse"]),
            elpd_waic=float(found[name][1].elpd_waic),
            p_waic=float(found[name][1].p_waic),
            weight=float(row["weight"]),
            worst_pareto_k=float(np.max(np.asarray(found[name][0].pareto_k))),
            unreliable=unreliable[name][0],
            waic_unreliable=unreliable[name][1],
            log_evidence=posteriors[str(name)].diagnostics.get("log_evidence"),
        )
        for name, row in table.iterrows()
    ]
    comparison = ModelComparison(tuple(scores), tuple(labels))
    for warning in comparison.warnings:
        log.warning("  model choice: %s", warning)
    return comparison


def _groups(posteriors: Mapping[str, Posterior], leave_out: str) -> tuple[np.ndarray, list[str]]:
    """(data,) which group each datum is left out with, and the names of the groups; the data must be the same."""
    reference: dict[tuple[float, str], np.ndarray] | None = None
    for name, posterior in posteriors.items():
        if posterior.problem is None:
            raise InputError(f"{name}: a posterior read from a file has to be attached to its problem first")
        seen = {(d.day, d.observation): np.asarray(d.values) for d in posterior.problem.data}
        if reference is None:
            reference = seen
        same = list(seen) == list(reference) and all(
            seen[key].shape == reference[key].shape and np.allclose(seen[key], reference[key]) for key in seen
        )
        if not same:
            raise InputError(f"{name}: its data are not those of the other models; fit all models to the same data")
    keys = list(reference or {})
    names = [f"day {day:g}" if leave_out == "visit" else f"day {day:g} {kind}" for day, kind in keys]
    labels = list(dict.fromkeys(names))
    return np.array([labels.index(name) for name in names]), labels


def _log_likelihoods(posterior: Posterior, solves: int) -> np.ndarray:
    """(draws, data) of `solves` draws at most; a draw that was resampled is solved once."""
    assert posterior.problem is not None
    distinct, copies = np.unique(posterior.draws(min(solves, posterior.z[..., 0].size)), axis=0, return_inverse=True)
    values = datum_log_likelihoods(posterior.problem, distinct)[copies.ravel()]
    solved = np.asarray(np.isfinite(values).all(axis=1))
    if not solved.mean() > 0.9:
        raise InputError(f"{np.sum(~solved)} of {solved.size} draws cannot be solved; the posterior is not usable")
    return values[solved]
