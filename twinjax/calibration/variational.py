"""Stochastic variational inference by NumPyro, started from the Laplace approximation."""

import functools
import logging

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
from numpyro.infer import SVI, Trace_ELBO, init_to_value
from numpyro.infer.autoguide import (
    AutoContinuous,
    AutoDiagonalNormal,
    AutoIAFNormal,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
)

from twinjax.calibration.calibrator import AbstractCalibrator
from twinjax.calibration.checkpoint import Checkpoint
from twinjax.calibration.density import differentiable_log_density, log_densities
from twinjax.calibration.diagnostics import smoothed_weights
from twinjax.calibration.evidence import log_mean_weight
from twinjax.calibration.importance import LARGEST_PARETO_K
from twinjax.calibration.iteration import iterate
from twinjax.calibration.levenberg_marquardt import LevenbergMarquardt
from twinjax.calibration.posterior import Posterior
from twinjax.core.errors import InputError
from twinjax.core.products import product

log = logging.getLogger("twinjax")

# The spread of the guide about the mode to begin with is that of the Laplace approximation.
GUIDES = {
    "normal": functools.partial(AutoDiagonalNormal, init_scale=1.0),
    "low_rank": functools.partial(AutoLowRankMultivariateNormal, init_scale=1.0),
    "multivariate": functools.partial(AutoMultivariateNormal, init_scale=1.0),
    # Inverse autoregressive flows (Kingma et al. 2016).
    "flow": functools.partial(AutoIAFNormal, num_flows=2, hidden_dims=[16, 16]),
}
# Steps of a block, after which the ELBO is looked at; the plateau is reached where its mean over so many last blocks
# is, within its error, no higher than over as many before.
BLOCK, PATIENCE = 50, 2


class VariationalInference(AbstractCalibrator):
    """A guide that is moved towards the posterior by stochastic gradients of the ELBO, then corrected by its weights.

    The coordinates are those that the Laplace approximation of `mode` whitens, in which every guide starts at the
    standard normal (the flow near it). Whether the guide may be trusted is told by the shape k of the tail of the
    importance weights of its draws (Yao et al. 2018, ICML), by which they are then resampled unless `resample` is
    false. Their mean is the evidence.

    **Fields:** `guide`: `"normal"`, `"low_rank"`, `"multivariate"` or `"flow"`; `steps` at most, of Adam with
    `learning_rate`, each with `particles` draws; sooner where the ELBO stays where it is; `proposals` of the guide
    whose weights are computed; `draws`, rounded up to an even number; `resample`; `progress` (a bar on the terminal);
    `checkpoint`, a folder from which an interrupted run goes on; `mode`.
    """

    guide: str = "multivariate"
    steps: int = 2000
    learning_rate: float = 1e-2
    particles: int = 4
    proposals: int = 500
    draws: int = 1000
    resample: bool = True
    progress: bool = True
    checkpoint: str | None = None
    mode: LevenbergMarquardt = LevenbergMarquardt()

    def __check_init__(self):
        if self.guide not in GUIDES:
            raise InputError(f"VariationalInference: guide is one of {', '.join(GUIDES)}, got '{self.guide}'")
        if self.steps < BLOCK or self.particles < 1 or not self.learning_rate > 0:
            raise InputError(
                f"VariationalInference: steps must be at least {BLOCK}, particles at least 1, learning_rate positive"
            )
        if self.proposals < 100 or self.draws < 100:
            raise InputError("VariationalInference: proposals and draws must be at least 100")

    def fit(self, problem, *, key):
        if self.guide == "flow" and problem.dimension < 2:
            raise InputError("VariationalInference: guide='flow' needs two parameters or more; take 'normal'")
        key_mode, key_start, key_draw, key_resample = jax.random.split(key, 4)
        checkpoint = Checkpoint(self.checkpoint, problem, self, key)
        problem, mode, before = self.mode.kept_mode(problem, key=key_mode, checkpoint=checkpoint)
        root = np.linalg.cholesky(mode.covariance)
        arguments = (problem, jnp.asarray(mode.z), jnp.asarray(root))
        fitting = _fitting(self.guide, self.learning_rate, self.particles, problem.dimension)
        done = iterate(
            fitting.step,
            fitting.keep,
            arguments,
            fitting.start(jax.random.key_data(key_start), problem.dimension),
            count=self.steps,
            block=BLOCK,
            checkpoint=checkpoint,
            stage="SVI",
            progress=self.progress,
            enough=_plateau,
        )
        xi, guide_density = fitting.draw(done.state, arguments, jax.random.key_data(key_draw), self.proposals)
        z = mode.z + np.asarray(xi, float) @ root.T
        target = log_densities(problem, z)
        # The guide's density in z: that in the whitened coordinates over the volume of a unit of them.
        proposal = np.asarray(guide_density, float) - np.linalg.slogdet(root)[1]
        ratio = np.where(np.isfinite(target), target - proposal, -1e30)
        log_weights, pareto_k = smoothed_weights(ratio)
        weights = np.exp(log_weights - log_weights.max())
        weights /= weights.sum()
        doubts = mode.doubts
        if not pareto_k < LARGEST_PARETO_K:
            doubts.append(
                f"the {self.guide} guide is not near the posterior (Pareto k {pareto_k:.2f}, wanted < "
                f"{LARGEST_PARETO_K}); take guide=flow, or another calibrator"
            )
        if not (stopped := _plateau(done.kept, done.done)):
            doubts.append(f"the ELBO still rose after {done.done} steps; raise steps")
        shape = (2, -(-self.draws // 2))
        likely = jnp.asarray(weights) if self.resample else None
        chosen = jax.random.choice(key_resample, len(z), shape, p=likely)
        log_evidence, log_evidence_error = log_mean_weight(ratio)
        log.info("  SVI: %d steps, Pareto k %.2f", done.done, pareto_k)
        return Posterior.from_draws(
            problem,
            z[np.asarray(chosen)],
            mode.z,
            method=f"variational inference ({self.guide} guide)",
            doubts=doubts,
            effective=float(1 / np.sum(weights**2)) if self.resample else float(len(z)),
            seconds=before + done.seconds,
            gradients=done.done * self.particles,
            steps=done.done,
            plateau=stopped,
            # Of the density in z, as the evidence is.
            elbo=float(np.linalg.slogdet(root)[1] - np.mean(done.kept[-BLOCK:])),
            pareto_k=pareto_k,
            # The negative ELBO, in the whitened coordinates.
            curves={"SVI": np.asarray(done.kept)},
            solver_failures=int(np.sum(~np.isfinite(target))),
            log_evidence=log_evidence,
            log_evidence_error=log_evidence_error,
            **mode.report,
        )


def _plateau(losses: np.ndarray, done: int) -> bool:
    """Whether the mean loss of the last blocks is, within its error, no lower than that of the blocks before."""
    few = PATIENCE * BLOCK
    if done < 2 * few:
        return False
    old, new = losses[done - 2 * few : done - few], losses[done - few : done]
    error = np.sqrt((old.var() + new.var()) / len(new))
    return bool(old.mean() - new.mean() < error)


class _Fitting(eqx.Module):
    """SVI of one guide: fits of problems with as many parameters share its compiled programs."""

    svi: SVI = eqx.field(static=True)
    guide: AutoContinuous = eqx.field(static=True)

    def start(self, key, dimension: int):
        # The parameters of a guide do not depend on the density, which need not be solved for them.
        return self.svi.init(key, None, jnp.zeros(dimension), jnp.eye(dimension)), jnp.zeros(())

    def step(self, arguments, state):
        return self.svi.stable_update(state[0], *arguments)

    def keep(self, state):
        return state[1]

    def draw(self, state, arguments, key, count: int):
        """(count, parameters) draws of the guide, and the logarithm of its density at each."""
        posterior = self.guide.get_posterior(self.svi.get_params(state[0]))
        # Through the flow in one direction only: the other takes a solve for every parameter.
        if isinstance(posterior, dist.TransformedDistribution):
            xi, between = posterior.sample_with_intermediates(key, (count,))
            return xi, posterior.log_prob(xi, intermediates=between)
        xi = posterior.sample(key, (count,))
        return xi, posterior.log_prob(xi)


@functools.lru_cache
def _fitting(guide: str, learning_rate: float, particles: int, dimension: int) -> _Fitting:
    made = GUIDES[guide](_model, init_loc_fn=init_to_value(values={"xi": jnp.zeros(dimension)}))
    loss = Trace_ELBO(num_particles=particles, vectorize_particles=True)
    return _Fitting(SVI(_model, made, optax.adam(learning_rate), loss), made)


def _model(problem, center, scale):
    xi = numpyro.sample("xi", dist.ImproperUniform(dist.constraints.real_vector, (), center.shape))
    if problem is not None:
        numpyro.factor("log_density", differentiable_log_density(problem, center + product(scale, xi)))
