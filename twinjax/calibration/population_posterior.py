"""What a cohort says: draws of the population and of its patients, the prior for the next patient, and forecasts."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from twinjax.calibration.population import PopulationModel
from twinjax.calibration.prior import Prior
from twinjax.core.errors import InputError


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
