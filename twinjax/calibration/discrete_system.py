"""A field in space-time and the parameters of its equation, expanded together: least squares of physics and data."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from twinjax.calibration.curvature import AbstractExpansion
from twinjax.calibration.problem import InverseProblem
from twinjax.calibration.space_time import SpaceTime

# How far a corrected step may be from the residual that was foreseen (a norm over all voxels and slices, in units of
# `physics_error`: its square is a cost), and how many corrections there are at most: each squares what is missing.
NEAR_ENOUGH, MOST_CORRECTIONS = 1e-2, 10


class DiscreteSystem(eqx.Module):
    """The residuals of the equation and of the data, of a field u and of the parameters z.

    **Fields:** `physics_error` sigma (density per day): the equation counts as one datum with this standard deviation
    in every voxel of every slice.
    """

    problem: InverseProblem
    space_time: SpaceTime
    physics_error: Float[Array, ""]

    def equation(self, z, field) -> Float[Array, "slices *grid"]:
        """The residual of the equation in units of `physics_error`."""
        return self.space_time.residual(self.problem.tumor_at(z), field) / self.physics_error

    def data(self, z, field) -> Float[Array, " residuals"]:
        """`InverseProblem.residuals` of the field: of the data and the prior."""
        return self.problem.residuals_of(z, self.seen(z, field))

    def seen(self, z, field) -> list[Array]:
        """What each datum is expected to be."""
        tumor = self.problem.tumor_at(z)
        return self.problem.seen(tumor, self.space_time.states(tumor, field))

    def along(self, z, field, change_of_z, wanted) -> Float[Array, "slices *grid"]:
        """The change of the field that, beside `change_of_z`, changes `equation` by `wanted`, to first order."""
        foreseen = jax.jvp(lambda z: self.equation(z, field), (z,), (change_of_z,))[1]
        tumor = self.problem.tumor_at(z)
        return self.space_time.correction(tumor, field, self.physics_error * (wanted - foreseen))


class DiscreteExpansion(AbstractExpansion):
    """Half the sum of squares of `equation` and `data` around a field and parameters.

    The coordinates of a step are the changes of z and of `equation`, (parameters + slices * voxels,), from which the
    change of the field follows by `SpaceTime.correction`. The prior and the equation, the stiff part, are then the
    identity of the Hessian, and the data are what is left of it: conjugate gradients take as many products as the data
    inform directions, however strict the equation and however fine the grid.

    A step goes on to a field whose residual is the one that was foreseen, by more such corrections. Without them a
    strict equation, which is nearly a constraint, would let no step pass but a tiny one (the Maratos effect: Nocedal
    and Wright 2006, Numerical Optimization, sections 15.5 and 15.6).
    """

    def __init__(self, system: DiscreteSystem, z, field):
        self.system, self.z, self.field = system, jnp.asarray(z), jnp.asarray(field)
        cost, gradient = (np.asarray(x, float) for x in _expansion(system, self.z, self.field))
        self.gradient = gradient
        self.cost = float(cost) if np.isfinite(cost) and np.isfinite(gradient).all() else np.inf

    def solved(self) -> "DiscreteExpansion":
        """Around the field that leaves nothing of the equation, with the same parameters."""
        left = self.system.equation(self.z, self.field)
        return self.moved(np.asarray(_flat(jnp.zeros_like(self.z), -left), float))

    def product(self, direction):
        return np.asarray(_product(self.system, self.z, self.field, jnp.asarray(direction)), float)

    def moved(self, change):
        return DiscreteExpansion(self.system, *_moved(self.system, self.z, self.field, jnp.asarray(change)))


def _parts(z, field, flat) -> tuple[Array, Array]:
    return flat[: z.size], flat[z.size :].reshape(field.shape)


def _flat(of_z, of_equation) -> Float[Array, " unknowns"]:
    return jnp.concatenate([of_z, of_equation.ravel()])


def _to_data(system: DiscreteSystem, z, field):
    """From a step to the change of `data`; linear."""

    def change(step):
        change_of_z, wanted = _parts(z, field, step)
        change_of_field = system.along(z, field, change_of_z, wanted)
        return jax.jvp(system.data, (z, field), (change_of_z, change_of_field))[1]

    return change


@eqx.filter_jit
def _expansion(system: DiscreteSystem, z, field) -> tuple[Array, Array]:
    equation, data = system.equation(z, field), system.data(z, field)
    _, pull = jax.vjp(_to_data(system, z, field), jnp.zeros_like(_flat(z, field)))
    return (jnp.sum(equation**2) + jnp.sum(data**2)) / 2, _flat(jnp.zeros_like(z), equation) + pull(data)[0]


@eqx.filter_jit
def _product(system: DiscreteSystem, z, field, direction) -> Float[Array, " unknowns"]:
    change, pull = jax.vjp(_to_data(system, z, field), direction)
    return _flat(jnp.zeros_like(z), direction[z.size :]) + pull(change)[0]


@eqx.filter_jit
def _moved(system: DiscreteSystem, z, field, step) -> tuple[Array, Array]:
    change_of_z, wanted = _parts(z, field, step)
    foreseen = system.equation(z, field) + wanted
    z, field = z + change_of_z, field + system.along(z, field, change_of_z, wanted)

    def goes_on(state):
        _, missing, count = state
        return (jnp.sum(missing**2) > NEAR_ENOUGH**2) & (count < MOST_CORRECTIONS)

    def corrected(state):
        field, missing, count = state
        field = field + system.along(z, field, jnp.zeros_like(z), missing)
        return field, foreseen - system.equation(z, field), count + 1

    state = field, foreseen - system.equation(z, field), 0
    return z, jax.lax.while_loop(goes_on, corrected, state)[0]
