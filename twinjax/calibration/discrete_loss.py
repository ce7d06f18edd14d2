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

# What conjugate gradients leave unsolved of a column of the covariance.
UNSOLVED = 1e-3
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
        return _root_mean_square(self.system, self.mode.expansion.z, self.mode.expansion.field)

    def covariance(self, most_products: int) -> Float[np.ndarray, "parameters parameters"]:
        """Of z, whatever the field is: a block of the inverse of the Hessian in all unknowns."""
        here, count = self.mode.expansion, self.mode.expansion.z.size
        units = np.eye(count, here.gradient.size)
        columns = [steihaug(here.product, -unit, np.inf, UNSOLVED, most_products).change[:count] for unit in units]
        return (np.stack(columns) + np.stack(columns).T) / 2


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

        Raises `InputError` for a problem that `SpaceTime` does not describe, or whose solve fails there.
        """
        began = time.perf_counter()
        space_time = SpaceTime(problem, self.slices)
        z = jnp.zeros(problem.dimension)
        field, success = _solved(problem, space_time, z)
        if not bool(success):
            raise problem.failure_at(z, "at the prior median: check the priors")
        system = DiscreteSystem(problem, space_time, jnp.ones(()))
        system = _with_error(system, self.physics_error or max(_root_mean_square(system, z, field), STRICTEST))
        search = NewtonCG(self.max_steps, self.tolerance, self.max_products)
        mode = search.descend(DiscreteExpansion(system, z, field).solved())
        if self.estimate_noise:
            here = mode.expansion
            noisy = problem.with_noise_from_residuals(here.z, _seen(system, here.z, here.field))
            system = eqx.tree_at(lambda s: s.problem, system, noisy)
            mode = search.descend(DiscreteExpansion(system, here.z, here.field)).after(mode)
        return Found(system, mode, time.perf_counter() - began)

    def _posterior(self, found: Found, key) -> Posterior:
        problem, z = found.system.problem, np.asarray(found.mode.expansion.z, float)
        error, doubts = found.error_against_solver(), found.mode.doubts
        if not error < LARGEST_ERROR:
            doubts.append(
                f"the field is {100 * error:.2g} % (relative L2) from the solver's density with the same parameters, "
                f"wanted < {100 * LARGEST_ERROR:g} %: raise slices, or lower physics_error where one is given"
            )
        white = jax.random.normal(key, (2, -(-self.draws // 2), problem.dimension))
        root = np.linalg.cholesky(found.covariance(self.max_products))
        return Posterior.from_draws(
            problem,
            z + np.asarray(white) @ root.T,
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


def _with_error(system: DiscreteSystem, error: float) -> DiscreteSystem:
    return eqx.tree_at(lambda s: s.physics_error, system, jnp.asarray(error, float))


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
def _mean_square(system: DiscreteSystem, z, field) -> Array:
    left = system.physics_error * system.equation(z, field)
    return jnp.sum(left**2) / (field.shape[0] * jnp.sum(system.problem.tumor.model.domain.mask))


def _root_mean_square(system: DiscreteSystem, z, field) -> float:
    return float(jnp.sqrt(_mean_square(system, z, field)))


@eqx.filter_jit
def _states(system: DiscreteSystem, z, field) -> Array:
    return system.space_time.states(system.problem.tumor_at(z), field)


@eqx.filter_jit
def _seen(system: DiscreteSystem, z, field) -> list[Array]:
    return system.seen(z, field)
