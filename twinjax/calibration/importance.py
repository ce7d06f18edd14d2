"""The posterior by importance sampling from the Laplace approximation: forward solves only."""

import logging

import arviz
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from tqdm import tqdm

from twinjax.calibration.calibrator import AbstractCalibrator
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

    **Fields:** `proposals`, `draws` (resampled from them), `mode`, `progress` (a bar on the terminal).
    """

    proposals: int = 500
    draws: int = 1000
    progress: bool = True
    mode: LevenbergMarquardt = LevenbergMarquardt()

    def __check_init__(self):
        if self.proposals < 100 or self.draws < 100:
            raise InputError("ImportanceSampler: proposals and draws must be at least 100")

    def fit(self, problem, *, key):
        key_mode, key_normal, key_scale, key_resample = jax.random.split(key, 4)
        problem, mode = self.mode.fit_mode(problem, key=key_mode)
        root = jnp.linalg.cholesky(mode.covariance)
        normal = jax.random.normal(key_normal, (self.proposals, problem.dimension))
        chi2 = 2 * jax.random.gamma(key_scale, PROPOSAL_FREEDOM / 2, (self.proposals, 1))
        white = normal / jnp.sqrt(chi2 / PROPOSAL_FREEDOM)
        z = mode.z + white @ root.T
        chunks = np.array_split(np.asarray(z), max(1, self.proposals // 20))
        densities = [
            np.asarray(_log_densities(problem, jnp.asarray(chunk)))
            for chunk in tqdm(chunks, desc="  importance sampling", disable=not self.progress)
        ]
        target = np.concatenate(densities)
        power = (PROPOSAL_FREEDOM + problem.dimension) / 2
        proposal = -power * np.log1p(np.asarray(jnp.sum(white**2, axis=1)) / PROPOSAL_FREEDOM)
        failures = int(np.sum(~np.isfinite(target)))
        log_weights, pareto_k = arviz.psislw(np.where(np.isfinite(target), target - proposal, -1e30))
        weights = np.exp(log_weights - log_weights.max())
        weights /= weights.sum()
        effective = float(1 / np.sum(weights**2))
        log.info("  %d proposals, %.0f effective, Pareto k %.2f", self.proposals, effective, float(pareto_k))
        chosen = jax.random.choice(key_resample, self.proposals, (self.draws,), p=jnp.asarray(weights))
        doubts = [] if bool(mode.converged) else ["Levenberg-Marquardt did not reach a stationary point"]
        if not float(pareto_k) < LARGEST_PARETO_K:
            doubts.append(f"the importance weights are not to be trusted (Pareto k {float(pareto_k):.2f}, wanted < 0.7)")
        return Posterior.from_draws(
            problem,
            np.asarray(z)[np.asarray(chosen)].reshape(2, self.draws // 2, -1),
            mode.z,
            method="importance sampling from the Laplace approximation",
            doubts=doubts,
            effective=effective,
            pareto_k=float(pareto_k),
            solver_failures=failures,
        )


@eqx.filter_jit
def _log_densities(problem: InverseProblem, z: Float[Array, "draws parameters"]) -> Float[Array, " draws"]:
    return jax.lax.map(problem.log_density, z)
