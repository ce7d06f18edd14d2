"""The affine-invariant ensemble sampler by NumPyro: no gradients."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer import AIES

from twinjax.calibration.calibrator import AbstractCalibrator
from twinjax.calibration.checkpoint import Checkpoint
from twinjax.calibration.density import log_densities
from twinjax.calibration.iteration import iterate
from twinjax.calibration.levenberg_marquardt import LevenbergMarquardt
from twinjax.calibration.posterior import Posterior
from twinjax.core.errors import InputError

log = logging.getLogger("twinjax")

# Steps between two checkpoints.
BLOCK = 20
# Of stretch moves (Goodman and Weare 2010) beside moves along the difference of two others (Nelson et al. 2014).
STRETCH_SHARE = 0.5


class EnsembleSampler(AbstractCalibrator):
    """Walkers that move along the lines between each other, whatever the posterior's scales and correlations.

    The affine-invariant ensemble of Goodman and Weare 2010 (Commun Appl Math Comput Sci 5:65) by NumPyro, from the
    prior. R-hat and effective draws take the walkers as chains; they are independent only where the ensemble has
    converged. Walkers hardly go between modes that are far apart: `TemperedMonteCarlo` is for those.

    **Fields:** `walkers`, an even number of at least twice the parameters, `steps` that are kept of each, after
    `warmup`; `mode` gives the noise levels that the residuals show, as for other methods, and the mode; None leaves
    noise levels as stated and takes no gradient at all; `progress` (a bar on the terminal); `checkpoint`, a folder from
    which an interrupted run goes on.
    """

    walkers: int = 40
    steps: int = 500
    warmup: int = 200
    progress: bool = True
    checkpoint: str | None = None
    mode: LevenbergMarquardt | None = None

    def __check_init__(self):
        if self.walkers < 4 or self.walkers % 2:
            raise InputError(f"EnsembleSampler: walkers must be an even number of at least 4, got {self.walkers}")
        if self.steps < 4 or self.warmup < 1:
            raise InputError("EnsembleSampler: steps must be at least 4 and warmup at least 1")

    def fit(self, problem, *, key):
        if self.walkers < 2 * problem.dimension:
            raise InputError(
                f"EnsembleSampler: {problem.dimension} parameters need at least {2 * problem.dimension} walkers, got "
                f"{self.walkers}"
            )
        key_mode, key_start, key_walk = jax.random.split(key, 3)
        checkpoint, mode, before = Checkpoint(self.checkpoint, problem, self, key), None, 0.0
        if self.mode is not None:
            problem, mode, before = self.mode.kept_mode(problem, key=key_mode, checkpoint=checkpoint)
        z = jax.random.normal(key_start, (self.walkers, problem.dimension))
        keys = jax.vmap(jax.random.key_data)(jax.random.split(key_walk, self.walkers))
        kernel = _kernel(problem)
        done = iterate(
            _step,
            _kept,
            problem,
            kernel.init(keys, self.warmup, z, (), {}),
            count=self.warmup + self.steps,
            block=BLOCK,
            checkpoint=checkpoint,
            stage="ensemble",
            progress=self.progress,
        )
        kept = {name: value[self.warmup :] for name, value in done.kept.items()}
        chains = np.swapaxes(kept["z"], 0, 1)
        best = log_densities(problem, chains[:, -1]).argmax()
        return Posterior.from_draws(
            problem,
            chains,
            chains[best, -1] if mode is None else mode.z,
            method="affine-invariant ensemble",
            doubts=[] if mode is None else mode.doubts,
            seconds=before + done.seconds,
            # A move compares two densities, and both are solved.
            solves=2 * self.walkers * done.done,
            acceptance=float(kept["acceptance"].mean()),
            **({} if mode is None else mode.report),
        )


def _kernel(problem) -> AIES:
    moves = {AIES.StretchMove(): STRETCH_SHARE, AIES.DEMove(): 1 - STRETCH_SHARE}
    # Its constructor looks at the shares of the moves, which must not be traced.
    with jax.ensure_compile_time_eval():
        return AIES(potential_fn=lambda z: -problem.log_density(z), moves=moves)


def _step(problem, state):
    kernel = _kernel(problem)
    # A kernel learns the number of its walkers here; what it returns is not used.
    kernel.init(jnp.zeros((state.z.shape[0], 2), jnp.uint32), 0, state.z, (), {})
    return kernel.sample(state, (), {})


def _kept(state):
    return {"z": state.z, "acceptance": state.inner_state.accept_prob}
