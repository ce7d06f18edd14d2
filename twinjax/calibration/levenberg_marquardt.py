"""The posterior mode by Levenberg-Marquardt, and the Laplace approximation around it."""

import logging
import time
from dataclasses import dataclass
from functools import partial

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from twinjax.calibration.calibrator import AbstractCalibrator
from twinjax.calibration.posterior import Posterior
from twinjax.calibration.problem import InverseProblem
from twinjax.core.errors import InputError

log = logging.getLogger("twinjax")


# Damping to begin with, as a share of the largest curvature, from afar and from near the mode; the least share of it
# that a step leaves.
FIRST_DAMPING, NEAR_DAMPING, LEAST_LEFT = 1e-3, 1e-6, 0.1
# How far a parameter may move in a step, in prior deviations: farther off, solves can take long, and rarely help.
LONGEST_STEP = 2.0
# A mode this near, in posterior deviations, will do for what is built on it.
NEAR_ENOUGH = 0.1
# Curvature, in that of the prior, below which no datum depends on a parameter.
UNSEEN = 1e-10
# A step that changes z by less, or a cost by less of itself, is lost in the rounding of a single-precision solve.
RESOLUTION, ROUNDING = 1e-7, 1e-7


@dataclass
class Mode:
    """The posterior mode and its curvature.

    **Fields:** `z` (n,), `covariance` (n, n) of the Laplace approximation, the inverse of the Gauss-Newton
    Hessian JᵀJ (which holds the prior's identity, so that it is never singular); `cost` half the sum of squares;
    `gradient` (n,) at `z`; `steps`; `converged`; `unseen`, names of the parameters that no datum depends on.
    """

    z: Float[np.ndarray, " n"]
    covariance: Float[np.ndarray, "n n"]
    cost: float
    gradient: Float[np.ndarray, " n"]
    steps: int
    converged: bool
    unseen: tuple[str, ...] = ()

    @property
    def doubts(self) -> list[str]:
        """What speaks against a posterior that is built on this mode, in plain words."""
        doubts = [] if self.converged else ["Levenberg-Marquardt did not reach a stationary point"]
        if self.unseen:
            doubts.append(
                f"no datum depends on {', '.join(self.unseen)}, whose posterior is the prior: leave it out of the "
                "prior, or give data that show it"
            )
        return doubts


class LevenbergMarquardt(AbstractCalibrator):
    """Mode by Levenberg-Marquardt with forward-mode Jacobians; draws from the Laplace approximation.

    Damping follows the gain of each step (Nielsen 1999, IMM-REP-1999-05, Technical University of Denmark), and sums
    over the data are taken in double precision. optimistix's method, which this replaced, lessens the damping only
    after a step whose gain was foreseen to a hundredth, and factorises the whole Jacobian in every step.

    **Fields:** `max_steps`; `tolerance`: how near to the mode, in posterior deviations; `starts`, of which the first is
    the prior median and the others prior draws shrunk by half; `draws`, rounded up to an even number;
    `estimate_noise`: fit, take the noise levels that are likeliest there (`InverseProblem.with_noise_from_residuals`),
    fit again.
    """

    max_steps: int = 40
    tolerance: float = 1e-2
    starts: int = 1
    draws: int = 1000
    estimate_noise: bool = True

    def __check_init__(self):
        if self.starts < 1 or self.draws < 2 or self.max_steps < 1:
            raise InputError("LevenbergMarquardt: starts and max_steps must be >= 1, draws >= 2")

    def fit(self, problem, *, key):
        # Another stream than that of the draws, or those would repeat the starts.
        problem, mode = self.fit_mode(problem, key=jax.random.fold_in(key, 1))
        root = jnp.asarray(np.linalg.cholesky(mode.covariance))
        white = jax.random.normal(key, (2, -(-self.draws // 2), problem.dimension))
        z = mode.z + white @ root.T
        return Posterior.from_draws(
            problem,
            z,
            mode.z,
            method="Levenberg-Marquardt and Laplace approximation",
            doubts=mode.doubts,
            effective=float(white[..., 0].size),
            steps=mode.steps,
            gradient_norm=float(np.linalg.norm(mode.gradient)),
        )

    def fit_mode(self, problem: InverseProblem, *, key, start=None) -> tuple[InverseProblem, Mode]:
        """The mode, and the problem with the noise levels that it was found with.

        `start`: begin at this z, which is near the mode (that of a coarser grid, say), and not at the prior median.
        """
        starts = [jnp.zeros(problem.dimension) if start is None else jnp.asarray(start, float)]
        starts += list(0.5 * jax.random.normal(key, (self.starts - 1, problem.dimension)))
        first = FIRST_DAMPING if start is None else NEAR_DAMPING
        modes = [_descend(problem, z, self.tolerance, self.max_steps, first) for z in starts]
        if np.isinf(modes[0].cost):
            where = "at the prior median: check the priors" if start is None else "at the start: check it"
            raise problem.failure_at(starts[0], where)
        mode = min(modes, key=lambda m: m.cost)
        if self.estimate_noise:
            problem = problem.with_noise_from_residuals(jnp.asarray(mode.z, float))
            mode = _descend(problem, mode.z, self.tolerance, self.max_steps, NEAR_DAMPING)
        return problem, mode


def _descend(problem: InverseProblem, start, tolerance: float, max_steps: int, first_damping: float) -> Mode:
    began = time.perf_counter()
    z = np.asarray(start, float)
    cost, gradient, hessian = _expansion(problem, z)
    damping, factor, steps = first_damping * float(hessian.diagonal().max()), 2.0, 0
    # In whitened coordinates the Newton decrement measures the distance to the mode in posterior deviations.
    while (distance := _decrement(gradient, hessian)) > tolerance and steps < max_steps:
        steps += 1
        step, damping = _bounded_step(gradient, hessian, damping)
        if not np.abs(step).max() > RESOLUTION * max(1.0, np.abs(z).max()):
            break
        # The whole expansion, not the cost alone: few steps are refused, and one program less is compiled.
        trial = _expansion(problem, z + step)
        # Differences of costs below their rounding count as the gain that was predicted.
        rounding = ROUNDING * cost
        gain = (cost - trial[0] + rounding) / (0.5 * step @ (damping * step - gradient) + rounding)
        if gain > 0:
            z, (cost, gradient, hessian) = z + step, trial
            damping, factor = damping * max(LEAST_LEFT, float(1 - (2 * gain - 1) ** 3)), 2.0
        else:
            damping, factor = damping * factor, 2 * factor
        log.debug("  step %d: cost %.6g", steps, cost)
    converged = bool(distance < max(tolerance, NEAR_ENOUGH))
    log.info(
        "  Levenberg-Marquardt: %d steps, cost %.4g, %.1f s%s",
        steps,
        cost,
        time.perf_counter() - began,
        "" if converged else " (NOT at a stationary point)",
    )
    return Mode(z, np.linalg.inv(hessian), cost, gradient, steps, converged, _unseen(problem, hessian))


def _unseen(problem: InverseProblem, hessian) -> tuple[str, ...]:
    """The coordinates of z whose curvature is that of the prior, by the names of their parameters."""
    names = problem.prior.names
    if len(names) != problem.dimension:
        names = tuple(f"coordinate {i} of z" for i in range(problem.dimension))
    return tuple(name for name, curvature in zip(names, hessian.diagonal(), strict=True) if curvature - 1 < UNSEEN)


def _bounded_step(gradient, hessian, damping: float) -> tuple[np.ndarray, float]:
    """The step, and the damping: more than was asked for where a parameter would move too far."""
    while True:
        step = -np.linalg.solve(hessian + damping * np.eye(gradient.size), gradient)
        if np.abs(step).max() <= LONGEST_STEP:
            return step, damping
        damping *= 2


def _decrement(gradient, hessian) -> float:
    return float(np.sqrt(gradient @ np.linalg.solve(hessian, gradient)))


def _expansion(problem: InverseProblem, z) -> tuple[float, np.ndarray, np.ndarray]:
    """(cost, gradient, Gauss-Newton Hessian); the cost is half the sum of squares, infinite where the solve or
    its derivative fails.

    Sums are in double precision whatever that of the solve.
    """
    value, jacobian = (np.asarray(x).astype(float) for x in _residuals_and_jacobian(problem, jnp.asarray(z, float)))
    with np.errstate(invalid="ignore"):
        gradient, hessian = jacobian @ value, jacobian @ jacobian.T
    solved = np.isfinite(value).all() and np.isfinite(hessian).all()
    return 0.5 * float(value @ value) if solved else np.inf, gradient, hessian


@eqx.filter_jit
def _residuals_and_jacobian(problem: InverseProblem, z):
    """The residuals and their derivatives (parameters, residuals)."""

    def along(direction):
        residuals = partial(problem.residuals, adjoint=diffrax.ForwardMode())
        return jax.jvp(residuals, (z,), (direction,))

    return jax.vmap(along, out_axes=(None, 0))(jnp.eye(problem.dimension))
