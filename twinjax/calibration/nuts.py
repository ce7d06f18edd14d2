"""The No-U-Turn sampler, started from and preconditioned by the Laplace approximation."""

import functools
import logging

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer.hmc import hmc

from twinjax.calibration.calibrator import AbstractCalibrator
from twinjax.calibration.checkpoint import Checkpoint
from twinjax.calibration.density import differentiable_log_density
from twinjax.calibration.diagnostics import energy_information
from twinjax.calibration.filled import filled
from twinjax.calibration.iteration import iterate
from twinjax.calibration.levenberg_marquardt import LevenbergMarquardt
from twinjax.calibration.posterior import Posterior
from twinjax.core.errors import InputError
from twinjax.core.products import product
from twinjax.simulation import side_by_side

log = logging.getLogger("twinjax")

# Transitions between two checkpoints.
BLOCK = 10
# Below, momenta do not reach all energies of the target: tails that the chains hardly enter (Betancourt 2016,
# arXiv:1604.00695; the limit is that of Stan).
SMALLEST_ENERGY_INFORMATION = 0.3
# Shares of the draws that may diverge, or end at the longest trajectory that was allowed.
MOST_DIVERGENT, MOST_SATURATED = 0.01, 0.1
CHAIN_METHODS = ("auto", "vectorized", "parallel", "sequential")


class NoUTurnSampler(AbstractCalibrator):
    """NUTS (Hoffman and Gelman 2014, JMLR 15:1593) by NumPyro, in coordinates whitened by the Laplace covariance.

    The mode and its covariance come from `mode`; chains start around the mode. A gradient costs several solves, and
    a draw several gradients: for partial differential equations `ImportanceSampler` is much the quicker.

    **Fields:** `samples` (over all chains), `warmup` (per chain), `chains`, `target_accept`, `max_tree_depth`,
    `chain_method`: `"vectorized"` (chains side by side in one program), `"parallel"` (a device each), `"sequential"`
    (one after the other), or `"auto"`, the quickest for the size of the problem; `progress` (a bar on the terminal);
    `checkpoint`, a folder from which an interrupted run goes on.
    """

    samples: int = 600
    warmup: int = 60
    chains: int = 2
    target_accept: float = 0.8
    max_tree_depth: int = 5
    chain_method: str = "auto"
    progress: bool = True
    checkpoint: str | None = None
    mode: LevenbergMarquardt = LevenbergMarquardt()

    def __check_init__(self):
        if self.chains < 2 or self.samples < self.chains * 4 or self.warmup < 1:
            raise InputError("NUTS needs at least 2 chains (for R-hat), 4 samples a chain and 1 warm-up step")
        if not 0 < self.target_accept < 1:
            raise InputError(f"NUTS: target_accept lies between 0 and 1, got {self.target_accept}")
        if self.max_tree_depth < 1:
            raise InputError(f"NUTS: max_tree_depth must be at least 1, got {self.max_tree_depth}")
        if self.chain_method not in CHAIN_METHODS:
            raise InputError(f"NUTS: chain_method is one of {', '.join(CHAIN_METHODS)}, got '{self.chain_method}'")
        if self.chain_method == "parallel" and jax.local_device_count() < self.chains:
            raise InputError(
                f"NUTS: chain_method='parallel' needs {self.chains} devices, one a chain, and JAX has "
                f"{jax.local_device_count()}; take 'auto', or lower chains"
            )

    def fit(self, problem, *, key):
        key_mode, key_start, key_chain = jax.random.split(key, 3)
        checkpoint = Checkpoint(self.checkpoint, problem, self, key)
        problem, mode, before = self.mode.kept_mode(problem, key=key_mode, checkpoint=checkpoint)
        root = np.linalg.cholesky(mode.covariance)
        arguments = (filled(problem).problem, jnp.asarray(mode.z), jnp.asarray(root))
        start, step = _sampler(
            self.warmup, self.target_accept, self.max_tree_depth, self._chain_method(problem), self.chains
        )
        each = -(-self.samples // self.chains)
        log.info("  NUTS: %d chains of %d warm-up and %d draws", self.chains, self.warmup, each)
        xi = 0.5 * jax.random.normal(key_start, (self.chains, problem.dimension))
        keys = jax.vmap(jax.random.key_data)(jax.random.split(key_chain, self.chains))
        done = iterate(
            step,
            _kept,
            arguments,
            start(arguments, xi, keys),
            count=self.warmup + each,
            block=BLOCK,
            checkpoint=checkpoint,
            stage="NUTS",
            progress=self.progress,
        )
        # (transitions, chains) to (chains, draws).
        kept = {name: np.swapaxes(value[self.warmup :], 0, 1) for name, value in done.kept.items()}
        divergent, saturated = int(kept["diverging"].sum()), float(np.mean(kept["leaps"] >= 2**self.max_tree_depth - 1))
        energy = energy_information(kept["energy"])
        doubts = mode.doubts
        if divergent > MOST_DIVERGENT * kept["diverging"].size:
            doubts.append(f"{divergent} divergent transitions")
        if saturated > MOST_SATURATED:
            doubts.append(
                f"{100 * saturated:.0f} % of trajectories were cut at max_tree_depth={self.max_tree_depth}; raise it"
            )
        if energy < SMALLEST_ENERGY_INFORMATION:
            doubts.append(
                f"the chains hardly reach the tails (E-BFMI {energy:.2f}, wanted > {SMALLEST_ENERGY_INFORMATION})"
            )
        return Posterior.from_draws(
            problem,
            mode.z + product(kept["xi"], root.T),
            mode.z,
            method="NUTS",
            doubts=doubts,
            seconds=before + done.seconds,
            gradients=int(done.kept["leaps"].sum()),
            divergences=divergent,
            e_bfmi=energy,
            tree_depth_saturated=saturated,
            accept_probability=float(kept["accept_probability"].mean()),
            **mode.report,
        )

    def _chain_method(self, problem) -> str:
        if self.chain_method != "auto":
            return self.chain_method
        if side_by_side(problem.tumor.model):
            return "vectorized"
        return "parallel" if jax.local_device_count() >= self.chains else "sequential"


@functools.lru_cache
def _sampler(warmup: int, target_accept: float, max_tree_depth: int, chain_method: str, chains: int):
    """The first state of all chains, and the step from one state to the next, which fits of the same shapes share."""
    initial, following = hmc(potential_fn_gen=_potential, algo="NUTS")

    @eqx.filter_jit
    def start(arguments, xi, keys):
        def one(xi, key):
            return initial(
                xi,
                warmup,
                step_size=0.5,
                adapt_mass_matrix=False,
                target_accept_prob=target_accept,
                max_tree_depth=max_tree_depth,
                model_args=arguments,
                rng_key=key,
            )

        return jax.vmap(one)(xi, keys) if chain_method == "vectorized" else jax.lax.map(lambda x: one(*x), (xi, keys))

    def together(arguments, states):
        return jax.vmap(lambda state: following(state, arguments))(states)

    def one_by_one(arguments, states):
        return jax.lax.map(lambda state: following(state, arguments), states)

    def a_device_each(arguments, states):
        arrays, static = eqx.partition(arguments, eqx.is_array)
        mesh = jax.sharding.Mesh(jax.local_devices()[:chains], ("chain",))
        here, there = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec("chain")
        return jax.shard_map(
            lambda arrays, states: one_by_one(eqx.combine(arrays, static), states),
            mesh=mesh,
            in_specs=(here, there),
            out_specs=there,
            check_vma=False,
        )(arrays, states)

    steps = {"vectorized": together, "sequential": one_by_one, "parallel": a_device_each}
    return start, steps[chain_method]


def _potential(problem, center, scale):
    return lambda xi: -differentiable_log_density(problem, center + product(scale, xi))


def _kept(states):
    return {
        "xi": states.z,
        "diverging": states.diverging,
        "leaps": states.num_steps,
        "energy": states.energy,
        "accept_probability": states.accept_prob,
    }
