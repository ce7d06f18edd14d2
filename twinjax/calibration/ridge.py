"""Normal curves along the ridges of a posterior: where its mass lies when one normal curve at the mode misses it."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from twinjax.calibration.levenberg_marquardt import NEAR_DAMPING, Expansion, descend

# A normal curve falls by two nats in two deviations; a direction that differs by more than this is walked.
STRAIGHT, SAME_NATS = 2.0, 0.7
# A walk ends below the mode by so many nats, three and a half deviations of a normal curve, or after so many points.
LOWEST, POINTS = 6.0, 8
# How far a point may be from the top of the ridge, in local deviations, and the steps that may lead to it.
NEAR_TOP, STEPS = 0.3, 6


class Curve(NamedTuple):
    """A normal curve: its `center` (n,), `covariance` (n, n), and `height`, the log density at its centre."""

    center: Float[np.ndarray, " n"]
    covariance: Float[np.ndarray, "n n"]
    height: float

    @property
    def log_mass(self) -> float:
        """Logarithm of the integral, up to a constant that all curves of one posterior share."""
        return self.height + 0.5 * float(np.linalg.slogdet(self.covariance)[1])


class Ridges(NamedTuple):
    """The curves, the one at the mode first; how many directions were walked; Jacobians and densities that it took."""

    curves: list[Curve]
    walks: int
    jacobians: int
    solves: int


def ridges(
    expansion: Callable[[np.ndarray], Expansion],
    log_density: Callable[[Float[np.ndarray, "points n"]], Float[np.ndarray, " points"]],
    n: int,
) -> Ridges:
    """The curve at 0, and those on the ridges that leave it.

    In coordinates in which the mode is at 0 and the Laplace approximation standard normal. Where the density two
    deviations out along an axis is not what that approximation says, the axis is walked on: one coordinate is moved
    step by step, and the others maximise the density given it, as in a profile likelihood. Every point gets the
    covariance of its own Gauss-Newton Hessian, so that a ridge may bend, narrow or end. `expansion` and `log_density`
    are of the posterior, the latter up to a constant.
    """
    axes = np.concatenate([np.eye(n), -np.eye(n)])
    found = log_density(np.concatenate([np.zeros((1, n)), STRAIGHT * axes]))
    lost = found[0] - found[1:]
    cost, _, hessian, _ = expansion(np.zeros(n))
    top = Curve(np.zeros(n), np.linalg.inv(hessian), 0.0)
    curves, walks, jacobians = [top], 0, 1
    for axis in axes[np.abs(lost - 0.5 * STRAIGHT**2) > SAME_NATS]:
        met, took = _walk(expansion, top, cost, int(np.abs(axis).argmax()), float(axis.sum()))
        curves, walks, jacobians = curves + met, walks + 1, jacobians + took
    return Ridges(curves, walks, jacobians, len(found))


def _walk(
    expansion: Callable[[np.ndarray], Expansion], top: Curve, least: float, place: int, side: float
) -> tuple[list[Curve], int]:
    """The curves on one side of the axis `place`, and the Jacobians that they took."""
    curves, jacobians, here = [], 0, top
    while len(curves) < POINTS and here.height > -LOWEST:
        # As the others follow the one that is moved by the curve that is left; no further than it reaches.
        variance = here.covariance[place, place]
        step = side * min(float(np.sqrt(variance)), 1.0)
        start = here.center + step * here.covariance[place] / variance
        there, took = _top_of_ridge(expansion, start, place, least)
        jacobians += took
        if there is None:
            break
        here = there
        curves.append(here)
    return curves, jacobians


def curve_at(
    expansion: Callable[[np.ndarray], Expansion], point: Float[np.ndarray, " n"], least: float
) -> tuple[Curve | None, int]:
    """The curve at a point, None where the problem cannot be solved; and the Jacobians that it took.

    `least` is the cost at the mode.
    """
    return _curve(point, expansion(point), least), 1


def _top_of_ridge(
    expansion: Callable[[np.ndarray], Expansion], start: Float[np.ndarray, " n"], place: int, least: float
) -> tuple[Curve | None, int]:
    """As `curve_at`, where the density is largest of all points whose coordinate `place` is that of `start`."""
    free = np.delete(np.arange(start.size), place)
    if not free.size:
        return curve_at(expansion, start, least)
    seen: dict[bytes, Expansion] = {}

    def whole(part: np.ndarray) -> np.ndarray:
        full = start.copy()
        full[free] = part
        return full

    def restricted(part: np.ndarray) -> Expansion:
        point = whole(part)
        cost, gradient, hessian, expected = seen[point.tobytes()] = expansion(point)
        return cost, gradient[free], hessian[np.ix_(free, free)], expected

    mode = descend(restricted, start[free], NEAR_TOP, STEPS, NEAR_DAMPING, names=["" for _ in free])
    top = whole(mode.z)
    return _curve(top, seen[top.tobytes()], least), mode.jacobians


def _curve(center: Float[np.ndarray, " n"], around: Expansion, least: float) -> Curve | None:
    cost, _, hessian, _ = around
    return Curve(center, np.linalg.inv(hessian), least - cost) if np.isfinite(cost) else None
