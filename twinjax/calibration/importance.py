"""The posterior by importance sampling from the Laplace approximation: forward solves only."""

import logging

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from tqdm import tqdm

from twinjax.calibration.calibrator import AbstractCalibrator
from twinjax.calibration.diagnostics import smoothed_weights
from twinjax.calibration.levenberg_marquardt import LevenbergMarquardt
from twinjax.calibration.posterior import Posterior
from twinjax.calibration.problem import InverseProblem
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
    approximation was near enough. Each draw costs one forward solve, and no gradient.

    Where too few proposals are effective, the next round takes the mean and covariance of the weighted draws
    (population Monte Carlo; Cappe et al. 2004, J Comput Graph Stat 13:907).

    **Fields:** `proposals` per round, `rounds` at most, `effective` draws that are enough, `draws` (resampled from
    the last round; rounded up to an even number), `mode`, `progress` (a bar on the terminal).
    """

    proposals: int = 500
    rounds: int = 3
    effective: int = 150
    draws: int = 1000
    progress: bool = True
    mode: LevenbergMarquardt = LevenbergMarquardt()

    def __check_init__(self):
        if self.proposals < 100 or self.draws < 100 or self.rounds < 1:
            raise InputError("ImportanceSampler: proposals and draws must be at least 100, rounds at least 1")

    def fit(self, problem, *, key):
        key, key_resample, key_mode = jax.random.split(key, 3)
        problem, mode = self.mode.fit_mode(problem, key=key_mode)
        center, covariance = np.asarray(mode.z), np.asarray(mode.covariance)
        for number in range(self.rounds):
            key, key_round = jax.random.split(key)
            z, weights, pareto_k, failures = self._round(problem, center, covariance, key_round)
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
        return Posterior.from_draws(
            problem,
            z[np.asarray(chosen)],
            mode.z,
            method="importance sampling from the Laplace approximation",
            doubts=doubts,
            effective=effective,
            pareto_k=pareto_k,
            solver_failures=failures,
        )

    def _round(self, problem: InverseProblem, center, covariance, key) -> tuple[np.ndarray, np.ndarray, float, int]:
        """Proposals (draws, parameters), their normalised weights, Pareto k and the number of failed solves."""
        key_normal, key_scale = jax.random.split(key)
        normal = jax.random.normal(key_normal, (self.proposals, problem.dimension))
        chi2 = 2 * jax.random.gamma(key_scale, PROPOSAL_FREEDOM / 2, (self.proposals, 1))
        white = np.asarray(normal / jnp.sqrt(chi2 / PROPOSAL_FREEDOM))
        z = center + white @ np.linalg.cholesky(covariance).T
        chunks = np.array_split(z, max(1, self.proposals // 20))
        bar = tqdm(chunks, desc="  importance sampling", disable=not self.progress, mininterval=1.0)
        target = np.concatenate([np.asarray(_log_densities(problem, jnp.asarray(chunk))) for chunk in bar])
        power = (PROPOSAL_FREEDOM + problem.dimension) / 2
        proposal = -power * np.log1p(np.sum(white**2, axis=1) / PROPOSAL_FREEDOM)
        finite = np.isfinite(target)
        log_weights, pareto_k = smoothed_weights(np.where(finite, target - proposal, -1e30))
        weights = np.exp(log_weights - log_weights.max())
        return z, weights / weights.sum(), pareto_k, int(np.sum(~finite))


@eqx.filter_jit
def _log_densities(problem: InverseProblem, z: Float[Array, "draws parameters"]) -> Float[Array, " draws"]:
    return jax.lax.map(problem.log_density, z)
