"""Calibration by optimising a discrete loss (ODIL): the field in space-time and the parameters are found together."""

import logging
import time
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from twinjax.calibration.calibrator import AbstractCalibrator
from twinjax.calibration.discrete_system import DiscreteExpansion, DiscreteSystem
from twinjax.calibration.independent_solution import LARGEST_ERROR, error_against_solver
from twinjax.calibration.newton_cg import FieldMode, NewtonCG, steihaug
from twinjax.calibration.posterior import Posterior
from twinjax.calibration.problem import InverseProblem
from twinjax.calibration.space_time import SpaceTime
from twinjax.core.errors import InputError
from twinjax.simulation import simulate

log = logging.getLogger("twinjax")

# What conjugate gradients may leave unsolved of a column of the covariance.
UNSOLVED = 1e-6
# Density per day, below which a residual is the rounding of the solve that it comes from.
STRICTEST = 1e-9


class Found(NamedTuple):
    """**Fields:** `system`, whose problem has the final noise levels; `mode`, around the field and z; `seconds`."""

    system: DiscreteSystem
    mode: FieldMode[DiscreteExpansion]
    seconds: float

    def states(self) -> Float[Array, "days *grid"]:
        """The field on the days of the data."""
        return _states(self.system, self.mode.expansion.z, self.mode.expansion.field)

    def error_against_solver(self) -> float:
        """`independent_solution.error_against_solver` of the field."""
        return error_against_solver(self.system.problem, self.mode.expansion.z, self.states())

    def residual(self) -> float:
        """Root mean square of what the equation leaves, density per day."""
        here = self.mode.expansion
        return float(_root_mean_square(self.system.problem, self.system.space_time, here.z, here.field))

    def covariance(self, most_products: int) -> tuple[Float[np.ndarray, "parameters parameters"], bool]:
        """Of z, whatever the field is: a block of the inverse of the Hessian in all unknowns; and whether it is solved.

        Each column takes `most_products` at most.
        """
        here, count = self.mode.expansion, self.mode.expansion.z.size
        units = np.eye(count, here.gradient.size)
        steps = [steihaug(here.product, -unit, np.inf, UNSOLVED, most_products) for unit in units]
        found = np.stack([step.change[:count] for step in steps])
        return (found + found.T) / 2, all(step.residual <= UNSOLVED for step in steps)


class DiscreteLoss(AbstractCalibrator):
    """The least squares of a discrete equation and of data, over a field in space-time and the parameters at once.

    Half the sum of the squares of the residual of `SpaceTime` over sigma, of the whitened data and of z is lowered by
    Gauss-Newton steps in a trust region (`NewtonCG`, `DiscreteExpansion`). The form is ODIL's (Karnakov, Litvinov and
    Koumoutsakos 2024, PNAS Nexus 3:pgae005), which GliODIL took to the single scan of a glioma (Balcerak et al. 2025,
    arXiv 2412.13811). Those lower it by Adam or L-BFGS on multigrid coordinates of the field; here the coordinates are
    the residual itself, which a march through the slices turns into the field: a few products a step, at any sigma.

    sigma is the discretisation's own residual: the root mean square of what the grid solver's density at the prior
    median leaves of the discrete equation. Physics weighs as much as the discretisation deserves, and the parameters
    are those of the fit with the equation as a constraint, up to the error of the slices. A larger sigma,
    `physics_error`, lets the field leave the equation for the data, as a tumour does whose model is wrong: the
    parameters are then worth less, and their deviations say so.

    **Fields:** `slices` of time in all (`SpaceTime`); `physics_error` (density per day; None: the rule above);
    `max_steps`; `tolerance`: how near to the mode, in posterior deviations over all unknowns together; `max_products`
    per step; `draws` of the Laplace approximation, whose covariance is that of z whatever the field;
    `estimate_noise` as in `LevenbergMarquardt`.
    """

    slices: int = 40
    physics_error: float | None = None
    max_steps: int = 40
    tolerance: float = 0.05
    max_products: int = 200
    draws: int = 1000
    estimate_noise: bool = True

    def __check_init__(self):
        if min(self.slices, self.max_steps, self.max_products) < 1 or self.draws < 2:
            raise InputError("DiscreteLoss: slices, max_steps and max_products must be >= 1, draws >= 2")
        if not self.tolerance > 0 or not (self.physics_error is None or self.physics_error > 0):
            raise InputError("DiscreteLoss: tolerance and physics_error must be positive")

    def fit(self, problem, *, key):
        return self._posterior(self.find(problem), key)

    def find(self, problem: InverseProblem) -> Found:
        """The field and the parameters, from the solver's density at the prior median.

        Raises `InputError` for a problem that `SpaceTime` does not describe, or that cannot be solved there.
        """
        began = time.perf_counter()
        space_time = SpaceTime(problem, self.slices)
        z = jnp.zeros(problem.dimension)
        field, success = _solved(problem, space_time, z)
        if not bool(success):
            raise problem.failure_at(z, "at the prior median: check the priors")
        error = self.physics_error or max(float(_root_mean_square(problem, space_time, z, field)), STRICTEST)
        system = DiscreteSystem(problem, space_time, jnp.asarray(error, float))
        start = DiscreteExpansion(system, z, field).solved()
        if np.isinf(start.cost):
            raise InputError("the discrete equation has no solution at the prior median: raise slices")
        search = NewtonCG(self.max_steps, self.tolerance, self.max_products)
        mode = search.descend(start)
        if self.estimate_noise:
            here = mode.expansion
            noisy = problem.with_noise_from_residuals(here.z, _seen(system, here.z, here.field))
            system = eqx.tree_at(lambda s: s.problem, system, noisy)
            mode = search.descend(DiscreteExpansion(system, here.z, here.field)).after(mode)
        return Found(system, mode, time.perf_counter() - began)

    def _posterior(self, found: Found, key) -> Posterior:
        problem, z = found.system.problem, np.asarray(found.mode.expansion.z, float)
        error, doubts = found.error_against_solver(), found.mode.doubts
        covariance, solved = found.covariance(self.max_products)
        if not solved:
            doubts.append("the covariance is not solved; raise max_products, or lower physics_error")
        if not error < LARGEST_ERROR:
            doubts.append(
                f"the field is {100 * error:.2g} % (relative L2) from the solver's density with the same parameters, "
                f"wanted < {100 * LARGEST_ERROR:g} %: raise slices, or lower physics_error where one is given"
            )
        white = jax.random.normal(key, (2, -(-self.draws // 2), problem.dimension))
        variances, axes = np.linalg.eigh(covariance)
        return Posterior.from_draws(
            problem,
            z + np.asarray(white) * np.sqrt(np.maximum(variances, 0.0)) @ axes.T,
            z,
            method="discretised loss (ODIL) and Laplace approximation",
            doubts=doubts,
            effective=float(white[..., 0].size),
            seconds=found.seconds,
            slices=found.mode.expansion.field.shape[0],
            physics_error=float(found.system.physics_error),
            residual=found.residual(),
            relative_l2_error=error,
            distance=found.mode.distance,
            **found.mode.effort,
        )


def _solved(problem: InverseProblem, space_time: SpaceTime, z) -> tuple[Array, Array]:
    """The grid solver's density at the end of every slice, and whether it succeeded."""
    tumor = problem.tumor_at(z)
    solved = simulate(
        tumor.model,
        tumor.regimen,
        tumor.state0(),
        space_time.edges[1:],
        solver=problem.solver,
        start=problem.start,
        max_step=problem.max_step,
    )
    return solved.states, solved.success


@eqx.filter_jit
def _root_mean_square(problem: InverseProblem, space_time: SpaceTime, z, field) -> Array:
    return space_time.root_mean_square(problem.tumor_at(z), field)


@eqx.filter_jit
def _states(system: DiscreteSystem, z, field) -> Array:
    return system.space_time.states(system.problem.tumor_at(z), field)


@eqx.filter_jit
def _seen(system: DiscreteSystem, z, field) -> list[Array]:
    return system.seen(z, field)
