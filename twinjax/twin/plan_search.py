"""The plan of least risk within the limits of dose."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.optimize import OptimizeResult, minimize

from twinjax.twin.dose_limits import DoseLimits

log = logging.getLogger("twinjax")

# Of the objective, scaled to a gradient of 1 at the start.
TOLERANCE = 1e-6
# A start is tilted towards its first doses, so that it is not by its symmetry a stationary point.
TILT = 0.05
# Starts with every so manieth dose alone.
STRIDES = (1, 2, 3, 5)

Risk = Callable[[np.ndarray], tuple[float, np.ndarray]]


@dataclass(frozen=True, eq=False)
class FoundPlan:
    """**Fields:** `x`, of `PlanVariables`; `risk`, on the draws of the search; `share`, of the bounds that it was to
    keep; `converged`; `message` of the optimiser; `evaluations` of the risk with its gradient."""

    x: Float[np.ndarray, " size"]
    risk: float
    share: float
    converged: bool
    message: str
    evaluations: int


def search(
    risk: Risk,
    limits: DoseLimits,
    share: float,
    *,
    also: tuple[np.ndarray, ...] = (),
    starts: int = 2,
    max_iterations: int = 60,
) -> FoundPlan:
    """The x of least `risk` (value and gradient) within `share` of the bounds.

    Sequential least-squares programming (SLSQP of scipy; Kraft 1988, DFVLR-FB 88-28): gradients, bounds and nonlinear
    constraints, for some tens of variables. It finds a local minimum, and where few large doses are best there are
    many: it starts at the best `starts` of the standard, of plans with fewer doses (every second, third and fifth, the
    first alone, the first and the last half), each as large as the limits allow, and of those in `also`.
    """
    count = 0

    def counted(x):
        nonlocal count
        count += 1
        return risk(x)

    tried = [limits.filled(x, share) for x in (limits.variables.standard(), *also, *_fewer_doses(limits))]
    scored = sorted(((counted(x)[0], i) for i, x in enumerate(tried)), key=lambda pair: pair[0])
    best_value, best = scored[0][0], tried[scored[0][1]]
    outcomes: list[OptimizeResult] = []
    for _, i in scored[:starts]:
        outcome = _descend(counted, limits, share, _tilted(limits, tried[i], share), max_iterations)
        x = limits.filled(np.clip(outcome.x, *np.transpose(limits.variables.bounds)), share, grow=False)
        value = counted(x)[0]
        outcomes.append(outcome)
        if value < best_value:
            best_value, best = value, x
    converged = any(outcome.success for outcome in outcomes)
    message = next((o.message for o in outcomes if o.success), outcomes[0].message)
    log.info("  %.0f %% of the limits: risk %.4g after %d evaluations", 100 * share, best_value, count)
    return FoundPlan(best, best_value, share, converged, message, count)


def _descend(risk: Risk, limits: DoseLimits, share: float, start: np.ndarray, max_iterations: int) -> OptimizeResult:
    scale = max(float(np.abs(risk(start)[1]).max()), 1e-12)

    def scaled(x):
        value, gradient = risk(x)
        return value / scale, gradient / scale

    within = {
        "type": "ineq",
        "fun": lambda x: np.asarray(limits.slack(jnp.asarray(x), share)),
        "jac": lambda x: np.asarray(limits.slack_gradient(jnp.asarray(x), share)),
    }
    options = {"maxiter": max_iterations, "ftol": TOLERANCE}
    bounds = limits.variables.bounds
    return minimize(scaled, start, jac=True, method="SLSQP", bounds=bounds, constraints=[within], options=options)


def _fewer_doses(limits: DoseLimits) -> list[np.ndarray]:
    """The standard with some of the doses of every treatment alone."""
    variables, plans = limits.variables, []

    def keep(chosen: Callable[[np.ndarray], np.ndarray]) -> None:
        x = variables.standard()
        for name in variables.limits:
            entries = variables.dose_entries(name)
            x[entries] = np.where(chosen(np.arange(entries.size)), x[entries].mean(), 0.0)
        plans.append(x)

    most = max(variables.dose_entries(name).size for name in variables.limits)
    for stride in dict.fromkeys(min(stride, most) for stride in (*STRIDES, most)):
        keep(lambda i, stride=stride: i % stride == 0)
    keep(lambda i: 2 * i < i.size)
    keep(lambda i: 2 * i >= i.size)
    return plans


def _tilted(limits: DoseLimits, x: np.ndarray, share: float) -> np.ndarray:
    x = x.copy()
    for name in limits.variables.limits:
        entries = limits.variables.dose_entries(name)
        x[entries] *= np.linspace(1 + TILT, 1 - TILT, entries.size)
    return limits.filled(x, share, grow=False)
