"""How patients differ: a hierarchical model of a cohort, and the prior for the next patient that follows from it."""

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.scipy.optimize import minimize
from jax.scipy.special import logsumexp
from jaxtyping import Array, Bool, Float

from twinjax.calibration.diagnostics import smoothed_weights
from twinjax.calibration.prior import Prior
from twinjax.calibration.tumor import Tumor
from twinjax.core.errors import InputError
from twinjax.model import AbstractClosedFormModel, AbstractLumpedModel, InitialSize
from twinjax.observation import QuantityObservation
from twinjax.patient import ClinicalCourse
from twinjax.simulation import simulate
from twinjax.treatment import Regimen

# Vehtari et al. 2024 (JMLR 25:72): weights whose tail has a larger shape are not to be trusted.
LARGEST_PARETO_K = 0.7
# Of the log likelihood in the last round, per patient: below, the mode no longer moves.
LARGEST_CHANGE = 0.02
# Of the points of one patient: fewer effective ones say little of that patient.
SMALLEST_PATIENT_POINTS = 20
# Share of a patient's points drawn from the population, lest a region be missed; the others are drawn from the normal
# distribution of the patient's own moments, wider by this factor.
FROM_POPULATION, WIDER = 0.15, 1.4
# Patients differ by at least this much in ln(parameter): less could not be told, and would leave few points effective.
NARROWEST = 0.1
# Of the curvature at the population's mode, in unknowns whose prior is about standard: what is flatter is cut here.
FLATTEST = 0.25
# A model error of a walk is stated per this many days, the usual time between two scans.
WALK_DAYS = 42.0


class Cohort(eqx.Module):
    """The readings of one quantity in many patients, padded to the longest series.

    **Fields:** `days`, `values` (patients, readings), padded with the last one; `given` (patients, readings), False
    where padded; `regimen`, with an axis of patients in front of every array, or of no treatment.
    """

    days: Float[Array, "patients readings"]
    values: Float[Array, "patients readings"]
    given: Bool[Array, "patients readings"]
    regimen: Regimen

    @classmethod
    def from_courses(cls, courses: Sequence[ClinicalCourse], quantity: str) -> "Cohort":
        """`InputError` for a patient without that quantity, or for regimens that cannot be solved side by side."""
        if not courses:
            raise InputError("a cohort needs at least one patient")
        missing = [course.patient_id for course in courses if quantity not in course.measurements]
        if missing:
            raise InputError(f"patient {missing[0]} has no '{quantity}'; leave the patient out")
        series = [course.measurements[quantity] for course in courses]
        longest = max(days.size for days, _ in series)
        days, values = (
            np.stack([np.pad(one[part], (0, longest - one[part].size), mode="edge") for one in series])
            for part in (0, 1)
        )
        given = np.arange(longest) < np.array([[one[0].size] for one in series])
        return cls(jnp.asarray(days), jnp.asarray(values), jnp.asarray(given), _side_by_side(courses))

    @property
    def size(self) -> int:
        """How many patients."""
        return self.days.shape[0]

    @property
    def last(self) -> Array:
        """(patients,) index of each patient's last reading."""
        return jnp.sum(self.given, axis=1) - 1


def _side_by_side(courses: Sequence[ClinicalCourse]) -> Regimen:
    """The regimens as one, with an axis of patients in front of every array."""
    regimens = [eqx.partition(course.regimen, eqx.is_array) for course in courses]
    kinds = {
        (jax.tree.structure(arrays), str(static), tuple(leaf.shape for leaf in jax.tree.leaves(arrays)))
        for arrays, static in regimens
    }
    if len(kinds) > 1:
        raise InputError("the patients of a cohort must have the same kinds of treatment with equally many doses")
    return eqx.combine(jax.tree.map(lambda *leaves: jnp.stack(leaves), *(r[0] for r in regimens)), regimens[0][1])


class AbstractResidual(eqx.Module):
    """How readings scatter around a patient's curve, on the scale of the observation (a logarithm).

    Student t, so that one odd reading does not bend a curve. The scatter of reading itself (half a millimetre on a
    ruler) widens it in variance. Each patient has a scale of its own.

    **Fields:** `freedom`, degrees of freedom of the t distribution; more than 2, so that the variance exists.
    """

    freedom: eqx.AbstractVar[float]

    @abc.abstractmethod
    def log_likelihood(self, error, days, given, reading_variance, scale) -> Array:
        """Of one patient's `error` = measured - curve (readings,); a scalar."""

    @abc.abstractmethod
    def offset(self, error, last) -> Array:
        """How far above the curve later readings are expected, given the errors so far; `last` is their last index."""

    @abc.abstractmethod
    def draw(self, key, elapsed, scale) -> Array:
        """Model error at `elapsed` days (times,) after the last reading, ascending."""


class IndependentResidual(AbstractResidual):
    """Every reading errs by itself, by `scale`."""

    freedom: float = 4.0

    def log_likelihood(self, error, days, given, reading_variance, scale):
        width = jnp.sqrt(scale**2 + reading_variance)
        return jnp.sum(jnp.where(given, dist.StudentT(self.freedom, 0.0, width).log_prob(error), 0.0))

    def offset(self, error, last):
        return jnp.zeros(())

    def draw(self, key, elapsed, scale):
        return scale * jax.random.t(key, self.freedom, elapsed.shape)


class WalkingResidual(AbstractResidual):
    """The model's error walks: it changes by `scale` in 42 days, and by the square root of the time in others.

    Curves then say how sizes change, and forecasts start from the last reading.
    """

    freedom: float = 4.0

    def log_likelihood(self, error, days, given, reading_variance, scale):
        both = given[1:] & given[:-1]
        gap = jnp.where(both, jnp.diff(days), WALK_DAYS)
        width = jnp.sqrt(scale**2 * gap / WALK_DAYS + reading_variance[1:] + reading_variance[:-1])
        return jnp.sum(jnp.where(both, dist.StudentT(self.freedom, 0.0, width).log_prob(jnp.diff(error)), 0.0))

    def offset(self, error, last):
        return error[last]

    def draw(self, key, elapsed, scale):
        gap = jnp.diff(elapsed, prepend=0.0)
        return jnp.cumsum(scale * jnp.sqrt(gap / WALK_DAYS) * jax.random.t(key, self.freedom, elapsed.shape))


class PopulationModel(eqx.Module):
    """Readings of a cohort under one tumour model whose parameters differ from patient to patient.

        ln theta_ip = m_p + s_p z_ip,  z_ip ~ N(0, 1);   ln(y_ij + offset) = ln(q(theta_i, t_ij) + offset) + error

    The last of theta_i is the scale of the patient's errors. `prior` gives the distribution of each population median
    exp(m_p), and must be log-normal; the between-patient deviation s_p is half-normal with scale `largest_spread`. A
    patient starts from the first reading, unless `initial.ratio` is among the parameters.

    **Fields:** `cohort`; `model`, whose size is the measured quantity; `observation`, with the quantity, the offset
    and, as `noise_std`, the middle of the prior of the scale of errors (a factor of e up or down); `prior` (static);
    `residual`; `largest_spread`; `reading_error`, the deviation of reading in the unit of the quantity.
    """

    cohort: Cohort
    model: AbstractLumpedModel
    observation: QuantityObservation
    prior: Prior = eqx.field(static=True)
    residual: AbstractResidual
    largest_spread: float
    reading_error: float

    def __init__(
        self,
        cohort: Cohort,
        model: AbstractLumpedModel,
        observation: QuantityObservation,
        prior: Prior,
        *,
        residual: AbstractResidual | None = None,
        largest_spread: float = 1.0,
        reading_error: float = 0.0,
    ):
        for parameter in prior.parameters:
            if not isinstance(parameter.distribution, dist.LogNormal):
                raise InputError(f"prior of {parameter.name}: a population needs [lognormal, median, sigma]")
        self.cohort, self.model, self.observation, self.prior = cohort, model, observation, prior
        self.residual = IndependentResidual() if residual is None else residual
        self.largest_spread, self.reading_error = float(largest_spread), float(reading_error)

    @property
    def names(self) -> tuple[str, ...]:
        """Of what differs between patients."""
        return (*self.prior.names, "error_scale")

    @property
    def hyperprior(self) -> tuple[Array, Array]:
        """Mean and deviation of each m_p."""
        laws: list[Any] = [parameter.distribution for parameter in self.prior.parameters]
        means = [jnp.asarray(law.loc) for law in laws] + [jnp.log(self.observation.noise_std)]
        return jnp.stack(means), jnp.stack([*(jnp.asarray(law.scale) for law in laws), jnp.ones(())])

    def curves(self, theta, days) -> Float[Array, "patients times"]:
        """Every patient's quantity at `days` (patients, times; ascending), on the scale of the observation."""
        plain = self.prior.replaced({name: ("lognormal", 1.0, 1.0) for name in self.prior.names})

        def one(logs, size, regimen, start, days):
            tumor = Tumor(self.model, regimen, InitialSize(size), {}).with_parameters(plain, logs)
            if isinstance(tumor.model, AbstractClosedFormModel) and not regimen.treatments:
                states = jax.vmap(tumor.model.untreated, (None, 0))(tumor.state0(), days - start)
            else:
                states = simulate(tumor.model, regimen, tumor.state0(), days, start=start).states
            return jax.vmap(lambda state: self.observation.predict(tumor.model, state))(states)

        cohort = self.cohort
        return eqx.filter_vmap(one)(theta, cohort.values[:, 0], cohort.regimen, cohort.days[:, 0], days)

    def errors(self, theta) -> Float[Array, "patients readings"]:
        """Measured minus curve, for one `theta` (patients, parameters) of each patient."""
        return self.observation.transform(self.cohort.values) - self.curves(theta, self.cohort.days)

    def log_likelihood(self, theta: Float[Array, "patients parameters"]) -> Float[Array, " patients"]:
        """Of each patient's readings; minus infinity where the curve is not finite."""
        cohort = self.cohort
        variance = (self.reading_error / (cohort.values + self.observation.offset)) ** 2
        found = jax.vmap(self.residual.log_likelihood)(
            self.errors(theta), cohort.days, cohort.given, variance, jnp.exp(theta[:, -1])
        )
        return jnp.where(jnp.isfinite(found), found, -jnp.inf)

    def log_density(self, points: "Points", x: Float[Array, " unknowns"]) -> Array:
        """Log posterior of the population at x (see `unpacked`), patients integrated out over their `points`."""
        center, spread = unpacked(x)
        prior = dist.Normal().log_prob(center).sum() + dist.HalfNormal(self.largest_spread).log_prob(spread).sum()
        # The last sum is of the change of variable from spread to its logarithm.
        return self.log_marginal(points, x) + prior + jnp.sum(jnp.log(spread - NARROWEST))

    def log_marginal(self, points: "Points", x: Float[Array, " unknowns"]) -> Array:
        """Log likelihood of all readings under the population at x."""
        log_weights = self.log_weights(points, *unpacked(x))
        return jnp.sum(logsumexp(log_weights, axis=1) - jnp.log(log_weights.shape[1]))

    def log_weights(self, points: "Points", center, spread) -> Float[Array, "patients points"]:
        """Logarithm of each point's importance, not normalised."""
        middle, width = self.hyperprior
        population = dist.Normal(middle + width * center, spread).log_prob(points.theta).sum(axis=-1)
        return points.log_likelihood + population - points.log_density

    def fit(self, *, key: Array, points: int = 1000, rounds: int = 6, draws: int = 500) -> "PopulationPosterior":
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
        middle, width = self.hyperprior
        count = len(self.names)
        x = jnp.concatenate([jnp.zeros(count), jnp.full(count, jnp.log(0.5))])
        mean = jnp.broadcast_to(middle, (self.cohort.size, count))
        covariance = jnp.broadcast_to(jnp.diag(width**2 + self.largest_spread**2), (*mean.shape, count))
        keys, log_marginals = jax.random.split(key, rounds + 3), []
        for i in range(rounds):
            cloud = _draw_points(self, mean, covariance, x, keys[i], points)
            x = _population_mode(self, cloud, x)
            mean, covariance = _patient_moments(self, cloud, x)
            log_marginals.append(float(self.log_marginal(cloud, x)))
        xs, log_ratio = _laplace_draws(self, cloud, x, keys[-3], 2 * draws)
        smoothed, pareto_k = smoothed_weights(np.asarray(log_ratio))
        weights = np.exp(smoothed)
        xs = xs[jax.random.choice(keys[-2], len(weights), (draws,), p=jnp.asarray(weights / weights.sum()))]
        center, spread = jax.vmap(unpacked)(xs)
        weights_of_points = jax.nn.softmax(self.log_weights(cloud, *unpacked(x)), axis=1)
        diagnostics = _verdict(
            pareto_k,
            1 / np.sum((weights / weights.sum()) ** 2),
            1 / jnp.sum(weights_of_points**2, axis=1),
            log_marginals,
        )
        theta = _draw_patients(self, cloud, xs, keys[-1])
        return PopulationPosterior(self, np.asarray(center), np.asarray(spread), np.asarray(theta), diagnostics)


def unpacked(x: Float[Array, " unknowns"]) -> tuple[Array, Array]:
    """`center` and `spread` from a population's unknowns: `center` itself, and ln(spread - NARROWEST)."""
    center, log_spread = jnp.split(x, 2)
    return center, NARROWEST + jnp.exp(log_spread)


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


class Points(eqx.Module):
    """Values of theta for every patient, with what they say.

    **Fields:** `theta` (patients, points, parameters); `log_likelihood`, `log_density` (patients, points): of the
    patient's readings there, and of the distribution that the points were drawn from.
    """

    theta: Float[Array, "patients points parameters"]
    log_likelihood: Float[Array, "patients points"]
    log_density: Float[Array, "patients points"]


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
    covariance = (axes / jnp.maximum(curvature, FLATTEST)) @ axes.T
    proposal = dist.MultivariateStudentT(5.0, x, jnp.linalg.cholesky((covariance + covariance.T) / 2))
    xs = proposal.sample(key, (count,))
    density = jax.lax.map(partial(population.log_density, points), xs)
    return xs, density - proposal.log_prob(xs)


@jax.jit
def _patient_moments(population, points, x):
    """Mean (patients, parameters) and covariance of every patient's posterior."""
    weights = jax.nn.softmax(population.log_weights(points, *unpacked(x)), axis=1)
    mean = jnp.einsum("ns,nsp->np", weights, points.theta)
    away = points.theta - mean[:, None]
    covariance = jnp.einsum("ns,nsp,nsq->npq", weights, away, away)
    return mean, covariance + NARROWEST**2 * jnp.eye(mean.shape[1])


@jax.jit
def _draw_patients(population, points, xs, key) -> Float[Array, "draws patients parameters"]:
    """One point of every patient for every draw of the population."""

    def one(drawn):
        key, x = drawn
        which = jax.random.categorical(key, population.log_weights(points, *unpacked(x)), axis=1)
        return jnp.take_along_axis(points.theta, which[:, None, None], axis=1)[:, 0]

    return jax.lax.map(one, (jax.random.split(key, len(xs)), xs))


@dataclass(frozen=True, eq=False)
class PopulationPosterior:
    """Draws of a population and of its patients.

    **Fields:** `population`, the model that was fitted; `center` (draws, parameters), population medians in deviations
    of their prior; `spread` (draws, parameters); `theta` (draws, patients, parameters), logarithms of every patient's
    parameters; `diagnostics`: `pareto_k` and `ess` of the population's draws, `patient_points` (effective points of
    each patient), `log_marginal` (of each round; it settles), `converged`, `verdict`.
    """

    population: PopulationModel
    center: Float[np.ndarray, "draws parameters"]
    spread: Float[np.ndarray, "draws parameters"]
    theta: Float[np.ndarray, "draws patients parameters"]
    diagnostics: dict[str, Any]

    def medians(self) -> dict[str, tuple[float, float]]:
        """Name to the median of the population and its between-patient deviation of ln; posterior means."""
        logs, spread = self._log_medians().mean(axis=0), self.spread.mean(axis=0)
        return {n: (float(np.exp(logs[i])), float(spread[i])) for i, n in enumerate(self.population.names)}

    def _log_medians(self) -> Float[np.ndarray, "draws parameters"]:
        middle, width = (np.asarray(part) for part in self.population.hyperprior)
        return middle + width * self.center

    def prior(self) -> Prior:
        """The prior of a new patient's parameters: log-normal, wider for what the cohort left open of its median."""
        new, logs = {}, self._log_medians()
        for i, name in enumerate(self.population.prior.names):
            variance = logs[:, i].var() + np.mean(self.spread[:, i] ** 2)
            new[name] = ("lognormal", float(np.exp(logs[:, i].mean())), float(np.sqrt(variance)))
        return self.population.prior.replaced(new)

    def forecast(self, days: Float[np.ndarray, "patients times"], *, key: Array) -> "PopulationForecast":
        """Every patient at later `days` (patients, times; ascending), in the unit of the quantity."""
        population = self.population
        cohort, asked = population.cohort, jnp.asarray(days, float)
        elapsed = asked - jnp.take_along_axis(cohort.days, cohort.last[:, None], 1)
        if bool((elapsed < 0).any()):
            raise InputError("forecast days lie before a patient's last reading")
        keys = jax.random.split(key, len(self.theta))
        median, readings = _forecast(population, jnp.asarray(self.theta), asked, elapsed, keys)
        return PopulationForecast(np.asarray(median), np.asarray(readings))


@jax.jit
def _forecast(population, theta, days, elapsed, keys):
    def one(drawn):
        key, theta = drawn
        offset = jax.vmap(population.residual.offset)(population.errors(theta), population.cohort.last)
        curve = population.curves(theta, days) + offset[:, None]
        key_error, key_reading = jax.random.split(key)
        error = jax.vmap(population.residual.draw)(
            jax.random.split(key_error, len(theta)), elapsed, jnp.exp(theta[:, -1])
        )
        size = population.observation.untransform(curve + error)
        reading = size + population.reading_error * jax.random.normal(key_reading, size.shape)
        return population.observation.untransform(curve), jnp.maximum(reading, 0.0)

    expected, readings = jax.lax.map(one, (keys, theta), batch_size=50)
    return jnp.maximum(jnp.median(expected, axis=0), 0.0), readings


@dataclass(frozen=True, eq=False)
class PopulationForecast:
    """Of every patient at later days.

    **Fields:** `median` (patients, times), of the curves, which the symmetric errors do not shift; `readings` (draws,
    patients, times), with all errors.
    """

    median: Float[np.ndarray, "patients times"]
    readings: Float[np.ndarray, "draws patients times"]

    def interval(self, level: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """(patients, times) lower and upper end of the central interval of readings."""
        if not 0 < level < 1:
            raise InputError(f"the level of an interval lies between 0 and 1, got {level}")
        lower, upper = np.quantile(self.readings, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return lower, upper

    def quantile_score(self, measured: Float[np.ndarray, "patients times"]) -> Float[np.ndarray, "patients times"]:
        """Twice the mean quantile loss at 5, 10, ... 95 %, in the unit of the quantity; about the probability score.

        Gneiting and Raftery 2007 (JASA 102:359). Of a forecast without spread it is the absolute error.
        """
        levels = np.linspace(0.05, 0.95, 19)
        apart = measured - np.quantile(self.readings, levels, axis=0)
        levels = levels.reshape(-1, 1, 1)
        return 2 * np.mean(np.where(apart >= 0, levels, levels - 1) * apart, axis=0)
