"""Simulation-based calibration: are posteriors right on average, over data that their own model makes?"""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray
from scipy import stats
from tqdm import tqdm

from twinjax.calibration.calibrator import AbstractCalibrator
from twinjax.calibration.problem import InverseProblem, walks
from twinjax.calibration.walk import drawn_walk
from twinjax.core.errors import InputError, SolverError

# Of each posterior, spread evenly over its draws: ranks run from 0 to 99, which 20 bins divide.
DRAWS = 99
BINS = 20
# Parameters drawn from the prior whose tumour cannot be solved are drawn again, this often.
ATTEMPTS = 20


@dataclass(frozen=True, eq=False)
class RankStatistics:
    """Ranks of true parameters among the draws of posteriors that were fitted to data made with them.

    Where a method's posteriors are those of the model, every rank is as likely as any other (Talts et al. 2018,
    arXiv:1804.06788). Too narrow posteriors pile up ranks at both ends, shifted ones at one.

    **Fields:** `names` of the parameters; `ranks` (simulations, parameters), 0 to `DRAWS`; `converged` (simulations,),
    what the method said of itself.
    """

    names: tuple[str, ...]
    ranks: Int[np.ndarray, "simulations parameters"]
    converged: Bool[np.ndarray, " simulations"]

    def histogram(self, name: str) -> Int[np.ndarray, " bins"]:
        """How many ranks fall in each of `BINS` equal bins."""
        return np.histogram(self.ranks[:, self.names.index(name)], BINS, (-0.5, DRAWS + 0.5))[0]

    def p_values(self) -> dict[str, float]:
        """Of the chi-square test that a parameter's ranks are uniform; it wants five ranks a bin, 100 simulations."""
        if len(self.ranks) < 5 * BINS:
            raise InputError(f"a test of ranks needs {5 * BINS} simulations, got {len(self.ranks)}")
        return {name: float(stats.chisquare(self.histogram(name)).pvalue) for name in self.names}

    def uniform(self, false_alarm: float = 0.01) -> bool:
        """Whether no parameter's ranks are too uneven; a right method fails with the chance `false_alarm` at most.

        Bonferroni's bound shares that chance among the parameters.
        """
        return min(self.p_values().values()) >= false_alarm / len(self.names)

    def coverage(self, level: float) -> dict[str, float]:
        """The share of true values in the central interval of `level`, by parameter."""
        away = np.abs(self.ranks - DRAWS / 2) / (DRAWS + 1)
        return {name: float(share) for name, share in zip(self.names, np.mean(away < level / 2, axis=0), strict=True)}


def simulated(problem: InverseProblem, key: PRNGKeyArray) -> tuple[Float[Array, " parameters"], InverseProblem]:
    """Parameters drawn from the prior (whitened), and the problem with data that they make, noise and all.

    Raises `InputError` for observations that say how likely data are but not how they come about (masks),
    `SolverError` where no draw of the prior can be solved.
    """
    for attempt in range(ATTEMPTS):
        key_z, key_data = jax.random.split(jax.random.fold_in(key, attempt))
        z = jax.random.normal(key_z, (problem.dimension,))
        values, success = _simulated(problem, z, key_data)
        if bool(success):
            return z, eqx.tree_at(lambda p: [datum.readings.values for datum in p.data], problem, values)
    raise SolverError(f"{ATTEMPTS} draws of the prior could not be solved; narrow the prior")


@eqx.filter_jit
def _simulated(problem: InverseProblem, z, key):
    predicted, success = problem.predictions(z)
    observation, keys = problem.tumor_at(z).observation, jax.random.split(key, len(problem.data))
    for number, (name, noisy) in enumerate(observation.items()):
        own = [place for place, datum in enumerate(problem.data) if datum.observation == name]
        if own and walks(noisy):
            days = jnp.stack([problem.data[place].time for place in own])
            # Beyond the keys of the data: `split` may give those that `fold_in` gives for 0, 1, ...
            key_walk = jax.random.fold_in(key, len(problem.data) + number)
            walk = drawn_walk(days, problem.start, noisy.walk_std, key_walk)
            for place, error in zip(own, walk, strict=True):
                predicted[place] = predicted[place] + error
    values = [
        observation[datum.observation].sample(datum.readings, expected, one)
        for datum, expected, one in zip(problem.data, predicted, keys, strict=True)
    ]
    return values, success & jnp.stack([jnp.isfinite(value).all() for value in values]).all()


def simulation_based_calibration(
    problem: InverseProblem,
    calibrator: AbstractCalibrator,
    simulations: int,
    *,
    key: PRNGKeyArray,
    progress: bool = False,
) -> RankStatistics:
    """Fit `calibrator` to `simulations` sets of data like those of `problem`, each made with parameters of its own.

    The noise levels are those of `problem`: a calibrator that estimates them fits another model than the one that
    made the data. Simulation i depends on `key` and i alone.
    """
    ranks, converged = [], []
    for number in tqdm(range(simulations), desc="  simulations", disable=not progress, mininterval=1.0):
        rank, settled = one_rank(problem, calibrator, jax.random.fold_in(key, number))
        ranks.append(rank)
        converged.append(settled)
    return RankStatistics(problem.prior.names, np.stack(ranks), np.asarray(converged))


def one_rank(
    problem: InverseProblem, calibrator: AbstractCalibrator, key: PRNGKeyArray
) -> tuple[Int[np.ndarray, " parameters"], bool]:
    """The ranks of one simulation, and whether its posterior says that it converged."""
    key_data, key_fit = jax.random.split(key)
    z, like = simulated(problem, key_data)
    posterior = calibrator.fit(like, key=key_fit)
    return np.sum(posterior.draws(DRAWS) < np.asarray(z), axis=0), bool(posterior.diagnostics["converged"])
