"""Calibration by a physics-informed network: the solution and the parameters are found together."""

import logging
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from twinjax.calibration.calibrator import AbstractCalibrator
from twinjax.calibration.checkpoint import Checkpoint
from twinjax.calibration.independent_solution import LARGEST_ERROR, error_against_solver
from twinjax.calibration.iteration import iterate
from twinjax.calibration.network_density import NetworkDensity
from twinjax.calibration.network_training import System, Training, begun, step
from twinjax.calibration.posterior import Posterior
from twinjax.calibration.problem import InverseProblem
from twinjax.core.errors import InputError
from twinjax.network import pirate_net

log = logging.getLogger("twinjax")

# Steps of a block, after which the checkpoint is written and the end is looked for.
BLOCK = 10
# Of so many last steps the losses are compared with those of as many before.
PATIENCE = 30
# A loss that falls by less than this, over `PATIENCE` steps, has come to its end.
STILL_FALLING = 0.8
# A mode this near, in posterior deviations, will do.
NEAR_ENOUGH = 0.2


class Trained(NamedTuple):
    """**Fields:** `system`, whose problem has the final noise levels; `state`; `seconds` of all sessions; `curves`:
    stage to (steps,) the equation's root mean square residual, 1/day.
    """

    system: System
    state: Training
    seconds: float
    curves: dict[str, np.ndarray]

    def states(self) -> Float[Array, "days *grid"]:
        """The network's density on the days of the data."""
        return _states(self.system, self.state)

    def error_against_solver(self) -> float:
        """Relative L2 error of `states` against the solver's with the same parameters; infinite where that fails."""
        return error_against_solver(self.system.problem, self.state.z, self.states())


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
        """The network and the parameters; `InputError` for a problem that `NetworkDensity` does not describe."""
        of_network, of_training = jax.random.split(key)
        density = NetworkDensity(problem)
        checkpoint = Checkpoint(self.checkpoint, problem, self, key)
        seed = int(jax.random.randint(of_network, (), 0, 2**31 - 1))
        network = pirate_net(density.inputs, width=self.width, blocks=self.blocks, frequency=self.frequency, seed=seed)
        state, seconds, curves = begun(network, problem.dimension), 0.0, {}
        system = System(problem, density, network)
        for stage in ("PINN", "PINN with noise levels")[: 1 + self.estimate_noise]:
            if stage != "PINN":
                problem = problem.with_noise_from_residuals(state.z, _seen(system, state))
                system = eqx.tree_at(lambda s: s.problem, system, problem)
            found = iterate(
                step,
                _kept,
                (system, of_training, jnp.asarray(self.warmup), self.batch),
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
            curves[stage] = np.sqrt(found.kept[0])
        return Trained(system, state, seconds, curves)

    def _enough(self, kept, done: int) -> bool:
        """Whether neither the loss nor the parameters move any longer."""
        losses, z = kept
        if done < self.warmup + 2 * PATIENCE:
            return False
        before, now = np.median(losses[-2 * PATIENCE : -PATIENCE]), np.median(losses[-PATIENCE:])
        return bool(now > STILL_FALLING * before and np.abs(z[-PATIENCE:] - z[-1]).max() < self.tolerance)

    def _posterior(self, trained: "Trained", key) -> Posterior:
        problem, state = trained.system.problem, trained.state
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
            curves=trained.curves,
            seconds=trained.seconds,
            steps=int(state.count),
            weights=state.weights.size,
            residual=float(jnp.sqrt(state.loss)),
            relative_l2_error=error,
            distance=float(state.distance),
        )


def _kept(state: Training) -> tuple[Array, Array]:
    return state.loss, state.z


def _told(kept) -> dict[str, str]:
    losses, z = kept
    return {"residual": f"{np.sqrt(losses[-1]):.1e}", "z": np.array2string(z[-1], precision=2)}


@eqx.filter_jit
def _states(system: System, state: Training) -> Array:
    return system.states(state.weights, state.z)


@eqx.filter_jit
def _seen(system: System, state: Training) -> list[Array]:
    return system.problem.seen(system.problem.tumor_at(state.z), system.states(state.weights, state.z))
