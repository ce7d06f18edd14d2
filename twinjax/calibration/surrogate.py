"""NUTS on a surrogate of the problem, corrected by the solver: delayed acceptance."""

import functools
import logging
import time
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer.hmc import hmc
from scipy.stats import qmc
from tqdm import tqdm

from twinjax.calibration.calibrator import AbstractCalibrator
from twinjax.calibration.checkpoint import Checkpoint
from twinjax.calibration.iteration import iterate
from twinjax.calibration.levenberg_marquardt import LevenbergMarquardt
from twinjax.calibration.posterior import Posterior
from twinjax.calibration.residual_surrogate import Expansions, ResidualSurrogate, densities, expected_errors
from twinjax.core.errors import InputError
from twinjax.core.products import product

log = logging.getLogger("twinjax")

# How wide the first expansions lie, in Laplace deviations: tails of a posterior that is not normal are to be inside.
WIDTH = 1.6
# Nats: nine of ten new points that err by less end the training.
SMALL_ERROR = 0.1
# Draws of the surrogate among which the next points are looked for, a chain.
CANDIDATES = 50
# Transitions between two checkpoints, and the share of all that come before the first draw that is kept.
BLOCK, SETTLING = 10, 0.1
# A smaller share of proposals that the solver accepts means that the surrogate stands for another posterior.
FEWEST_ACCEPTED = 0.2


class Chain(NamedTuple):
    """**Fields:** `surrogate`, numpyro's state of NUTS, at a point of the chain; `lead`, log density of the problem
    less that of the surrogate there; `accepted`, whether the last proposal was; `asked`, whether the solver was;
    `key`, of the acceptances.
    """

    surrogate: Any
    lead: jax.Array
    accepted: jax.Array
    asked: jax.Array
    key: jax.Array


class SurrogateSampler(AbstractCalibrator):
    """Draws whose proposals come from NUTS on a `ResidualSurrogate`, each accepted or refused by the solver.

    Delayed acceptance (Christen and Fox 2005, J Comput Graph Stat 14:795): `thinning` transitions of NUTS on the
    surrogate are one proposal, which is reversible for it, and one solve decides with the ratio of the two densities.
    The draws are those of the problem's own posterior, however rough the surrogate; a rough one is refused more often.

    The surrogate learns from `expansions` solves with their derivatives around the mode, and in each of `rounds` from
    `added` more, there where its own draws show the largest error.

    **Fields:** these; `samples` (over all chains), `warmup` (transitions on the surrogate alone), `chains`; `trusted`,
    nats: a proposal whose expected error is below is accepted without a solve, which is quicker and no longer exact (0:
    the solver decides always); `members` and `width` of the networks; `progress`; `checkpoint`, a folder from which an
    interrupted run goes on; `mode`.
    """

    samples: int = 600
    thinning: int = 4
    warmup: int = 200
    chains: int = 4
    expansions: int = 64
    rounds: int = 3
    added: int = 16
    trusted: float = 0.0
    members: int = 4
    width: int = 24
    progress: bool = True
    checkpoint: str | None = None
    mode: LevenbergMarquardt = LevenbergMarquardt()

    def __check_init__(self):
        if self.chains < 2 or self.samples < self.chains * 4 or min(self.warmup, self.thinning) < 1:
            raise InputError("surrogate: needs at least 2 chains, 4 samples a chain, 1 warm-up step and thinning 1")
        if self.members < 2 or self.expansions < 4 * self.members or self.rounds < 0 or self.added < 1:
            raise InputError("surrogate: members must be at least 2, expansions at least 4 a member, added at least 1")
        if not self.trusted >= 0:
            raise InputError(f"surrogate: trusted is an error in nats, 0 or more, got {self.trusted}")

    def fit(self, problem, *, key):
        key_mode, key_train, key_chain = jax.random.split(key, 3)
        checkpoint = Checkpoint(self.checkpoint, problem, self, key)
        problem, mode, before = self.mode.kept_mode(problem, key=key_mode, checkpoint=checkpoint)
        began = time.perf_counter()
        surrogate = self.train(problem, mode, key=key_train, checkpoint=checkpoint)
        before += time.perf_counter() - began
        each = -(-self.samples // self.chains)
        settling = max(1, round(SETTLING * each))
        starts, key_accept = jax.random.split(key_chain)
        chain = _warm(surrogate, jax.random.split(starts, self.chains), self.warmup)
        keys = jax.random.key_data(jax.random.split(key_accept, self.chains))
        zero = jnp.zeros(self.chains, bool)
        lead = jax.jit(_leads)(problem, surrogate, chain.z, ~zero)
        done = iterate(
            _step(self.thinning, self.warmup, self.trusted),
            _kept,
            (problem, surrogate),
            Chain(chain, lead, zero, zero, keys),
            count=settling + each,
            block=BLOCK,
            checkpoint=checkpoint,
            stage="delayed acceptance",
            progress=self.progress,
        )
        kept = {name: np.swapaxes(value[settling:], 0, 1) for name, value in done.kept.items()}
        accepted, count = float(kept["accepted"].mean()), len(surrogate.errors)
        doubts = mode.doubts
        if accepted < FEWEST_ACCEPTED:
            doubts.append(
                f"only {100 * accepted:.0f} % of the surrogate's proposals were accepted; raise expansions or rounds"
            )
        return Posterior.from_draws(
            problem,
            np.asarray(surrogate.centre) + kept["x"] @ np.asarray(surrogate.root).T,
            mode.z,
            method="NUTS on a surrogate" + (", corrected by the solver" if self.trusted == 0 else ", partly corrected"),
            doubts=doubts,
            seconds=before + done.seconds,
            # An expansion takes a solve, and about one more a parameter.
            solves=count * (1 + problem.dimension) + int(done.kept["asked"].sum()),
            expansions=count,
            accepted=accepted,
            asked=float(kept["asked"].mean()),
            surrogate_error_nats=float(np.quantile(np.abs(surrogate.errors), 0.9)),
            **mode.report,
        )

    def train(self, problem, mode, *, key, checkpoint: Checkpoint | None = None) -> ResidualSurrogate:
        """The surrogate around a `Mode` of the problem, whose noise levels are those of the mode."""
        checkpoint = Checkpoint(None, problem, self, key) if checkpoint is None else checkpoint
        centre, root = np.asarray(mode.z, float), np.linalg.cholesky(mode.covariance)
        n, seed = problem.dimension, int(jax.random.randint(key, (), 0, 2**31 - 1))
        x = WIDTH * qmc.MultivariateNormalQMC(np.zeros(n), rng=seed).random(self.expansions)
        x[0] = 0.0
        found, most = None, self.expansions + self.rounds * self.added
        for number in range(self.rounds + 1):
            new = self._expanded(problem, centre, root, x, checkpoint, number)
            found = new if found is None else found.joined(new)
            options = {"members": self.members, "width": self.width, "seed": number * self.members, "most": most}
            if number:
                told = np.asarray(densities(surrogate, jnp.asarray(new.x)))
                off = np.quantile(np.abs(told - (float(surrogate.constant) - new.cost)), 0.9)
                log.info("  surrogate: %.2g nats off at nine of ten new points", off)
            surrogate = ResidualSurrogate.trained(problem, centre, root, found, **options)
            if number and off < SMALL_ERROR:
                break
            x = self._doubtful(surrogate, jax.random.fold_in(key, number))
        return surrogate

    def _expanded(self, problem, centre, root, x, checkpoint: Checkpoint, number: int) -> Expansions:
        stage, (count, n) = f"expansions {number}", x.shape
        size = jax.eval_shape(problem.residuals, jnp.zeros(n)).shape[0] - n
        nothing = Expansions(np.zeros((count, n)), np.zeros((count, size)), np.zeros((count, n, size)), np.zeros(count))
        if (kept := checkpoint.read(stage, nothing)) is not None:
            return kept.solved()
        with tqdm(total=count, desc=f"  {stage}", disable=not self.progress, mininterval=1.0) as bar:
            found = Expansions.at(problem, centre, root, x, tick=lambda: bar.update())
        checkpoint.write(stage, found)
        return found.solved()

    def _doubtful(self, surrogate: ResidualSurrogate, key) -> np.ndarray:
        """(added, n): of as many groups of the surrogate's own draws, the one with the largest error in each."""
        start, draw = jax.random.split(key)
        chain = _warm(surrogate, jax.random.split(start, self.chains), self.warmup)
        drawn = np.asarray(_drawn(surrogate, chain, CANDIDATES, self.warmup)).reshape(-1, surrogate.centre.size)
        drawn = np.asarray(jax.random.permutation(draw, drawn))
        error = np.asarray(expected_errors(surrogate, jnp.asarray(drawn)))
        groups = np.array_split(np.arange(len(drawn)), self.added)
        inside = np.where(np.isfinite(error), error, -1.0)
        return np.stack([drawn[group[np.argmax(inside[group])]] for group in groups])


# What `warmup` is goes from the first state to all later ones behind numpyro's scenes: a kernel for each.
@functools.lru_cache
def _kernel(warmup: int):
    return hmc(potential_fn_gen=lambda surrogate: lambda x: -surrogate.log_density(x), algo="NUTS")


@eqx.filter_jit
def _warm(surrogate: ResidualSurrogate, keys, warmup: int):
    """States of NUTS on the surrogate, a chain each, after its adaptation."""
    initial, following = _kernel(warmup)

    def one(key):
        key_start, key_chain = jax.random.split(key)
        state = initial(
            0.5 * jax.random.normal(key_start, surrogate.centre.shape),
            warmup,
            step_size=0.5,
            adapt_mass_matrix=False,
            model_args=(surrogate,),
            rng_key=jax.random.key_data(key_chain),
        )
        return jax.lax.fori_loop(0, warmup, lambda _, state: following(state, (surrogate,)), state)

    return jax.vmap(one)(keys)


@eqx.filter_jit
def _drawn(surrogate: ResidualSurrogate, chain, count: int, warmup: int):
    """(chains, count, n) further draws."""
    _, following = _kernel(warmup)

    def one(state):
        def step(state, _):
            state = following(state, (surrogate,))
            return state, state.z

        return jax.lax.scan(step, state, None, length=count)[1]

    return jax.vmap(one)(chain)


def _leads(problem, surrogate: ResidualSurrogate, x, asked):
    """(chains,) log density of the problem less that of the surrogate; 0 where it is not asked for."""

    def one(pair):
        x, asked = pair
        z = surrogate.centre + product(surrogate.root, x)
        return jax.lax.cond(asked, lambda: problem.log_density(z) - surrogate.log_density(x), lambda: jnp.zeros(()))

    return jax.lax.map(one, (x, asked))


@functools.lru_cache
def _step(thinning: int, warmup: int, trusted: float):
    """From one state of all chains to the next."""
    _, following = _kernel(warmup)

    def proposed(surrogate, state):
        return jax.lax.fori_loop(0, thinning, lambda _, state: following(state, (surrogate,)), state)

    def step(arguments, chain: Chain) -> Chain:
        problem, surrogate = arguments
        new = jax.vmap(lambda state: proposed(surrogate, state))(chain.surrogate)
        asked = jax.vmap(surrogate.error)(new.z) > trusted
        lead = _leads(problem, surrogate, new.z, asked)
        keys = jax.vmap(jax.random.split)(jax.random.wrap_key_data(chain.key))
        # A failed solve has the density 0: minus infinity is refused, and so is NaN.
        accepted = jnp.log(jax.vmap(jax.random.uniform)(keys[:, 0])) < lead - chain.lead

        def chosen(one, other):
            return jnp.where(accepted.reshape(-1, *[1] * (one.ndim - 1)), one, other)

        place = {n: chosen(getattr(new, n), getattr(chain.surrogate, n)) for n in ("z", "z_grad", "potential_energy")}
        key = jax.random.key_data(keys[:, 1])
        return Chain(new._replace(**place), chosen(lead, chain.lead), accepted, asked, key)

    return step


def _kept(chain: Chain):
    return {"x": chain.surrogate.z, "accepted": chain.accepted, "asked": chain.asked}
