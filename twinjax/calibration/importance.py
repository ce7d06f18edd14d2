"""The posterior by importance sampling from the Laplace approximation: forward solves only."""

import logging
import time

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import gammaln
from tqdm import tqdm

from twinjax.calibration.calibrator import AbstractCalibrator
from twinjax.calibration.checkpoint import Checkpoint
from twinjax.calibration.density import CHUNK, log_densities
from twinjax.calibration.diagnostics import smoothed_weights
from twinjax.calibration.evidence import log_mean_weight
from twinjax.calibration.levenberg_marquardt import LevenbergMarquardt
from twinjax.calibration.posterior import Posterior
from twinjax.core.errors import InputError

log = logging.getLogger("twinjax")

# Above this shape of the weights' tail importance sampling cannot be trusted (Vehtari et al. 2024, JMLR 25:72).
LARGEST_PARETO_K = 0.7
# Degrees of freedom of the proposal: tails that are heavier than those of a normal posterior.
PROPOSAL_FREEDOM = 7.0


class ImportanceSampler(AbstractCalibrator):
    """Draws from a Student t around the mode, weighted to the posterior and resampled.

    The proposal has the mode and covariance of the Laplace approximation that `mode` finds; its weights are
    smoothed by a generalised Pareto tail (PSIS; Vehtari et al. 2024, JMLR 25:72), whose shape k says whether the
    approximation was near enough. Each draw costs one forward solve, and no gradient. The mean weight of the last round
    is the evidence.

    Where too few proposals are effective, the next round takes the mean and covariance of the weighted draws
    (population Monte Carlo; Cappe et al. 2004, J Comput Graph Stat 13:907).

    **Fields:** `proposals` per round, `rounds` at most, `effective` draws that are enough, `draws` (resampled from
    the last round; rounded up to an even number), `mode`, `progress` (a bar on the terminal), `checkpoint` (a folder
    from which an interrupted run goes on).
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
        solves = 0
        center, covariance = np.asarray(mode.z), np.asarray(mode.covariance)
        for number in range(self.rounds):
            z, proposal = self._proposals(center, covariance, jax.random.fold_in(key, number))
            target, took = self._targets(problem, z, checkpoint, number)
            seconds, solves = seconds + took, solves + len(z)
            ratio = np.where(np.isfinite(target), target - proposal, -1e30)
            log_weights, pareto_k = smoothed_weights(ratio)
            weights = np.exp(log_weights - log_weights.max())
            weights /= weights.sum()
            effective = float(1 / np.sum(weights**2))
            log.info("  round %d: %.0f of %d draws effective, Pareto k %.2f", number + 1, effective, len(z), pareto_k)
            if effective >= self.effective and pareto_k < LARGEST_PARETO_K:
                break
            # Half the old covariance keeps a round of few effective draws from collapsing the next.
            center = weights @ z
            covariance = 0.5 * covariance + 0.5 * np.cov(z.T, aweights=weights).reshape(covariance.shape)
        chosen = jax.random.choice(key_resample, len(z), (2, -(-self.draws // 2)), p=jnp.asarray(weights))
        doubts = mode.doubts
        if not pareto_k < LARGEST_PARETO_K:
            doubts.append(f"the importance weights are not to be trusted (Pareto k {pareto_k:.2f}, wanted < 0.7)")
        log_evidence, log_evidence_error = log_mean_weight(ratio)
        return Posterior.from_draws(
            problem,
            z[np.asarray(chosen)],
            mode.z,
            method="importance sampling from the Laplace approximation",
            doubts=doubts,
            effective=effective,
            seconds=seconds,
            solves=solves,
            pareto_k=pareto_k,
            solver_failures=int(np.sum(~np.isfinite(target))),
            log_evidence=log_evidence,
            log_evidence_error=log_evidence_error,
            **mode.report,
        )

    def _proposals(self, center, covariance, key) -> tuple[np.ndarray, np.ndarray]:
        """Draws (proposals, parameters) of the Student t, and the logarithm of its density at each."""
        n, freedom = len(center), PROPOSAL_FREEDOM
        key_normal, key_scale = jax.random.split(key)
        normal = jax.random.normal(key_normal, (self.proposals, n))
        chi2 = 2 * jax.random.gamma(key_scale, freedom / 2, (self.proposals, 1))
        white = np.asarray(normal / jnp.sqrt(chi2 / freedom), float)
        constant = gammaln((freedom + n) / 2) - gammaln(freedom / 2) - 0.5 * n * np.log(freedom * np.pi)
        constant -= 0.5 * np.linalg.slogdet(covariance)[1]
        density = constant - 0.5 * (freedom + n) * np.log1p(np.sum(white**2, axis=1) / freedom)
        return center + white @ np.linalg.cholesky(covariance).T, density

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
