"""The No-U-Turn sampler, started from and preconditioned by the Laplace approximation."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer import MCMC, NUTS

from twinjax.calibration.calibrator import AbstractCalibrator
from twinjax.calibration.levenberg_marquardt import LevenbergMarquardt
from twinjax.calibration.posterior import Posterior
from twinjax.core.errors import InputError

log = logging.getLogger("twinjax")


class NoUTurnSampler(AbstractCalibrator):
    """NUTS (Hoffman and Gelman 2014, JMLR 15:1593) by NumPyro, in coordinates whitened by the Laplace covariance.

    The mode and its covariance come from `mode`; chains start around the mode. A gradient costs several solves, and
    a draw several gradients: for partial differential equations `ImportanceSampler` is much the quicker.

    **Fields:** `samples` (over all chains), `warmup` (per chain), `chains`, `target_accept`, `max_tree_depth`,
    `progress` (a bar on the terminal).
    """

    samples: int = 600
    warmup: int = 60
    chains: int = 2
    target_accept: float = 0.8
    max_tree_depth: int = 5
    progress: bool = True
    mode: LevenbergMarquardt = LevenbergMarquardt()

    def __check_init__(self):
        if self.chains < 2 or self.samples < self.chains * 4 or self.warmup < 1:
            raise InputError("NUTS needs at least 2 chains (for R-hat), 4 samples a chain and 1 warm-up step")

    def fit(self, problem, *, key):
        key_mode, key_start, key_chain = jax.random.split(key, 3)
        problem, mode = self.mode.fit_mode(problem, key=key_mode)
        scale = jnp.linalg.cholesky(mode.covariance)
        kernel = NUTS(
            problem.numpyro_model,
            step_size=0.5,
            adapt_mass_matrix=False,
            dense_mass=False,
            target_accept_prob=self.target_accept,
            max_tree_depth=self.max_tree_depth,
        )
        parallel = jax.local_device_count() >= self.chains
        mcmc = MCMC(
            kernel,
            num_warmup=self.warmup,
            num_samples=-(-self.samples // self.chains),
            num_chains=self.chains,
            chain_method="parallel" if parallel else "sequential",
            progress_bar=self.progress,
        )
        log.info("  NUTS: %d chains of %d warm-up and %d draws", self.chains, self.warmup, mcmc.num_samples)
        start = 0.5 * jax.random.normal(key_start, (self.chains, problem.dimension))
        mcmc.run(
            key_chain,
            center=mode.z,
            scale=scale,
            init_params={"xi": start},
            extra_fields=("diverging", "num_steps", "accept_prob"),
        )
        z = np.asarray(mcmc.get_samples(group_by_chain=True)["z"])
        fields = {name: np.asarray(value) for name, value in mcmc.get_extra_fields(group_by_chain=True).items()}
        divergences = int(fields["diverging"].sum())
        doubts = mode.doubts
        if divergences > 0.01 * fields["diverging"].size:
            doubts.append(f"{divergences} divergent transitions")
        return Posterior.from_draws(
            problem,
            z,
            mode.z,
            method="NUTS",
            doubts=doubts,
            divergences=divergences,
            gradients=int(fields["num_steps"].sum()),
            accept_probability=float(fields["accept_prob"].mean()),
        )
