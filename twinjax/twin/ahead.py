"""The tumours of the posterior's draws from the day of a decision on, as a function of what is given then."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from twinjax.calibration import InverseProblem, Tumor
from twinjax.core.errors import InputError, SolverError
from twinjax.model import AbstractSpatialModel
from twinjax.simulation import Trajectory, side_by_side
from twinjax.treatment import Regimen
from twinjax.twin.adjustable import PlanVariables
from twinjax.twin.control import AbstractControl
from twinjax.twin.course import CHUNK
from twinjax.twin.solution import quantities_of, solved

# On a grid reverse mode is quicker for more variables; without space forward mode always is.
MOST_FORWARD = 8


class Ahead(eqx.Module):
    """Draws of one tumour on the day of a decision; what went before is solved once.

    **Fields:** `tumor`, with the past in its regimen; `z` (draws, parameters); `states`, each with a leading axis of
    draws; `day`, of the decision; `outcome`, the quantity that is followed.
    """

    tumor: Tumor
    problem: InverseProblem
    z: Float[Array, "draws parameters"]
    states: Any
    day: Float[Array, ""]
    outcome: str = eqx.field(static=True)

    @classmethod
    def of(cls, tumor: Tumor, problem: InverseProblem, z: np.ndarray, day: float, outcome: str) -> "Ahead":
        """Solve up to the decision. Draws that cannot be solved are left out.

        Raises `InputError` for an outcome that the model does not predict, `SolverError` where more than a tenth of
        the draws fail.
        """
        one = jnp.asarray(day, float)
        problem = problem.without_data()
        states, success = _until(tumor, problem, jnp.asarray(z), one)
        known = eqx.filter_eval_shape(quantities_of, tumor, Trajectory(one[None], states, success[0]))
        if outcome not in known:
            raise InputError(f"outcome '{outcome}' is not predicted by the model; choose one of {', '.join(known)}")
        kept = np.flatnonzero(np.asarray(success))
        if len(kept) < 0.9 * len(z):
            raise SolverError(
                f"{len(z) - len(kept)} of {len(z)} draws could not be solved; the posterior is not usable"
            )
        return cls(tumor, problem, jnp.asarray(z)[kept], jax.tree.map(lambda leaf: leaf[kept], states), one, outcome)

    def courses(self, regimen: Regimen, times: np.ndarray) -> Float[np.ndarray, "draws T"]:
        """The outcome at `times` under all that is given, past and ahead; `SolverError` where a solve fails."""
        found, success = _courses(self, regimen, jnp.asarray(times, float))
        return np.asarray(all_solved(found, success))

    def losses(
        self, variables: PlanVariables, control: AbstractControl, x: np.ndarray, times: np.ndarray
    ) -> tuple[Float[np.ndarray, " draws"], Float[np.ndarray, "draws size"]]:
        """The loss of each draw under the plan of x, and its gradient in x; `SolverError` where a solve fails."""
        days = jnp.asarray(control.times(times), float)
        losses, gradients, success = _losses(self, variables, control, jnp.asarray(x, float), days)
        return np.asarray(all_solved(losses, success)), np.asarray(gradients)

    def under(self, regimen: Regimen, z: Float[Array, " parameters"]) -> Tumor:
        """The tumour of one draw under all that is given, past and ahead."""
        tumor = eqx.tree_at(lambda tumor: tumor.regimen, self.tumor, regimen)
        return tumor.with_parameters(self.problem.forecast_prior, z)

    def each(self, function):
        """`function(z, state)` of every draw: some at once without space, one after the other on a grid."""
        return jax.lax.map(lambda draw: function(*draw), (self.z, self.states), batch_size=_at_once(self.tumor))

    def _course(self, z, state, regimen: Regimen, times, adjoint: diffrax.AbstractAdjoint | None = None):
        tumor = self.under(regimen, z)
        trajectory = solved(tumor, self.problem, times, state=state, start=self.day, adjoint=adjoint)
        return quantities_of(tumor, trajectory)[self.outcome], trajectory.success


def _at_once(tumor: Tumor) -> int | None:
    return CHUNK if side_by_side(tumor.model) else None


@eqx.filter_jit
def _until(tumor: Tumor, problem: InverseProblem, z, day):
    def one(z):
        drawn = tumor.with_parameters(problem.forecast_prior, z)
        trajectory = solved(drawn, problem, day[None])
        return jax.tree.map(lambda leaf: leaf[0], trajectory.states), trajectory.success

    return jax.lax.map(one, z, batch_size=_at_once(tumor))


@eqx.filter_jit
def _courses(ahead: Ahead, regimen: Regimen, times):
    return ahead.each(lambda z, state: ahead._course(z, state, regimen, times))


@eqx.filter_jit
def _losses(ahead: Ahead, variables: PlanVariables, control: AbstractControl, x, times):
    forward = variables.size <= MOST_FORWARD or not isinstance(ahead.tumor.model, AbstractSpatialModel)
    adjoint = diffrax.ForwardMode() if forward else None

    def one(z, state):
        def loss(x):
            course, success = ahead._course(z, state, variables.at(x), times, adjoint)
            return control.loss(times, course), success

        if not forward:
            (value, success), gradient = jax.value_and_grad(loss, has_aux=True)(x)
            return value, gradient, success

        def along(direction):
            return jax.jvp(loss, (x,), (direction,), has_aux=True)

        value, gradient, success = jax.vmap(along, out_axes=(None, 0, None))(jnp.eye(x.size))
        return value, gradient, success

    return ahead.each(one)


def all_solved(values, success):
    """`values`, or `SolverError` where a draw could not be solved."""
    if failed := int(np.sum(~np.asarray(success))):
        raise SolverError(
            f"{failed} of {len(success)} draws could not be solved under a plan; the posterior is not usable"
        )
    return values
