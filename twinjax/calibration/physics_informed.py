"""Calibration by a physics-informed network: the solution and the parameters are found together."""

import logging
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from twinjax.calibration.calibrator import AbstractCalibrator
from twinjax.calibration.checkpoint import Checkpoint
from twinjax.calibration.damped_step import damped_solutions, linearised, next_damping
from twinjax.calibration.iteration import iterate
from twinjax.calibration.network_density import NetworkDensity
from twinjax.calibration.posterior import Posterior
from twinjax.calibration.problem import InverseProblem
from twinjax.core.errors import InputError
from twinjax.network import Network, pirate_net

log = logging.getLogger("twinjax")

# Steps of a block, after which the checkpoint is written and the end is looked for.
BLOCK = 10
# Of so many last steps the losses are compared with those of as many before.
PATIENCE = 30
# A loss that falls by less than this, over `PATIENCE` steps, has come to its end.
STILL_FALLING = 0.8
# The parameters move in every so many steps of the weights.
PARAMETERS_EVERY = 3
FIRST_DAMPING, FIRST_RADIUS, LONGEST_STEP = 1e-2, 0.25, 1.0
# A move of the parameters may raise the equation's mean square residual by this factor.
LARGEST_RISE = 4.0
# Relative L2 error of the network's density against the solver's above which the verdict is in doubt.
LARGEST_ERROR = 1e-2
# A mode this near, in posterior deviations, will do.
NEAR_ENOUGH = 0.2


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


class Trained(NamedTuple):
    """**Fields:** `problem` with its final noise levels; `density` with `network`, whose weights `state` has; `seconds`
    of all sessions.
    """

    problem: InverseProblem
    density: NetworkDensity
    network: Network
    state: Training
    seconds: float

    def states(self) -> Float[Array, "days *grid"]:
        """The network's density on the days of the data."""
        return _states(self.problem, self.density, self.network, self.state)

    def error_against_solver(self) -> float:
        """Relative L2 error of `states` against the solver's with the same parameters; infinite where that fails."""
        solved = self.problem.simulate(self.state.z)
        error = float(jnp.linalg.norm(self.states() - solved.states) / jnp.linalg.norm(solved.states))
        return error if bool(solved.success) else float("inf")


class PhysicsInformedNetwork(AbstractCalibrator):
    """A `NetworkDensity` trained to solve the model's equation while its parameters move to the posterior mode.

    The weights w lower the residual r(w, z) of the equation by Levenberg-Marquardt, on points that are new in every
    step. The parameters z take steps of Gauss and Newton on the problem's own residuals of data and prior, along which
    the network goes on solving the equation: dw/dz = -(r_w' r_w)^-1 r_w' r_z, by the factor of the weights' own step.
    The data so move the network through the parameters alone, and there is no weight between equation and data to
    choose: it is the limit, as that of the equation grows, of the sum of squares of Raissi et al. 2019 (J Comput Phys
    378:686). The curvature along z is that of the profile over the weights; its inverse is the covariance of the draws.

    A small residual is no evidence: the diagnostics have `relative_l2_error`, that of the network's density on the days
    of the data against the solver's with the same parameters, and a verdict in doubt where it is above 1 %.

    **Fields:** `steps` at most, of which the first `warmup` leave the parameters at the prior median; `width`, `blocks`
    and `frequency` of the network (`PirateNet`); `batch`, points a step; `tolerance`: the parameters stand still when
    they move by less (prior deviations); `draws`; `estimate_noise` as in `LevenbergMarquardt`; `checkpoint`.
    """

    steps: int = 240
    warmup: int = 20
    width: int = 16
    blocks: int = 1
    frequency: float = 1.0
    batch: int = 3000
    tolerance: float = 0.02
    draws: int = 1000
    estimate_noise: bool = True
    progress: bool = True
    checkpoint: str | None = None

    def __check_init__(self):
        if min(self.steps, self.blocks, self.batch) < 1 or self.warmup < 0 or self.width < 2 or self.draws < 2:
            raise InputError(
                "PhysicsInformedNetwork: steps, blocks and batch must be >= 1, warmup >= 0, width and draws >= 2"
            )
        if not (self.frequency > 0 and self.tolerance > 0):
            raise InputError("PhysicsInformedNetwork: frequency and tolerance must be positive")

    def fit(self, problem, *, key):
        trained = self.train(problem, key=key)
        return self._posterior(trained, jax.random.fold_in(key, 1))

    def train(self, problem: InverseProblem, *, key) -> "Trained":
        """The network and the parameters; raises `InputError` for a problem that `NetworkDensity` does not describe."""
        of_network, of_training = jax.random.split(key)
        density = NetworkDensity(problem)
        checkpoint = Checkpoint(self.checkpoint, problem, self, key)
        seed = int(jax.random.randint(of_network, (), 0, 2**31 - 1))
        network = pirate_net(density.inputs, width=self.width, blocks=self.blocks, frequency=self.frequency, seed=seed)
        state, seconds = _begun(network, problem.dimension), 0.0
        for stage in ("PINN", "PINN with noise levels")[: 1 + self.estimate_noise]:
            if stage != "PINN":
                problem = problem.with_noise_from_residuals(state.z, _expected(problem, density, network, state))
            found = iterate(
                _step,
                _kept,
                (problem, density, network, of_training, jnp.asarray(self.warmup), self.batch),
                state,
                count=self.steps,
                block=BLOCK,
                checkpoint=checkpoint,
                stage=stage,
                progress=self.progress,
                enough=self._enough,
                told=_told,
            )
            state, seconds = jax.tree.map(jnp.asarray, found.state), seconds + found.seconds
        return Trained(problem, density, network, state, seconds)

    def _enough(self, kept, done: int) -> bool:
        """Whether neither the loss nor the parameters move any longer."""
        losses, z = kept
        if done < self.warmup + 2 * PATIENCE:
            return False
        before, now = np.median(losses[-2 * PATIENCE : -PATIENCE]), np.median(losses[-PATIENCE:])
        return bool(now > STILL_FALLING * before and np.abs(z[-PATIENCE:] - z[-1]).max() < self.tolerance)

    def _posterior(self, trained: "Trained", key) -> Posterior:
        problem, state = trained.problem, trained.state
        z, error = np.asarray(state.z, float), trained.error_against_solver()
        log.info("  network: residual %.2g 1/day, %.2g from the solver", float(jnp.sqrt(state.loss)), error)
        doubts = []
        if not error < LARGEST_ERROR:
            doubts.append(
                f"the network's density is {100 * error:.2g} % (relative L2) from the solver's with the same "
                f"parameters, wanted < {100 * LARGEST_ERROR:g} %: raise steps or width, or take calibrator=laplace"
            )
        if not float(state.distance) < NEAR_ENOUGH:
            doubts.append(
                f"the parameters are still {float(state.distance):.2g} posterior deviations from the mode; raise steps"
            )
        covariance = np.linalg.inv(np.asarray(state.hessian, float))
        white = jax.random.normal(key, (2, -(-self.draws // 2), problem.dimension))
        return Posterior.from_draws(
            problem,
            z + np.asarray(white) @ np.linalg.cholesky(covariance).T,
            z,
            method="physics-informed network and Laplace approximation",
            doubts=doubts,
            effective=float(white[..., 0].size),
            seconds=trained.seconds,
            steps=int(state.count),
            weights=state.weights.size,
            residual=float(jnp.sqrt(state.loss)),
            relative_l2_error=error,
            distance=float(state.distance),
        )


def _begun(network: Network, parameters: int) -> Training:
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


def _kept(state: Training) -> tuple[Array, Array]:
    return state.loss, state.z


def _told(kept) -> dict[str, str]:
    losses, z = kept
    return {"residual": f"{np.sqrt(losses[-1]):.1e}", "z": np.array2string(z[-1], precision=2)}


def _step(arguments, state: Training) -> Training:
    """One step of the weights, and in every third one of the parameters after it."""
    problem, density, network, key, warmup, batch = arguments
    unravel = ravel_pytree(network)[1]
    points = density.points(jax.random.fold_in(key, state.count), batch)

    def residual(weights, point, z, frozen):
        equation = density.equation(problem.tumor_at(z))
        return density.residual(unravel(weights), unravel(frozen), equation, point)

    def residuals(weights, z, frozen):
        return jax.vmap(residual, (None, 0, None, None))(weights, points, z, frozen)

    def mean_square(weights, z, frozen):
        return jnp.mean(residuals(weights, z, frozen) ** 2)

    value, jacobian = linearised(lambda w, point: residual(w, point, state.z, state.weights), state.weights, points)
    along = jax.vmap(
        lambda e: jax.jvp(lambda z: residuals(state.weights, z, state.weights), (state.z,), (e,))[1], out_axes=1
    )(jnp.eye(state.z.size))
    solved = damped_solutions(jacobian, state.damping, jnp.concatenate([value[:, None], along], axis=1))
    change, sensitivity = solved[:, 0], solved[:, 1:]
    before, after = jnp.mean(value**2), mean_square(state.weights + change, state.z, state.weights)
    foreseen = jnp.mean((value + jacobian @ change) ** 2)
    accepted, damping = next_damping(state.damping, before, foreseen, after)
    state = state._replace(
        weights=jnp.where(accepted, state.weights + change, state.weights),
        damping=damping,
        loss=jnp.where(accepted, after, before),
        count=state.count + 1,
    )

    def moved(state: Training) -> Training:
        def data(weights, z):
            tumor = problem.tumor_at(z)
            states = density.states(unravel(weights), density.equation(tumor), problem.times)
            return problem.residuals_of(z, problem.seen(tumor, states))

        def total(direction, unit):
            return jax.jvp(data, (state.weights, state.z), (direction, unit))

        misfit, slope = jax.vmap(total, out_axes=(None, 0))(sensitivity.T, jnp.eye(state.z.size))
        hessian, gradient = slope @ slope.T, slope @ misfit
        step = -jnp.linalg.solve(hessian, gradient)
        distance = jnp.sqrt(-step @ gradient)
        step *= jnp.minimum(1.0, state.radius / jnp.max(jnp.abs(step)))
        weights, z = state.weights + sensitivity @ step, state.z + step
        risen = mean_square(weights, z, state.weights)
        allowed = risen < LARGEST_RISE * state.loss
        return state._replace(
            weights=jnp.where(allowed, weights, state.weights),
            z=jnp.where(allowed, z, state.z),
            radius=jnp.where(allowed, jnp.minimum(1.5 * state.radius, LONGEST_STEP), 0.5 * state.radius),
            hessian=jnp.where(jnp.isfinite(hessian).all(), hessian, state.hessian),
            distance=distance,
        )

    due = (state.count > warmup) & (state.count % PARAMETERS_EVERY == 0)
    return jax.lax.cond(due, moved, lambda state: state, state)


@eqx.filter_jit
def _states(problem: InverseProblem, density: NetworkDensity, network: Network, state: Training) -> Array:
    trained = ravel_pytree(network)[1](state.weights)
    return density.states(trained, density.equation(problem.tumor_at(state.z)), problem.times)


@eqx.filter_jit
def _expected(problem: InverseProblem, density: NetworkDensity, network: Network, state: Training) -> list[Array]:
    return problem.seen(problem.tumor_at(state.z), _states(problem, density, network, state))
