"""A new visit updates a posterior without a fit from zero."""

import logging
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from twinjax.calibration.calibrator import AbstractCalibrator
from twinjax.calibration.datum import Datum
from twinjax.calibration.density import datum_log_likelihoods
from twinjax.calibration.diagnostics import smoothed_weights
from twinjax.calibration.importance import LARGEST_PARETO_K
from twinjax.calibration.levenberg_marquardt import LevenbergMarquardt, Mode
from twinjax.calibration.posterior import Posterior
from twinjax.calibration.problem import InverseProblem
from twinjax.core.errors import InputError

log = logging.getLogger("twinjax")

# Noise levels that differ by less are the same.
SAME_NOISE = 1e-6
# Of draws that cannot be solved with the new data: more says that the old posterior is not where the new one is.
MOST_FAILURES = 0.1
REWEIGHTED = "reweighted draws of "


def assimilate(
    posterior: Posterior,
    problem: InverseProblem,
    calibrator: AbstractCalibrator,
    *,
    key: PRNGKeyArray,
    effective: float = 150.0,
    solves: int = 500,
) -> Posterior:
    """The posterior of `problem`, which is that of `posterior` with the data of later days added.

    `problem` is made as the first was, of the patient until the new visit. Its mode and noise levels are found by
    Levenberg-Marquardt from the old mode. The draws are then weighted by the ratio of the new to the old posterior
    density (importance reweighting; as the visits of a static model in Chopin 2002, Biometrika 89:539), smoothed by a
    generalised Pareto tail (PSIS; Vehtari et al. 2024, JMLR 25:72). Where that leaves `effective` draws and a Pareto k
    below 0.7 they are resampled; else `calibrator` fits anew, its Levenberg-Marquardt started at the new mode. Which of
    the two it was, and why, is the last entry of `diagnostics["assimilation"]`.

    The ratio is the likelihood of the new data alone where nothing else changed. Where a noise level was raised, or old
    data read differently beside the new (the densest ADC of a patient), it is that of all data, new over old.
    Parameters that appear with the new visit, as of a drug that was given since, are drawn from their prior.

    Reweighting keeps what was wrong with the old draws (a Laplace approximation, say); a fit forgets it. Neither looks
    for a mode elsewhere, unless the Levenberg-Marquardt of `calibrator` has several `starts`.

    **Arguments:** `posterior` on the grid that it was fitted on, and with its problem; `effective`, draws that are
    enough; `solves`, draws that are weighted at most.

    Raises `InputError` where `problem` does not continue that of `posterior`.
    """
    if effective <= 0 or solves < 100:
        raise InputError(f"assimilate: effective must be positive, solves at least 100, got {effective} and {solves}")
    old = _continued(posterior, problem)
    key_mode, key_new, key_chosen, key_fit = jax.random.split(key, 4)
    place = [problem.prior.names.index(name) for name in posterior.names]
    start = np.zeros(problem.dimension)
    start[place] = posterior.z_map
    finder, asked = _mode_finder(calibrator, problem, old)
    current, mode = finder.fit_mode(asked, key=key_mode, start=start)
    z, shares = _distinct(posterior, solves, problem.dimension > len(place))
    grown = np.array(jax.random.normal(key_new, (len(z), problem.dimension)))
    grown[:, place] = z
    ratio = _log_ratio(old, current, z, grown)
    failures = int(np.sum(~np.isfinite(ratio)))
    logs, pareto_k = smoothed_weights(np.log(shares) + np.where(np.isfinite(ratio), ratio, -1e30))
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    # Of the draws that the old posterior had: they may be correlated, or few that were resampled often.
    kept = np.sum(shares**2) / np.sum(weights**2)
    found = float(min(1 / np.sum(weights**2), kept * _effective(posterior)))
    refusals = _refusals(posterior, mode, found, effective, pareto_k, failures / len(z))
    new_days = sorted({datum.day for datum in problem.data} - {datum.day for datum in old.data})
    record: dict[str, Any] = {
        "by": "fit from the old mode" if refusals else "reweighting",
        "because": "; ".join(refusals) or f"{found:.0f} draws stay effective, Pareto k {pareto_k:.2f}",
        "new_days": new_days,
        "effective": found,
        "pareto_k": pareto_k,
    }
    log.info("  new data of days %s: by %s, as %s", new_days, record["by"], record["because"])
    records = [*posterior.diagnostics.get("assimilation", []), record]
    if refusals:
        fitted = _started(calibrator, mode.z).fit(problem, key=key_fit)
        return replace(fitted, diagnostics={**fitted.diagnostics, "assimilation": records})
    chosen = _systematic(weights, 2 * -(-posterior.z[..., 0].size // 2), key_chosen)
    return Posterior.from_draws(
        current,
        grown[chosen].reshape(2, -1, problem.dimension),
        mode.z,
        method=REWEIGHTED + posterior.diagnostics["method"].removeprefix(REWEIGHTED),
        doubts=mode.doubts,
        unseen=list(mode.unseen),
        effective=found,
        pareto_k=pareto_k,
        solver_failures=failures,
        assimilation=records,
    )


def _continued(posterior: Posterior, problem: InverseProblem) -> InverseProblem:
    """The problem of `posterior`; `InputError` where `problem` does not continue it."""
    old = posterior.problem
    if old is None:
        raise InputError("a posterior read from a file has to be attached to its problem first (`Posterior.attach`)")
    if missing := set(posterior.names) - set(problem.prior.names):
        raise InputError(
            f"the problem has no parameter {', '.join(sorted(missing))}, which the posterior has; use one prior"
        )
    there = {parameter.name: parameter for parameter in problem.prior.parameters}
    points = jnp.array([-2.0, 0.0, 2.0])
    for parameter in old.prior.parameters:
        one, other = (np.asarray(p.from_standard_normal(points)) for p in (parameter, there[parameter.name]))
        if not np.allclose(one, other):
            raise InputError(f"the prior of {parameter.name} is not the one that the posterior was fitted with")
    if [leaf.shape for leaf in _start(old)] != [leaf.shape for leaf in _start(problem)]:
        raise InputError("the problem is on another grid than the posterior; assimilate before `Posterior.attach`")
    same = all(np.allclose(a, b, rtol=1e-6) for a, b in zip(_start(old), _start(problem), strict=True))
    if old.start != problem.start or not same:
        raise InputError("the problem starts from another tumour than the posterior; give the same first visit")
    if gone := sorted(set(old.days.tolist()) - set(problem.days.tolist())):
        raise InputError(f"the problem has no data of day {gone[0]:g}, which the posterior was fitted to")
    if not _added(old, problem):
        raise InputError("the problem has no data that the posterior was not fitted to already")
    return old


def _start(problem: InverseProblem) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(problem.whole.initial)]


def _added(old: InverseProblem, new: InverseProblem) -> list[int]:
    """Which data of `new` were not seen, on that day, in that way, before."""
    seen = {(datum.day, datum.observation) for datum in old.data}
    return [i for i, datum in enumerate(new.data) if (datum.day, datum.observation) not in seen]


def _mode_finder(
    calibrator: AbstractCalibrator, problem: InverseProblem, old: InverseProblem
) -> tuple[LevenbergMarquardt, InverseProblem]:
    """What finds the mode, and the problem to find it of: with the old noise levels where nothing estimates them."""
    finder = calibrator if isinstance(calibrator, LevenbergMarquardt) else getattr(calibrator, "mode", None)
    if isinstance(finder, LevenbergMarquardt):
        return finder, problem
    kept = {name: levels for name, levels in old.noise.items() if name in problem.noise}
    return LevenbergMarquardt(estimate_noise=False), problem.with_noise(problem.noise | kept)


def _started(calibrator: AbstractCalibrator, z: Float[np.ndarray, " parameters"]) -> AbstractCalibrator:
    """The same calibrator, whose Levenberg-Marquardt starts at `z`; one that has none as it is."""
    start = tuple(z.tolist())
    if isinstance(calibrator, LevenbergMarquardt):
        return replace(calibrator, start=start)
    mode = getattr(calibrator, "mode", None)
    if isinstance(mode, LevenbergMarquardt):
        return eqx.tree_at(lambda c: c.mode, calibrator, replace(mode, start=start))
    return calibrator


def _distinct(posterior: Posterior, solves: int, extended: bool) -> tuple[np.ndarray, np.ndarray]:
    """`solves` draws at most, (draws, parameters), and their shares of the posterior.

    A draw that was resampled is solved once; not where new parameters make each copy another.
    """
    flat = posterior.z.reshape(-1, posterior.z.shape[-1])
    z, count = (flat, np.ones(len(flat))) if extended else np.unique(flat, axis=0, return_counts=True)
    if len(z) > solves:
        flat = posterior.draws(solves)
        z, count = (flat, np.ones(len(flat))) if extended else np.unique(flat, axis=0, return_counts=True)
    return z, count / count.sum()


def _effective(posterior: Posterior) -> float:
    """How many draws of the posterior count."""
    _, shares = _distinct(posterior, posterior.z[..., 0].size, False)
    return min(1 / np.sum(shares**2), *posterior.diagnostics["ess"].values())


def _log_ratio(old: InverseProblem, new: InverseProblem, z_old: np.ndarray, z_new: np.ndarray) -> np.ndarray:
    """(draws,) log density of the data in `new` over that in `old`; the priors are the same."""
    likelihoods = datum_log_likelihoods(new, z_new)
    if _unchanged(old, new):
        return likelihoods[:, _added(old, new)].sum(axis=1)
    with np.errstate(invalid="ignore"):
        return likelihoods.sum(axis=1) - datum_log_likelihoods(old, z_old).sum(axis=1)


def _unchanged(old: InverseProblem, new: InverseProblem) -> bool:
    """Whether the old data have the same likelihood in both."""
    seen = new.tumor.observation
    noise = all(
        name in seen and eqx.tree_equal(one, seen[name], rtol=SAME_NOISE) for name, one in old.tumor.observation.items()
    )
    there = {(datum.day, datum.observation): datum for datum in new.data}
    same = old.box == new.box and eqx.tree_equal(old.whole.model, new.whole.model, rtol=1e-6)
    return bool(noise and same and all(_equal(d, there.get((d.day, d.observation))) for d in old.data))


def _equal(one: Datum, other: Datum | None) -> bool:
    return other is not None and bool(eqx.tree_equal(one, other, rtol=1e-9))


def _refusals(
    posterior: Posterior, mode: Mode, found: float, wanted: float, pareto_k: float, failed: float
) -> list[str]:
    """Why the draws cannot be reweighted, in plain words; empty where they can."""
    reasons = []
    if not posterior.diagnostics["converged"]:
        reasons.append("the earlier posterior had not converged")
    if not mode.converged:
        reasons.append("the new mode was not found")
    if failed > MOST_FAILURES:
        reasons.append(f"{100 * failed:.0f} % of the old draws cannot be solved until the new visit")
    if not pareto_k < LARGEST_PARETO_K:
        reasons.append(f"the weights of the old draws are not to be trusted (Pareto k {pareto_k:.2f}, wanted < 0.7)")
    if not found >= wanted:
        reasons.append(f"{found:.0f} of the old draws stay effective (wanted {wanted:.0f})")
    return reasons


def _systematic(weights: np.ndarray, count: int, key: PRNGKeyArray) -> np.ndarray:
    """(count,) indices by systematic resampling (Kitagawa 1996, J Comput Graph Stat 5:1), in random order."""
    key_offset, key_order = jax.random.split(key)
    points = (np.arange(count) + float(jax.random.uniform(key_offset))) / count
    index = np.minimum(np.searchsorted(np.cumsum(weights), points), len(weights) - 1)
    return index[np.asarray(jax.random.permutation(key_order, count))]
