"""The posterior mode by Levenberg-Marquardt, and the Laplace approximation around it."""

import logging
import time

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix
from jaxtyping import Array, Bool, Float, Int

from twinjax.calibration.calibrator import AbstractCalibrator
from twinjax.calibration.posterior import Posterior
from twinjax.calibration.problem import InverseProblem
from twinjax.core.errors import InputError

log = logging.getLogger("twinjax")


class Mode(eqx.Module):
    """The posterior mode and its curvature.

    **Fields:** `z` (n,), `covariance` (n, n) of the Laplace approximation, the inverse of the Gauss-Newton
    Hessian JᵀJ (which holds the prior's identity, so that it is never singular); `cost` half the sum of squares;
    `gradient` (n,) at `z`; `steps`; `converged`.
    """

    z: Float[Array, " n"]
    covariance: Float[Array, "n n"]
    cost: Float[Array, ""]
    gradient: Float[Array, " n"]
    steps: Int[Array, ""]
    converged: Bool[Array, ""]

    @property
    def doubts(self) -> list[str]:
        """What speaks against a posterior that is built on this mode, in plain words."""
        return [] if bool(self.converged) else ["Levenberg-Marquardt did not reach a stationary point"]


class LevenbergMarquardt(AbstractCalibrator):
    """Mode by optimistix's Levenberg-Marquardt with forward-mode Jacobians; draws from the Laplace approximation.

    **Fields:** `max_steps`; `tolerance`, relative and absolute, on z; `starts`, of which the first is the prior
    median and the others prior draws shrunk by half; `draws`, rounded up to an even number; `estimate_noise`: fit,
    raise the noise levels to the residuals (`InverseProblem.with_noise_from_residuals`), fit again.
    """

    max_steps: int = 40
    tolerance: float = 1e-3
    starts: int = 1
    draws: int = 1000
    estimate_noise: bool = True

    def __check_init__(self):
        if self.starts < 1 or self.draws < 2 or self.max_steps < 1:
            raise InputError("LevenbergMarquardt: starts and max_steps must be >= 1, draws >= 2")

    def fit(self, problem, *, key):
        # Another stream than that of the draws, or those would repeat the starts.
        problem, mode = self.fit_mode(problem, key=jax.random.fold_in(key, 1))
        root = jnp.linalg.cholesky(mode.covariance)
        white = jax.random.normal(key, (2, -(-self.draws // 2), problem.dimension))
        z = mode.z + white @ root.T
        return Posterior.from_draws(
            problem,
            z,
            mode.z,
            method="Levenberg-Marquardt and Laplace approximation",
            doubts=mode.doubts,
            effective=float(white[..., 0].size),
            steps=int(mode.steps),
            gradient_norm=float(jnp.linalg.norm(mode.gradient)),
        )

    def fit_mode(self, problem: InverseProblem, *, key) -> tuple[InverseProblem, Mode]:
        """The mode, and the problem with the noise levels that it was found with."""
        starts = [jnp.zeros(problem.dimension)]
        starts += list(0.5 * jax.random.normal(key, (self.starts - 1, problem.dimension)))
        if not bool(jnp.isfinite(problem.residuals(starts[0])).all()):
            raise InputError("the forward solve fails at the prior median: check the priors and the initial tumour")
        modes = [self._descend(problem, start) for start in starts]
        mode = min(modes, key=lambda m: float(m.cost) if np.isfinite(m.cost) else np.inf)
        if self.estimate_noise:
            problem = problem.with_noise_from_residuals(mode.z)
            mode = self._descend(problem, mode.z)
        return problem, mode

    def _descend(self, problem: InverseProblem, start) -> Mode:
        began = time.perf_counter()
        mode = _descend(problem, start, self.tolerance, self.max_steps)
        log.info(
            "  Levenberg-Marquardt: %d steps, cost %.4g, %.1f s%s",
            int(mode.steps),
            float(mode.cost),
            time.perf_counter() - began,
            "" if bool(mode.converged) else " (NOT at a stationary point)",
        )
        return mode


@eqx.filter_jit
def _descend(problem: InverseProblem, start, tolerance, max_steps) -> Mode:
    def residuals(z, problem):
        return problem.residuals(z, adjoint=diffrax.ForwardMode())

    solver = optimistix.LevenbergMarquardt(rtol=tolerance, atol=tolerance)
    solution = optimistix.least_squares(
        residuals, solver, start, args=problem, options={"jac": "fwd"}, max_steps=max_steps, throw=False
    )
    z = solution.value
    value = residuals(z, problem)
    jacobian = jax.jacfwd(residuals)(z, problem)
    gradient = jacobian.T @ value
    covariance = jnp.linalg.inv(jacobian.T @ jacobian)
    # In whitened coordinates the Newton decrement measures the distance to the mode in posterior deviations.
    decrement = jnp.sqrt(gradient @ covariance @ gradient)
    return Mode(
        z,
        covariance,
        0.5 * jnp.sum(value**2),
        gradient,
        solution.stats["num_steps"],
        jnp.isfinite(decrement) & (decrement < 0.1),
    )
