"""Tempered sequential Monte Carlo by BlackJAX: for posteriors of several modes, and the evidence; no gradients."""

import functools
import logging
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import logsumexp

from twinjax.calibration.calibrator import AbstractCalibrator
from twinjax.calibration.checkpoint import Checkpoint
from twinjax.calibration.density import CHUNK
from twinjax.calibration.diagnostics import convergence
from twinjax.calibration.evidence import log_mean_weight
from twinjax.calibration.iteration import iterate
from twinjax.calibration.levenberg_marquardt import LevenbergMarquardt
from twinjax.calibration.posterior import Posterior
from twinjax.core.errors import InputError, MissingDependencyError
from twinjax.core.products import product
from twinjax.simulation import side_by_side

log = logging.getLogger("twinjax")

# Temperatures at most.
MOST_STEPS = 60
# The share of proposals that a random walk should accept (Roberts, Gelman and Gilks 1997, Ann Appl Probab 7:110).
WANTED_ACCEPTANCE = 0.25
# Log likelihood where a solve fails: finite, as 0 times infinity is not.
IMPOSSIBLE = -1e30


class TemperedMonteCarlo(AbstractCalibrator):
    """Particles that are led from the prior to the posterior by raising the likelihood's power from 0 to 1.

    Adaptive tempered sequential Monte Carlo (Del Moral, Doucet and Jasra 2006, J R Stat Soc B 68:411) by BlackJAX: each
    power is chosen so that `target_ess` of the particles stay effective; they are then resampled and moved by a random
    walk with their own covariance. Several independent runs, pooled by their evidence, say by how much a run errs:
    modes that one of them missed show in R-hat.

    The effective draws are those of the variance of the mean over families of particles with a common ancestor (Lee
    and Whiteley 2018, Biometrika 105:609).

    **Fields:** `particles` of each of the `runs`; `moves` of every particle at every power; `target_ess`; `draws`,
    rounded up to an even number; `mode` gives the noise levels that the residuals show, as for other methods, and the
    mode; None leaves noise levels as stated and takes no gradient at all; `progress` (a bar on the terminal);
    `checkpoint`, a folder from which an interrupted run goes on.
    """

    particles: int = 500
    runs: int = 4
    moves: int = 5
    target_ess: float = 0.6
    draws: int = 1000
    progress: bool = True
    checkpoint: str | None = None
    mode: LevenbergMarquardt | None = None

    def __check_init__(self):
        if self.particles < 50 or self.draws < 100:
            raise InputError("TemperedMonteCarlo: particles must be at least 50 and draws at least 100")
        if self.runs < 2:
            raise InputError("TemperedMonteCarlo: runs must be at least 2, to say by how much one errs")
        if self.moves < 1 or not 0 < self.target_ess < 1:
            raise InputError("TemperedMonteCarlo: moves must be at least 1, and target_ess lie between 0 and 1")

    def fit(self, problem, *, key):
        key_mode, key_runs, key_draw = jax.random.split(key, 3)
        start, step = _sampler(
            self.particles, self.moves, self.target_ess, CHUNK if side_by_side(problem.tumor.model) else 1
        )
        checkpoint, mode, seconds = Checkpoint(self.checkpoint, problem, self, key), None, 0.0
        if self.mode is not None:
            problem, mode, seconds = self.mode.kept_mode(problem, key=key_mode, checkpoint=checkpoint)
        states, solves = [], 0
        for number, run in enumerate(jax.random.split(key_runs, self.runs)):
            done = iterate(
                step,
                _kept,
                problem,
                start(jax.random.key_data(run), problem.dimension),
                count=MOST_STEPS,
                block=1,
                checkpoint=checkpoint,
                stage=f"SMC run {number + 1}",
                progress=self.progress,
                enough=_arrived,
            )
            state: _State = done.state
            states.append(state)
            seconds += done.seconds
            # Besides its moves a particle is solved for the first of them, for the next power and for its weight.
            solves += done.done * self.particles * (self.moves + 3)
            log.info("  SMC run %d: %d powers, log evidence %.2f", number + 1, done.done, state.log_evidence)
        return self._posterior(problem, mode, states, seconds=seconds, solves=solves, key=key_draw)

    def _posterior(self, problem, mode, states: list["_State"], *, seconds: float, solves: int, key) -> Posterior:
        evidences = np.array([float(state.log_evidence) for state in states])
        within = np.stack([np.asarray(state.weights, float) for state in states])
        z = np.stack([np.asarray(state.particles, float) for state in states])
        # Every run's estimate counts by its evidence, as the mean over all runs does.
        weights = np.exp(evidences - logsumexp(evidences))[:, None] * within
        family = np.stack([np.asarray(state.family) + i * self.particles for i, state in enumerate(states)])
        names, effective = problem.prior.names, _effective(z, weights, family)
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        runs = np.stack([one[rng.choice(len(w), len(w), p=w / w.sum())] for one, w in zip(z, within, strict=True)])
        r_hat = convergence({name: runs[..., i] for i, name in enumerate(names)})["r_hat"]
        flat, likely = z.reshape(-1, z.shape[-1]), weights.ravel()
        chosen = rng.choice(len(flat), (2, -(-self.draws // 2)), p=likely / likely.sum())
        doubts = [] if mode is None else mode.unreached
        if short := sum(not float(state.power) >= 1 for state in states):
            doubts.append(f"{short} of {self.runs} runs did not reach the posterior in {MOST_STEPS} powers")
        best = np.concatenate([np.asarray(state.log_density) for state in states]).argmax()
        # The evidence is the mean of independent estimates, as it is of independent weights.
        log_evidence, log_evidence_error = log_mean_weight(evidences)
        return Posterior.from_draws(
            problem,
            flat[chosen],
            flat[best] if mode is None else mode.z,
            method="tempered sequential Monte Carlo",
            doubts=doubts,
            effective=min(effective),
            ess=dict(zip(names, effective, strict=True)),
            r_hat=r_hat,
            seconds=seconds,
            solves=solves,
            acceptance=float(np.mean([state.acceptance for state in states])),
            log_evidence=log_evidence,
            log_evidence_error=log_evidence_error,
            log_evidence_of_runs=evidences.tolist(),
            **({} if mode is None else mode.report),
        )


class _State(NamedTuple):
    """**Fields:** `particles` (particles, parameters) with `weights` and the `log_density` that each had; `family`, the
    particle of the prior that each descends from; `power` of the likelihood; `log_evidence` so far; `scale` of the
    random walk; `acceptance` of its last moves; `key`.
    """

    particles: Any
    weights: Any
    log_density: Any
    family: Any
    power: Any
    log_evidence: Any
    scale: Any
    acceptance: Any
    key: Any


@functools.lru_cache
def _sampler(particles: int, moves: int, target_ess: float, at_once: int):
    """The first state of a run, and the step from one power to the next."""
    blackjax = _blackjax()
    walk = blackjax.mcmc.random_walk.build_additive_step()

    def move(key, state, log_density, root):
        return walk(key, state, log_density, lambda key, z: product(root, jax.random.normal(key, z.shape)))

    def start(key, dimension: int) -> _State:
        key, key_prior = jax.random.split(key)
        same, zero = jnp.full(particles, 1 / particles), jnp.zeros(())
        z = jax.random.normal(key_prior, (particles, dimension))
        scale = jnp.asarray(2.38 / np.sqrt(dimension))
        return _State(z, same, jnp.zeros(particles), jnp.arange(particles), zero, zero, scale, zero, key)

    def step(problem, state: _State) -> _State:
        def log_likelihood(z):
            found = problem.log_density(z) - log_prior(z)
            return jnp.where(jnp.isfinite(found), found, IMPOSSIBLE)

        kernel = blackjax.smc.adaptive_tempered.build_kernel(
            log_prior,
            log_likelihood,
            move,
            blackjax.mcmc.random_walk.init,
            # Families are counted by their members: only here are those independent of each other.
            blackjax.smc.resampling.multinomial,
            target_ess,
            batch_size=at_once,
        )
        key, key_step = jax.random.split(state.key)
        n = state.particles.shape[1]
        covariance = jnp.cov(state.particles.T, aweights=state.weights).reshape(n, n) + 1e-12 * jnp.eye(n)
        root = state.scale * jnp.linalg.cholesky(covariance)
        before = blackjax.smc.tempered.TemperedSMCState(state.particles, state.weights, state.power)
        after, info = kernel(key_step, before, moves, {"root": root[None]})
        acceptance = jnp.mean(info.update_info.is_accepted, dtype=state.acceptance.dtype)
        return _State(
            after.particles,
            after.weights,
            # The weights are the likelihood to the increment of the power, over their sum.
            (jnp.log(after.weights) + info.log_likelihood_increment + np.log(particles))
            / (after.tempering_param - state.power)
            + jax.vmap(log_prior)(after.particles),
            state.family[info.ancestors],
            after.tempering_param,
            state.log_evidence + info.log_likelihood_increment,
            state.scale * jnp.exp(2 * (acceptance - WANTED_ACCEPTANCE)),
            acceptance,
            key,
        )

    return start, step


def log_prior(z):
    """Standard normal."""
    return jnp.sum(jax.scipy.stats.norm.logpdf(z))


def _kept(state: _State):
    return {"power": state.power}


def _arrived(kept, done: int) -> bool:
    return bool(kept["power"][done - 1] >= 1)


def _effective(z, weights, family) -> list[float]:
    """For each parameter the variance of the posterior over that of its mean."""
    weights, family = weights.ravel(), family.ravel()
    found = []
    for values in z.reshape(-1, z.shape[-1]).T:
        apart = values - weights @ values
        sums = np.bincount(family, weights * apart)
        found.append(float(weights @ apart**2 / np.sum(sums**2)))
    return found


def _blackjax() -> Any:
    try:
        import blackjax
        import blackjax.smc.adaptive_tempered
    except ImportError as error:
        raise MissingDependencyError(
            "calibrator=smc needs the package 'blackjax', which is not installed; pip install 'twinjax[bayes]'"
        ) from error
    return blackjax
