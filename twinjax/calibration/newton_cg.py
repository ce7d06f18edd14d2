"""The posterior mode for many unknowns: inexact Gauss-Newton with conjugate gradients."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from twinjax.calibration.curvature import Expanded, Expansion
from twinjax.calibration.problem import InverseProblem
from twinjax.core.errors import InputError

log = logging.getLogger("twinjax")

# The first step's bound, in prior deviations over all unknowns together.
FIRST_RADIUS = 2.0
# Of the gain that the quadratic model foresees: below the first the radius shrinks, above the second it may grow
# (Nocedal and Wright 2006, Numerical Optimization, algorithm 4.1).
POOR_GAIN, GOOD_GAIN = 0.25, 0.75
# A share of the cost that is lost in the rounding of a single-precision solve, and a radius below which no step counts.
ROUNDING, SMALLEST_RADIUS = 1e-7, 1e-6


@dataclass
class FieldMode(Generic[Expanded]):
    """The posterior mode, without its covariance.

    **Fields:** `expansion` at the mode; `distance`, the last Newton decrement: how far the mode is, in posterior
    deviations over all unknowns together, and the `tolerance` for it; `steps`, `refused` of them, `products` with the
    Hessian.
    """

    expansion: Expanded
    distance: float
    tolerance: float
    steps: int
    refused: int
    products: int

    @property
    def converged(self) -> bool:
        return self.distance <= self.tolerance

    @property
    def doubts(self) -> list[str]:
        """What speaks against a posterior that is built on this mode, in plain words."""
        return [] if self.converged else [f"Newton-CG stopped {self.distance:.2g} deviations from a stationary point"]

    @property
    def effort(self) -> dict[str, Any]:
        """For the diagnostics."""
        return {"steps": self.steps, "refused_steps": self.refused, "products_of_mode": self.products}

    def after(self, earlier: "FieldMode") -> "FieldMode[Expanded]":
        """With the effort of an earlier search, at which this one began."""
        return replace(
            self,
            steps=self.steps + earlier.steps,
            refused=self.refused + earlier.refused,
            products=self.products + earlier.products,
        )


class NewtonCG(eqx.Module):
    """The mode by inexact Gauss-Newton in a trust region, with steps by conjugate gradients.

    The steps are those of Steihaug 1983 (SIAM J Numer Anal 20:626). In whitened coordinates plain conjugate gradients
    are those preconditioned by the prior: they take as many products as the data inform directions, however many
    unknowns there are (Villa, Petra and Ghattas 2021, ACM Trans Math Softw 47:16). They stop at a residual of
    min(0.5, sqrt(|g| / |g of the start|)) of the gradient g (Eisenstat and Walker 1996, SIAM J Sci Comput 17:16), when
    the step meets the trust region, and after `max_products`. A trial step whose solve fails is refused, as one that
    does not lower the cost.

    **Fields:** `max_steps`; `tolerance`: how near to the mode, in posterior deviations over all unknowns together;
    `max_products` per step;
    `estimate_noise`: fit, raise the noise levels to the residuals (`InverseProblem.with_noise_from_residuals`), fit
    again.
    """

    max_steps: int = 30
    tolerance: float = 0.5
    max_products: int = 50
    estimate_noise: bool = True

    def __check_init__(self):
        if self.max_steps < 1 or self.max_products < 1 or not self.tolerance > 0:
            raise InputError("NewtonCG: max_steps and max_products must be >= 1, tolerance positive")

    def fit_mode(self, problem: InverseProblem, start=None) -> tuple[InverseProblem, FieldMode[Expansion]]:
        """The mode, and the problem with the noise levels that it was found with; from `start` or the prior median."""
        first = Expansion(problem, np.zeros(problem.dimension) if start is None else np.asarray(start, float))
        if np.isinf(first.cost):
            raise InputError("the forward solve fails at the prior median: check the priors and the initial tumour")
        mode = self.descend(first)
        if self.estimate_noise:
            problem = problem.with_noise_from_residuals(jnp.asarray(mode.expansion.z, float))
            mode = self.descend(Expansion(problem, mode.expansion.z)).after(mode)
        return problem, mode

    def descend(self, here: Expanded) -> FieldMode[Expanded]:
        """The mode that steps from `here` lead to."""
        began = time.perf_counter()
        radius, steps, refused, products, distance = FIRST_RADIUS, 0, 0, 0, np.inf
        first = np.linalg.norm(here.gradient)
        while steps < self.max_steps and radius > SMALLEST_RADIUS:
            size = np.linalg.norm(here.gradient)
            if size <= self.tolerance:
                # No curvature is below the prior's, 1.
                distance = float(size)
                break
            forcing = float(min(0.5, np.sqrt(size / first)) * size)
            step = steihaug(here.product, here.gradient, radius, forcing, self.max_products)
            products += step.products
            distance = np.inf if step.bounded else step.distance
            if distance <= self.tolerance or not step.change.any():
                break
            steps += 1
            trial = here.moved(step.change)
            # Differences of costs below their rounding count as the gain that was foreseen.
            rounding = ROUNDING * here.cost
            gain = (here.cost - trial.cost + rounding) / (step.lowered + rounding)
            if gain < POOR_GAIN:
                radius = 0.25 * float(np.linalg.norm(step.change))
            elif gain > GOOD_GAIN and step.bounded:
                radius *= 2
            if gain > 0:
                here = trial
            else:
                refused += 1
            log.info(
                "  step %d: cost %.6g, gradient %.3g, %d products%s",
                steps,
                here.cost,
                np.linalg.norm(here.gradient),
                step.products,
                "" if gain > 0 else " (refused)",
            )
        mode = FieldMode(here, distance, self.tolerance, steps, refused, products)
        log.info(
            "  Newton-CG: %d steps, %d products, cost %.4g, %.1f s%s",
            steps,
            products,
            here.cost,
            time.perf_counter() - began,
            "" if mode.converged else " (NOT at a stationary point)",
        )
        return mode


class Step(NamedTuple):
    """**Fields:** `change` (n,); `lowered`, by how much it lowers the quadratic; `residual` |H change + gradient|;
    `products`; `bounded`, whether the trust region ended it."""

    change: np.ndarray
    lowered: float
    residual: float
    products: int
    bounded: bool

    @property
    def distance(self) -> float:
        """A bound of the Newton decrement sqrt(g · H^-1 g), as no curvature is below the prior's, 1."""
        return float(np.sqrt(2 * self.lowered + self.residual**2))


def steihaug(
    product: Callable[[np.ndarray], np.ndarray],
    gradient: Float[np.ndarray, " n"],
    radius: float,
    tolerance: float,
    most: int,
) -> Step:
    """Lowers gradient · p + p · H p / 2 within |p| <= radius, by conjugate gradients from p = 0.

    Ends where the residual is at most `tolerance`, at the bound, after `most` products, or at one that is not finite.
    """
    change, residual = np.zeros_like(gradient), -gradient
    direction, square, lowered = residual.copy(), float(residual @ residual), 0.0
    for number in range(1, most + 1):
        image = product(direction)
        curvature = float(direction @ image)
        if not np.isfinite(curvature) or curvature <= 0:
            return Step(change, lowered, np.sqrt(square), number, False)
        length = square / curvature
        if np.linalg.norm(change + length * direction) >= radius:
            length = _to_the_bound(change, direction, radius)
            change, residual = change + length * direction, residual - length * image
            # The residual and the direction have the product `square`.
            lowered += length * square - 0.5 * length**2 * curvature
            return Step(change, lowered, float(np.linalg.norm(residual)), number, True)
        change, residual = change + length * direction, residual - length * image
        lowered += 0.5 * length * square
        last, square = square, float(residual @ residual)
        if np.sqrt(square) <= tolerance:
            break
        direction = residual + square / last * direction
    return Step(change, lowered, np.sqrt(square), number, False)


def _to_the_bound(step, direction, radius: float) -> float:
    """The t > 0 with |step + t direction| = radius."""
    a, b, c = direction @ direction, step @ direction, step @ step - radius**2
    return float((-b + np.sqrt(b**2 - a * c)) / a)
