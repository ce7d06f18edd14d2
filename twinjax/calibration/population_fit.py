"""The posterior of a population and of its patients, by importance sampling."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.scipy.optimize import minimize
from jaxtyping import Array, Float

from twinjax.calibration.diagnostics import smoothed_weights
from twinjax.calibration.population import NARROWEST, Points, PopulationModel, unpacked
from twinjax.calibration.population_posterior import PopulationPosterior
from twinjax.core.errors import InputError
from twinjax.core.products import product

# Vehtari et al. 2024 (JMLR 25:72): weights whose tail has a larger shape are not to be trusted.
LARGEST_PARETO_K = 0.7
# Of the log likelihood in the last round, per patient: below, the mode no longer moves.
LARGEST_CHANGE = 0.02
# Of the points of one patient: fewer effective ones say little of that patient.
SMALLEST_PATIENT_POINTS = 20
# Share of a patient's points drawn from the population, lest a region be missed; the others are drawn from the normal
# distribution of the patient's own moments, wider by this factor.
FROM_POPULATION, WIDER = 0.15, 1.4
# Of the curvature at the population's mode, in unknowns whose prior is about standard: what is flatter is cut here.
FLATTEST = 0.25


def fit_population(
    population: PopulationModel, *, key: Array, points: int = 1000, rounds: int = 6, draws: int = 500
) -> PopulationPosterior:
    """The posterior of the population and of every patient.

    Importance sampling in the manner of expectation-maximisation (IMPEM of NONMEM; Bauer 2019, CPT Pharmacometrics
    Syst Pharmacol 8:525): `points` values of theta for each patient, drawn near where the patient's posterior is.
    Their curves are solved once a round, side by side and without any gradient; a population's likelihood is then
    a sum over points that costs no solve. After `rounds` of finding the population's mode and drawing the points
    anew, the population is drawn from its Laplace approximation, weighted and resampled with Pareto-smoothed
    weights, and with each of these `draws` one point of each patient.
    """
    if draws < 50 or points < 50 or rounds < 1:
        raise InputError("a population needs at least 50 draws, 50 points for each patient and 1 round")
    middle, width = population.hyperprior
    count = len(population.names)
    x = jnp.concatenate([jnp.zeros(count), jnp.full(count, jnp.log(0.5))])
    mean = jnp.broadcast_to(middle, (population.cohort.size, count))
    covariance = jnp.broadcast_to(jnp.diag(width**2 + population.largest_spread**2), (*mean.shape, count))
    keys, log_marginals = jax.random.split(key, rounds + 3), []
    for i in range(rounds):
        cloud = _draw_points(population, mean, covariance, x, keys[i], points)
        x = _population_mode(population, cloud, x)
        mean, covariance = _patient_moments(population, cloud, x)
        log_marginals.append(float(population.log_marginal(cloud, x)))
    xs, log_ratio = _laplace_draws(population, cloud, x, keys[-3], 2 * draws)
    smoothed, pareto_k = smoothed_weights(np.asarray(log_ratio))
    weights = np.exp(smoothed)
    xs = xs[jax.random.choice(keys[-2], len(weights), (draws,), p=jnp.asarray(weights / weights.sum()))]
    center, spread = jax.vmap(unpacked)(xs)
    weights_of_points = jax.nn.softmax(population.log_weights(cloud, *unpacked(x)), axis=1)
    diagnostics = _verdict(
        pareto_k,
        1 / np.sum((weights / weights.sum()) ** 2),
        1 / jnp.sum(weights_of_points**2, axis=1),
        log_marginals,
    )
    theta = _draw_patients(population, cloud, xs, keys[-1])
    return PopulationPosterior(population, np.asarray(center), np.asarray(spread), np.asarray(theta), diagnostics)


def _verdict(pareto_k: float, effective: float, patient_points, log_marginals: list[float]) -> dict[str, Any]:
    patient_points, doubts = np.asarray(patient_points), []
    if pareto_k > LARGEST_PARETO_K:
        doubts.append(f"the population is not drawn well (Pareto k {pareto_k:.2f}, wanted < {LARGEST_PARETO_K})")
    poor = int((patient_points < SMALLEST_PATIENT_POINTS).sum())
    if poor > 0.05 * len(patient_points):
        doubts.append(f"{poor} patients have fewer than {SMALLEST_PATIENT_POINTS} effective points; give more of them")
    change = abs(log_marginals[-1] - log_marginals[-2]) if len(log_marginals) > 1 else np.inf
    # Two estimates from points of their own differ by chance.
    chance = np.sqrt(2 * np.sum(1 / patient_points))
    if not change < LARGEST_CHANGE * len(patient_points) + 3 * chance:
        doubts.append(f"the likelihood still changes by {change:.1f} in a round; give more rounds or points")
    return {
        "method": "importance sampling of patients, Laplace approximation of the population",
        "pareto_k": pareto_k,
        "ess": float(effective),
        "patient_points": patient_points,
        "log_marginal": log_marginals,
        "converged": not doubts,
        "verdict": "NOT CONVERGED: " + "; ".join(doubts) if doubts else "converged",
    }


@partial(jax.jit, static_argnames="count")
def _draw_points(population, mean, covariance, x, key, count: int) -> Points:
    center, spread = unpacked(x)
    middle, width = population.hyperprior
    whole = dist.Normal(middle + width * center, spread).to_event(1)
    own = dist.MultivariateNormal(mean, covariance * WIDER**2)
    key_whole, key_own = jax.random.split(key)
    few = round(count * FROM_POPULATION)
    theta = jnp.concatenate([whole.sample(key_whole, (few, mean.shape[0])), own.sample(key_own, (count - few,))])
    log_density = jnp.logaddexp(
        jnp.log(FROM_POPULATION) + whole.log_prob(theta), jnp.log1p(-FROM_POPULATION) + own.log_prob(theta)
    )
    log_likelihood = jax.lax.map(population.log_likelihood, theta, batch_size=100)
    return Points(jnp.swapaxes(theta, 0, 1), log_likelihood.T, log_density.T)


@jax.jit
def _population_mode(population, points, x):
    """The x of largest density."""
    found = minimize(
        lambda x: -population.log_density(points, x) / population.cohort.size, x, method="BFGS", options={"maxiter": 60}
    )
    return found.x


@partial(jax.jit, static_argnames="count")
def _laplace_draws(population, points, x, key, count: int):
    """(count, unknowns) draws from a t distribution around the mode x, and the logarithms of their weights."""
    curvature, axes = jnp.linalg.eigh(-jax.hessian(partial(population.log_density, points))(x))
    covariance = product(axes / jnp.maximum(curvature, FLATTEST), axes.T)
    proposal = dist.MultivariateStudentT(5.0, x, jnp.linalg.cholesky((covariance + covariance.T) / 2))
    xs = proposal.sample(key, (count,))
    density = jax.lax.map(partial(population.log_density, points), xs)
    return xs, density - proposal.log_prob(xs)


@jax.jit
def _patient_moments(population, points, x):
    """Mean (patients, parameters) and covariance of every patient's posterior."""
    weights = jax.nn.softmax(population.log_weights(points, *unpacked(x)), axis=1)
    mean = jnp.einsum("ns,nsp->np", weights, points.theta, precision="highest")
    away = points.theta - mean[:, None]
    covariance = jnp.einsum("ns,nsp,nsq->npq", weights, away, away, precision="highest")
    return mean, covariance + NARROWEST**2 * jnp.eye(mean.shape[1])


@jax.jit
def _draw_patients(population, points, xs, key) -> Float[Array, "draws patients parameters"]:
    """One point of every patient for every draw of the population."""

    def one(drawn):
        key, x = drawn
        which = jax.random.categorical(key, population.log_weights(points, *unpacked(x)), axis=1)
        return jnp.take_along_axis(points.theta, which[:, None, None], axis=1)[:, 0]

    return jax.lax.map(one, (jax.random.split(key, len(xs)), xs))
