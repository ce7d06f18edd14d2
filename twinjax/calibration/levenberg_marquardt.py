"""The posterior mode by Levenberg-Marquardt, and the Laplace approximation around it."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from twinjax.calibration.calibrator import AbstractCalibrator
from twinjax.calibration.checkpoint import Checkpoint
from twinjax.calibration.curvature import residuals_and_jacobian
from twinjax.calibration.filled import filled
from twinjax.calibration.posterior import Posterior
from twinjax.calibration.problem import InverseProblem
from twinjax.core.errors import InputError
from twinjax.core.products import product

log = logging.getLogger("twinjax")

# Cost, gradient, Gauss-Newton Hessian and predictions.
Expansion = tuple[float, np.ndarray, np.ndarray, list[np.ndarray]]

# Damping to begin with, as a share of the largest curvature, from afar and from near the mode; the least share of it
# that a step leaves.
FIRST_DAMPING, NEAR_DAMPING, LEAST_LEFT = 1e-3, 1e-6, 0.1
# How far a parameter may move in a step, in prior deviations: farther off, solves can take long, and rarely help.
LONGEST_STEP = 2.0
# A mode this near, in posterior deviations, will do for what is built on it.
NEAR_ENOUGH = 0.1
# Curvature, in that of the prior, below which no datum depends on a parameter.
UNSEEN = 1e-9
# Two descents that end nearer than this, in posterior deviations, found the same mode.
SAME_MODE = 1.0
# A second mode with more than e to the minus this of the best one's mass counts.
FEW_NATS = 4.0
# Beyond, a Jacobian by one forward-mode derivative per unknown takes longer than all that `LowRankLaplace` does.
MOST_UNKNOWNS = 50
# A step that changes z by less, or a cost by less of itself, is lost in the rounding of a single-precision solve.
RESOLUTION, ROUNDING = 1e-7, 1e-7


@dataclass
class Mode:
    """The posterior mode and its curvature.

    **Fields:** `z` (n,), `covariance` (n, n) of the Laplace approximation, the inverse of the Gauss-Newton
    Hessian JᵀJ (which holds the prior's identity, so that it is never singular); `cost` half the sum of squares;
    `gradient` (n,) at `z`; `steps`; `converged`; `jacobians` that were evaluated in all; `starts` of the search,
    `found`, how many distinct modes they led to, and `gap`, by how many nats the Laplace mass of this one is above that
    of the best of the others; `unseen`, names of the parameters that no datum depends on; `expected`, what the data are
    predicted to be at `z`, empty where it was not kept.
    """

    z: Float[np.ndarray, " n"]
    covariance: Float[np.ndarray, "n n"]
    cost: float
    gradient: Float[np.ndarray, " n"]
    steps: int
    converged: bool
    jacobians: int = 0
    starts: int = 1
    found: int = 1
    gap: float = float("inf")
    unseen: tuple[str, ...] = ()
    expected: list[np.ndarray] = field(default_factory=list)

    @property
    def unreached(self) -> list[str]:
        """The doubt in a mode that was not reached, which noise levels may come from."""
        return [] if self.converged else ["Levenberg-Marquardt did not reach a stationary point"]

    @property
    def doubts(self) -> list[str]:
        """What speaks against a posterior that is built on this mode, in plain words."""
        doubts = self.unreached
        if self.gap < FEW_NATS:
            doubts.append(
                f"another mode has {np.exp(-self.gap):.2g} times the mass of this one, which is left out; take "
                "calibrator=smc"
            )
        return doubts

    @property
    def report(self) -> dict[str, Any]:
        """What the search of the mode adds to the diagnostics of a posterior."""
        gap = self.gap if np.isfinite(self.gap) else None
        report = {"jacobians": self.jacobians, "starts": self.starts, "modes_found": self.found, "mode_gap_nats": gap}
        return report | {"unseen": list(self.unseen)}

    def tell(self, seconds: float) -> None:
        """A line of the log."""
        doubt = "" if self.converged else " (NOT at a stationary point)"
        log.info("  Levenberg-Marquardt: %d steps, cost %.4g, %.1f s%s", self.steps, self.cost, seconds, doubt)

    @property
    def log_mass(self) -> float:
        """Logarithm of the integral of the normal curve with the height and the curvature of this mode.

        Up to a constant that all modes of one problem share, `InverseProblem.least_cost`.
        """
        return float(0.5 * (self.z.size * np.log(2 * np.pi) + np.linalg.slogdet(self.covariance)[1]) - self.cost)


class LevenbergMarquardt(AbstractCalibrator):
    """Mode by Levenberg-Marquardt with forward-mode Jacobians; draws from the Laplace approximation.

    Damping follows the gain of each step (Nielsen 1999, IMM-REP-1999-05, Technical University of Denmark), and sums
    over the data are taken in double precision. optimistix's method, which this replaced, lessens the damping only
    after a step whose gain was foreseen to a hundredth, and factorises the whole Jacobian in every step.

    **Fields:** `max_steps`; `tolerance`: how near to the mode, in posterior deviations; `starts`, of which the first is
    the prior median and the others prior draws shrunk by half; `draws`, rounded up to an even number;
    `estimate_noise`: fit, take the noise levels that are likeliest there (`InverseProblem.with_noise_from_residuals`),
    fit again; `start`: a z near the mode, which then is the first start.
    """

    max_steps: int = 40
    tolerance: float = 1e-2
    starts: int = 1
    draws: int = 1000
    estimate_noise: bool = True
    start: tuple[float, ...] | None = None

    def __check_init__(self):
        if self.starts < 1 or self.draws < 2 or self.max_steps < 1:
            raise InputError("LevenbergMarquardt: starts and max_steps must be >= 1, draws >= 2")

    def fit(self, problem, *, key):
        began = time.perf_counter()
        # Another stream than that of the draws, or those would repeat the starts.
        problem, mode = self.fit_mode(problem, key=jax.random.fold_in(key, 1))
        root = jnp.asarray(np.linalg.cholesky(mode.covariance))
        white = jax.random.normal(key, (2, -(-self.draws // 2), problem.dimension))
        z = mode.z + product(white, root.T)
        return Posterior.from_draws(
            problem,
            z,
            mode.z,
            method="Levenberg-Marquardt and Laplace approximation",
            doubts=mode.doubts,
            effective=float(white[..., 0].size),
            seconds=time.perf_counter() - began,
            # A Jacobian takes what a gradient in forward mode takes.
            gradients=mode.jacobians,
            steps=mode.steps,
            gradient_norm=float(np.linalg.norm(mode.gradient)),
            log_evidence=mode.log_mass - float(problem.least_cost),
            # Of how far the posterior is from normal the approximation itself says nothing.
            log_evidence_error=None,
            **mode.report,
        )

    def fit_mode(self, problem: InverseProblem, *, key, start=None) -> tuple[InverseProblem, Mode]:
        """The mode, and the problem with the noise levels that it was found with.

        `start`: begin at this z, which is near the mode (that of a coarser grid, say), and not at the prior median;
        unless given, that of the fields.
        """
        if problem.dimension > MOST_UNKNOWNS:
            raise InputError(
                f"{problem.dimension} unknowns (fields: {', '.join(problem.prior.fields) or 'none'}) are too many for "
                f"Levenberg-Marquardt and what begins with it (at most {MOST_UNKNOWNS}): take "
                "calibrator=low_rank_laplace"
            )
        start = self.start if start is None else start
        if start is not None and len(start) != problem.dimension:
            raise InputError(f"start has {len(start)} parameters, the problem {problem.dimension}")
        starts = [jnp.zeros(problem.dimension) if start is None else jnp.asarray(start, float)]
        starts += list(0.5 * jax.random.normal(key, (self.starts - 1, problem.dimension)))
        first = FIRST_DAMPING if start is None else NEAR_DAMPING
        modes = [_descend(problem, z, self.tolerance, self.max_steps, first) for z in starts]
        jacobians = sum(mode.jacobians for mode in modes)
        if np.isinf(modes[0].cost):
            where = "at the prior median: check the priors" if start is None else "at the start: check it"
            raise problem.failure_at(starts[0], where)
        modes = _distinct(modes)
        if self.estimate_noise:
            problem = problem.with_noise_from_residuals(modes[0].z, modes[0].expected)
            modes = [_descend(problem, m.z, self.tolerance, self.max_steps, NEAR_DAMPING) for m in modes]
            jacobians += sum(mode.jacobians for mode in modes)
            modes = _distinct(modes)
        mode = modes[0]
        gap = min((mode.log_mass - other.log_mass for other in modes[1:]), default=float("inf"))
        return problem, replace(mode, jacobians=jacobians, starts=len(starts), found=len(modes), gap=gap)

    def kept_mode(self, problem: InverseProblem, *, key, checkpoint: Checkpoint) -> tuple[InverseProblem, Mode, float]:
        """`fit_mode`, and the seconds that it took; all three from the checkpoint where it has them."""
        began, n = time.perf_counter(), problem.dimension
        nothing = asdict(Mode(np.zeros(n), np.zeros((n, n)), 0.0, np.zeros(n), 0, False))
        if found := checkpoint.read("mode", (problem.tumor.observation, nothing, 0.0)):
            observation, kept, seconds = found
            mode = Mode(**kept)
            # Neither names nor predictions are kept.
            mode = replace(mode, unseen=_unseen(coordinate_names(problem), np.linalg.inv(mode.covariance)))
            noise = {name: {level: getattr(one, level) for level in one.levels} for name, one in observation.items()}
            return problem.with_noise(noise), mode, seconds
        problem, mode = self.fit_mode(problem, key=key)
        seconds = time.perf_counter() - began
        kept = asdict(replace(mode, unseen=(), expected=[]))
        checkpoint.write("mode", (problem.tumor.observation, kept, seconds))
        return problem, mode, seconds


def _distinct(modes: list[Mode]) -> list[Mode]:
    """The mode of the least cost, and after it those others that are stationary and not the same again."""
    best, *others = sorted(modes, key=lambda mode: mode.cost)
    kept = [best]
    for mode in others:
        away = [np.sqrt((mode.z - k.z) @ np.linalg.solve(k.covariance, mode.z - k.z)) for k in kept]
        if mode.converged and min(away) > SAME_MODE:
            kept.append(mode)
    return kept


def _descend(problem: InverseProblem, start, tolerance: float, max_steps: int, first_damping: float) -> Mode:
    began = time.perf_counter()
    mode = descend(
        lambda z: expansion_of(problem, z), start, tolerance, max_steps, first_damping, names=coordinate_names(problem)
    )
    mode.tell(time.perf_counter() - began)
    return mode


def descend(
    expansion: Callable[[np.ndarray], Expansion],
    start,
    tolerance: float,
    max_steps: int,
    first_damping: float = FIRST_DAMPING,
    *,
    names: Sequence[str],
) -> Mode:
    """The mode that damped Gauss-Newton steps reach from `start`.

    `expansion(z)` is (cost, gradient, Gauss-Newton Hessian, predictions) with the prior in them, the cost infinite
    where the solve or its derivative fails; `names` are those of the coordinates of z.
    """
    z = np.asarray(start, float)
    cost, gradient, hessian, expected = expansion(z)
    damping, factor, steps = first_damping * float(hessian.diagonal().max()), 2.0, 0
    # In whitened coordinates the Newton decrement measures the distance to the mode in posterior deviations.
    while (distance := _decrement(gradient, hessian)) > tolerance and steps < max_steps:
        steps += 1
        step, damping = _bounded_step(gradient, hessian, damping)
        if not np.abs(step).max() > RESOLUTION * max(1.0, np.abs(z).max()):
            break
        # The whole expansion, not the cost alone: few steps are refused, and one program less is compiled.
        trial = expansion(z + step)
        # Differences of costs below their rounding count as the gain that was predicted.
        rounding = ROUNDING * cost
        gain = (cost - trial[0] + rounding) / (0.5 * step @ (damping * step - gradient) + rounding)
        if gain > 0:
            z, (cost, gradient, hessian, expected) = z + step, trial
            damping, factor = damping * max(LEAST_LEFT, float(1 - (2 * gain - 1) ** 3)), 2.0
        else:
            damping, factor = damping * factor, 2 * factor
        log.debug("  step %d: cost %.6g", steps, cost)
    converged = bool(distance < max(tolerance, NEAR_ENOUGH))
    covariance, unseen = np.linalg.inv(hessian), _unseen(names, hessian)
    return Mode(z, covariance, cost, gradient, steps, converged, steps + 1, unseen=unseen, expected=expected)


def coordinate_names(problem: InverseProblem) -> tuple[str, ...]:
    """A name for every coordinate of z: that of its parameter."""
    names = problem.prior.names
    return names if len(names) == problem.dimension else tuple(f"coordinate {i} of z" for i in range(problem.dimension))


def _unseen(names: Sequence[str], hessian) -> tuple[str, ...]:
    """The coordinates of z whose curvature is that of the prior."""
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


def expansion_of(problem: InverseProblem, z) -> Expansion:
    """(cost, gradient, Gauss-Newton Hessian, predictions); the cost is half the sum of squares, infinite where the
    solve or its derivative fails.

    Sums are in double precision whatever that of the solve.
    """
    shared = filled(problem)
    *found, expected = residuals_and_jacobian(shared.problem, jnp.asarray(z, float), jnp.eye(problem.dimension))
    value, jacobian = (np.asarray(x).astype(float) for x in found)
    with np.errstate(invalid="ignore"):
        gradient, hessian = jacobian @ value, jacobian @ jacobian.T
    solved = np.isfinite(value).all() and np.isfinite(hessian).all()
    cost = 0.5 * float(value @ value) if solved else np.inf
    return cost, gradient, hessian, [np.asarray(one) for one in shared.of_data(expected)]
