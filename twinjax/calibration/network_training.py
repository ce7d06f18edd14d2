"""Steps by which a network and the parameters of its equation come to the solution and the posterior mode together."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from twinjax.calibration.damped_step import damped_solutions, linearised, next_damping
from twinjax.calibration.network_density import NetworkDensity, Points
from twinjax.calibration.problem import InverseProblem
from twinjax.core.products import product
from twinjax.network import Network

# The parameters move in every so many steps of the weights.
PARAMETERS_EVERY = 3
FIRST_DAMPING, FIRST_RADIUS, LONGEST_STEP = 1e-2, 0.25, 1.0
# A move of the parameters may raise the equation's mean square residual by this factor.
LARGEST_RISE = 4.0


class Training(NamedTuple):
    """How far it has come.

    **Fields:** `weights` of the network; `z`; `damping` of the weights' steps and `radius` of the parameters' (prior
    deviations); `hessian` of Gauss and Newton in z and `distance` to the mode (posterior deviations), both of the last
    move; `loss`, the mean square residual of the equation; `count` of steps.
    """

    weights: Float[Array, " weights"]
    z: Float[Array, " parameters"]
    damping: Float[Array, ""]
    radius: Float[Array, ""]
    hessian: Float[Array, "parameters parameters"]
    distance: Float[Array, ""]
    loss: Float[Array, ""]
    count: Int[Array, ""]


def begun(network: Network, parameters: int) -> Training:
    """At the prior median."""
    weights = ravel_pytree(network)[0]
    return Training(
        weights,
        jnp.zeros(parameters),
        jnp.asarray(FIRST_DAMPING),
        jnp.asarray(FIRST_RADIUS),
        jnp.eye(parameters),
        jnp.asarray(jnp.inf),
        jnp.asarray(jnp.inf),
        jnp.asarray(0),
    )


class System(eqx.Module):
    """The residuals of an equation and of the data, as functions of flat weights and of the parameters z.

    **Fields:** `network`, whose shape the weights have; `frozen` weights give the density by which points count.
    """

    problem: InverseProblem
    density: NetworkDensity
    network: Network

    def residual(self, weights, point: Points, z, frozen) -> Float[Array, ""]:
        equation = self.density.equation(self.problem.tumor_at(z))
        unravel = ravel_pytree(self.network)[1]
        return self.density.residual(unravel(weights), unravel(frozen), equation, point)

    def residuals(self, weights, points: Points, z, frozen) -> Float[Array, " points"]:
        return jax.vmap(self.residual, (None, 0, None, None))(weights, points, z, frozen)

    def mean_square(self, weights, points: Points, z, frozen) -> Float[Array, ""]:
        return jnp.mean(self.residuals(weights, points, z, frozen) ** 2)

    def along_parameters(self, weights, points: Points, z) -> Float[Array, "points parameters"]:
        """The derivatives of `residuals` in z."""

        def along(unit):
            return jax.jvp(lambda z: self.residuals(weights, points, z, weights), (z,), (unit,))[1]

        return jax.vmap(along, out_axes=1)(jnp.eye(z.size))

    def states(self, weights, z) -> Float[Array, "days *grid"]:
        """The network's density on the days of the data."""
        trained = ravel_pytree(self.network)[1](weights)
        return self.density.states(trained, self.density.equation(self.problem.tumor_at(z)), self.problem.times)

    def data(self, weights, z) -> Float[Array, " residuals"]:
        """`InverseProblem.residuals` of the network's density."""
        return self.problem.residuals_of(z, self.problem.seen(self.problem.tumor_at(z), self.states(weights, z)))


def step(arguments, state: Training) -> Training:
    """One step of the weights, and every third time, after the warm-up, one of the parameters.

    `arguments`: the system, a key, how many steps the warm-up has, how many points a step has.
    """
    system, key, warmup, batch = arguments
    points = system.density.points(jax.random.fold_in(key, state.count), batch)
    state, sensitivity = _weights_moved(system, points, state)
    due = (state.count > warmup) & (state.count % PARAMETERS_EVERY == 0)
    return jax.lax.cond(
        due, lambda state: _parameters_moved(system, points, sensitivity, state), lambda state: state, state
    )


def _weights_moved(
    system: System, points: Points, state: Training
) -> tuple[Training, Float[Array, "weights parameters"]]:
    """After a step of Levenberg and Marquardt; and dw/dz, along which the equation goes on being solved."""
    w, z = state.weights, state.z
    value, jacobian = linearised(lambda weights, point: system.residual(weights, point, z, w), w, points)
    right = jnp.concatenate([value[:, None], system.along_parameters(w, points, z)], axis=1)
    solved = damped_solutions(jacobian, state.damping, right)
    change, sensitivity = solved[:, 0], solved[:, 1:]
    before, after = jnp.mean(value**2), system.mean_square(w + change, points, z, w)
    foreseen = jnp.mean((value + product(jacobian, change)) ** 2)
    accepted, damping = next_damping(state.damping, before, foreseen, after)
    moved = state._replace(
        weights=jnp.where(accepted, w + change, w),
        damping=damping,
        loss=jnp.where(accepted, after, before),
        count=state.count + 1,
    )
    return moved, sensitivity


def _parameters_moved(system: System, points: Points, sensitivity, state: Training) -> Training:
    """After a step of Gauss and Newton in z, if the network follows it."""

    def along(direction, unit):
        return jax.jvp(system.data, (state.weights, state.z), (direction, unit))

    misfit, slope = jax.vmap(along, out_axes=(None, 0))(sensitivity.T, jnp.eye(state.z.size))
    hessian, gradient = product(slope, slope.T), product(slope, misfit)
    change = -jnp.linalg.solve(hessian, gradient)
    distance = jnp.sqrt(-product(change, gradient))
    change *= jnp.minimum(1.0, state.radius / jnp.max(jnp.abs(change)))
    weights, z = state.weights + product(sensitivity, change), state.z + change
    allowed = system.mean_square(weights, points, z, state.weights) < LARGEST_RISE * state.loss
    return state._replace(
        weights=jnp.where(allowed, weights, state.weights),
        z=jnp.where(allowed, z, state.z),
        radius=jnp.where(allowed, jnp.minimum(1.5 * state.radius, LONGEST_STEP), 0.5 * state.radius),
        hessian=jnp.where(jnp.isfinite(hessian).all(), hessian, state.hessian),
        distance=distance,
    )
