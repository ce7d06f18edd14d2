"""First derivatives of the residuals: the Jacobian, and products with the Gauss-Newton Hessian for many unknowns."""

import abc
from functools import partial
from typing import TypeVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from twinjax.calibration.problem import InverseProblem


class AbstractExpansion(abc.ABC):
    """Half a sum of squares around one point, in coordinates of which the squares are a part: no curvature is below 1.

    **Fields:** `cost`, infinite where it cannot be had; `gradient` (n,).
    """

    cost: float
    gradient: Float[np.ndarray, " n"]

    @abc.abstractmethod
    def product(self, direction: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """The Gauss-Newton Hessian times a direction."""

    @abc.abstractmethod
    def moved(self: "Expanded", change: Float[np.ndarray, " n"]) -> "Expanded":
        """The expansion around another point, to first order in `change` that far away."""


Expanded = TypeVar("Expanded", bound=AbstractExpansion)


class Expansion(AbstractExpansion):
    """The cost of a problem, half the sum of squares of its residuals, around one z.

    In whitened coordinates the Gauss-Newton Hessian is I + J^T J, with J the derivative of the residuals of the data
    alone: the prior-preconditioned Hessian of Bui-Thanh et al. 2013 (SIAM J Sci Comput 35:A2494).

    **Fields:** `z`, `gradient` (n,); `cost`, infinite where the solve or its derivative fails. Both in double precision
    whatever that of the solve; the gradient is by the checkpointed adjoint.
    """

    def __init__(self, problem: InverseProblem, z: np.ndarray):
        self.problem, self.z = problem, np.asarray(z, float)
        residuals, gradient = (np.asarray(x).astype(float) for x in _expansion(problem, jnp.asarray(z, float)))
        solved = np.isfinite(residuals).all() and np.isfinite(gradient).all()
        self.cost = 0.5 * float(residuals @ residuals) if solved else np.inf
        self.gradient = gradient

    def product(self, direction: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """(I + J^T J) direction: one forward-mode and one reverse-mode derivative of a solve."""
        return np.asarray(
            gauss_newton_product(self.problem, jnp.asarray(self.z, float), jnp.asarray(direction, float))
        ).astype(float)

    def moved(self, change: Float[np.ndarray, " n"]) -> "Expansion":
        return Expansion(self.problem, self.z + change)


@eqx.filter_jit
def _expansion(problem: InverseProblem, z):
    residuals, pull = jax.vjp(problem.residuals, z)
    return residuals, pull(residuals)[0]


@eqx.filter_jit
def residuals_and_jacobian(
    problem: InverseProblem, z: Float[Array, " n"], directions: Float[Array, "some n"]
) -> tuple[Float[Array, " residuals"], Float[Array, "some residuals"], list[Array]]:
    """The residuals, their derivatives along some directions, side by side in forward mode, and the predictions."""

    def at(z):
        expected, success = problem.predictions(z, adjoint=diffrax.ForwardMode())
        return problem.residuals_of(z, expected, success), expected

    def along(direction):
        return jax.jvp(at, (z,), (direction,), has_aux=True)

    return jax.vmap(along, out_axes=(None, 0, None))(directions)


@eqx.filter_jit
def gauss_newton_product(
    problem: InverseProblem, z: Float[Array, " n"], direction: Float[Array, " n"]
) -> Float[Array, " n"]:
    """(I + J^T J) direction at z."""
    _, along = jax.jvp(partial(problem.residuals, adjoint=diffrax.ForwardMode()), (z,), (direction,))
    _, pull = jax.vjp(problem.residuals, z)
    return pull(along)[0]
