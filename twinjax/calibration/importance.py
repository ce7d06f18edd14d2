"""The posterior by importance sampling around the mode and along its ridges: forward solves, and few Jacobians."""

import logging
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from twinjax.calibration.calibrator import AbstractCalibrator
from twinjax.calibration.checkpoint import Checkpoint
from twinjax.calibration.density import CHUNK, log_densities
from twinjax.calibration.diagnostics import smoothed_weights
from twinjax.calibration.evidence import log_mean_weight
from twinjax.calibration.levenberg_marquardt import Expansion, LevenbergMarquardt, Mode, expansion_of
from twinjax.calibration.posterior import Posterior
from twinjax.calibration.problem import InverseProblem
from twinjax.calibration.ridge import Curve, curve_at, ridges
from twinjax.calibration.student_mixture import StudentMixture
from twinjax.core.errors import InputError

log = logging.getLogger("twinjax")

# Above this shape of the weights' tail importance sampling cannot be trusted (Vehtari et al. 2024, JMLR 25:72).
LARGEST_PARETO_K = 0.7
# Curves that a further round adds, each so many of its own deviations from the others.
HEAVIEST, NEAR = 4, 2.0


class ImportanceSampler(AbstractCalibrator):
    """Draws from normal curves with heavier tails around the mode and along the ridges that leave it, weighted.

    One normal curve at the mode, as the Laplace approximation has it, misses the mass of a posterior that is bent or
    skew, and weights of draws that were never made cannot tell: the proposal follows such a posterior to where it ends
    (`ridges`, our own composition). Weights are smoothed by a generalised Pareto tail (PSIS; Vehtari et al. 2024, JMLR
    25:72), whose shape k says whether the proposal was near enough. Each draw costs one forward solve, and no gradient.
    The mean weight is the evidence.

    Where too few proposals are effective, the next round adds curves where the weights are largest, and all draws so
    far are weighed against all curves (incremental mixture importance sampling; Raftery and Bao 2010, Biometrics
    66:1162).

    **Fields:** `proposals` per round, `rounds` at most, `effective` draws that are enough, `draws` (resampled; rounded
    up to an even number), `mode`, `progress` (a bar on the terminal), `checkpoint` (a folder from which an interrupted
    run goes on).
    """

    proposals: int = 500
    rounds: int = 3
    effective: int = 150
    draws: int = 1000
    progress: bool = True
    checkpoint: str | None = None
    mode: LevenbergMarquardt = LevenbergMarquardt()

    def __check_init__(self):
        if self.proposals < 100 or self.draws < 100 or self.rounds < 1:
            raise InputError("ImportanceSampler: proposals and draws must be at least 100, rounds at least 1")
        if self.effective > self.proposals:
            raise InputError(
                f"ImportanceSampler: {self.proposals} proposals cannot hold effective={self.effective} draws; raise "
                "proposals"
            )

    def fit(self, problem, *, key):
        key, key_resample, key_mode = jax.random.split(key, 3)
        checkpoint = Checkpoint(self.checkpoint, problem, self, key)
        problem, mode, seconds = self.mode.kept_mode(problem, key=key_mode, checkpoint=checkpoint)
        view = _View(problem, mode)
        found = self._explored(view, mode.cost, checkpoint, key)
        chosen = jax.random.choice(key_resample, len(found.w), (2, -(-self.draws // 2)), p=jnp.asarray(found.weights))
        doubts = mode.doubts
        if not found.pareto_k < LARGEST_PARETO_K:
            doubts.append(f"the importance weights are not to be trusted (Pareto k {found.pareto_k:.2f}, wanted < 0.7)")
        log_evidence, log_evidence_error = log_mean_weight(found.ratio)
        report: dict[str, Any] = {**mode.report, "jacobians": mode.jacobians + found.jacobians}
        return Posterior.from_draws(
            problem,
            view.z(found.w)[np.asarray(chosen)],
            mode.z,
            method="importance sampling from normal curves along the ridges",
            doubts=doubts,
            effective=found.effective,
            seconds=seconds + found.seconds,
            solves=found.solves,
            pareto_k=found.pareto_k,
            normal_curves=found.curves,
            solver_failures=int(np.sum(~np.isfinite(found.target))),
            log_evidence=log_evidence,
            log_evidence_error=log_evidence_error,
            **report,
        )

    def _explored(self, view: "_View", least: float, checkpoint: Checkpoint, key) -> "_Explored":
        """Rounds of proposals, until enough of all draws are effective."""
        began = time.perf_counter()
        along = ridges(view.expansion, lambda w: log_densities(view.problem, view.z(w)), view.problem.dimension)
        log.info("  ridges: %d directions, %d normal curves", along.walks, len(along.curves))
        proposal, new = StudentMixture.by_mass(along.curves, self.proposals), 0
        found = _Explored(view.problem.dimension, along.jacobians, along.solves, time.perf_counter() - began)
        for number in range(self.rounds):
            seed = jax.random.key_data(jax.random.fold_in(key, number)).tolist()
            drawn = proposal.draws(np.random.default_rng(seed), new)
            target, seconds = self._targets(view.problem, view.z(drawn), checkpoint, number)
            # In the coordinates of w a density is the larger by the volume of the axes.
            found.add(drawn, target + view.log_volume, seconds)
            found.weigh(proposal)
            log.info(
                "  round %d: %.0f of %d draws effective, Pareto k %.2f",
                number + 1,
                found.effective,
                len(found.w),
                found.pareto_k,
            )
            enough = found.effective >= self.effective and found.pareto_k < LARGEST_PARETO_K
            if enough or number + 1 == self.rounds:
                break
            began, new = time.perf_counter(), len(proposal.curves)
            curves, jacobians = _heaviest(view, least, found.w, found.weights)
            found.jacobians, found.seconds = found.jacobians + jacobians, found.seconds + time.perf_counter() - began
            if not curves:
                break
            proposal = proposal.with_curves(curves, self.proposals)
        return found

    def _targets(self, problem, z, checkpoint: Checkpoint, number: int) -> tuple[np.ndarray, float]:
        """The log density of every proposal, kept chunk by chunk, and the seconds that it took."""
        stage, began = f"round {number + 1}", time.perf_counter()
        nothing = (np.zeros(len(z)), 0, 0.0)
        target, done, before = checkpoint.read(stage, nothing) or nothing
        seconds = before
        with tqdm(total=len(z), initial=done, desc=f"  {stage}", disable=not self.progress, mininterval=1.0) as bar:
            while done < len(z):
                part = slice(done, min(done + CHUNK, len(z)))
                target[part] = log_densities(problem, z[part])
                bar.update(part.stop - done)
                done, seconds = part.stop, before + time.perf_counter() - began
                checkpoint.write(stage, (target, done, seconds))
        return target, seconds


class _Explored:
    """All draws so far, and what they weigh.

    **Fields:** `w` (draws, n); `target` (draws,), the log density there; against all curves of a proposal, of which
    there are `curves`, the log `ratio` and the smoothed `weights`, which sum to 1; how many are `effective`, and the
    `pareto_k` of the tail; the `jacobians`, `solves` and `seconds` that it took.
    """

    def __init__(self, n: int, jacobians: int, solves: int, seconds: float):
        self.w, self.target = np.zeros((0, n)), np.zeros(0)
        self.jacobians, self.solves, self.seconds = jacobians, solves, seconds

    def add(self, w: Float[np.ndarray, "draws n"], target: Float[np.ndarray, " draws"], seconds: float) -> None:
        self.w, self.target = np.concatenate([self.w, w]), np.concatenate([self.target, target])
        self.solves, self.seconds = self.solves + len(w), self.seconds + seconds

    def weigh(self, proposal: StudentMixture) -> None:
        self.curves = len(proposal.curves)
        self.ratio = np.where(np.isfinite(self.target), self.target - proposal.log_density(self.w), -1e30)
        log_weights, self.pareto_k = smoothed_weights(self.ratio)
        weights = np.exp(log_weights - log_weights.max())
        self.weights = weights / weights.sum()
        self.effective = float(1 / np.sum(self.weights**2))


class _View:
    """A problem in coordinates w in which the mode is 0 and the Laplace approximation standard normal."""

    def __init__(self, problem: InverseProblem, mode: Mode):
        self.problem, self.center = problem, np.asarray(mode.z)
        variances, directions = np.linalg.eigh(mode.covariance)
        self.axes = directions * np.sqrt(variances)
        # What the logarithm of a density gains.
        self.log_volume = 0.5 * float(np.log(variances).sum())

    def z(self, w: Float[np.ndarray, "... n"]) -> Float[np.ndarray, "... n"]:
        return self.center + w @ self.axes.T

    def expansion(self, w: Float[np.ndarray, " n"]) -> Expansion:
        cost, gradient, hessian, expected = expansion_of(self.problem, self.z(w))
        return cost, self.axes.T @ gradient, self.axes.T @ hessian @ self.axes, expected


def _heaviest(view: _View, least: float, w: np.ndarray, weights: np.ndarray) -> tuple[list[Curve], int]:
    """Curves at the draws of the largest weights, where the proposal had too little, none near another.

    And the Jacobians that they took.
    """
    left, curves, jacobians = weights.copy(), [], 0
    # Where solves have no derivative the next heaviest serve, but not all of them are asked.
    while len(curves) < HEAVIEST and jacobians < 2 * HEAVIEST and left.any():
        heaviest = left.argmax()
        curve, took = curve_at(view.expansion, w[heaviest], least)
        jacobians, left[heaviest] = jacobians + took, 0.0
        if curve is not None:
            away = w - curve.center
            left[np.einsum("ij,ij->i", away, np.linalg.solve(curve.covariance, away.T).T) < NEAR**2] = 0.0
            curves.append(curve)
    return curves, jacobians
