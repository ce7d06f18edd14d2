"""Forecasts of a patient without images: the quantities that the model predicts, over time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from twinjax.calibration import InverseProblem, Tumor
from twinjax.calibration.filled import filled
from twinjax.calibration.problem import walks
from twinjax.calibration.walk import continued_walk
from twinjax.core.bucket import bucket
from twinjax.core.errors import InputError, SolverError
from twinjax.observation import QuantityObservation
from twinjax.twin.draws import interval, places_of, with_scatter
from twinjax.twin.solution import quantities_of, solved
from twinjax.twin.time_to_progression import ProgressionForecast, time_to_progression

# Draws that are solved at once.
CHUNK = 50


@dataclass(frozen=True, eq=False)
class CourseForecast:
    """The posterior predictive of what is measured.

    **Fields:** `times` (T,) days since baseline; `quantities`, name to (draws, T), that of the model's size with the
    error of a model that walks (`course_problem`, `model_error`); `noise`, measured quantity to the
    deviation of the logarithm of a new measurement; `offset`, likewise, what is added before that logarithm;
    `failed_draws`, which the solver could not follow and which are left out; `drawn` (draws,), which of the draws that
    were asked for are there: forecasts under different treatments are paired by it.
    """

    times: np.ndarray
    quantities: dict[str, np.ndarray]
    noise: dict[str, float]
    offset: dict[str, float]
    failed_draws: int
    drawn: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        times: np.ndarray,
        quantities: Mapping[str, np.ndarray],
        measured: Iterable[QuantityObservation],
        failed: int,
        drawn: np.ndarray | None = None,
    ) -> "CourseForecast":
        """Of the `measured` among the quantities that a model predicts."""
        found = list(measured)
        return cls(
            times,
            dict(quantities),
            {o.quantity: float(o.noise_std) for o in found},
            {o.quantity: float(o.offset) for o in found},
            failed,
            drawn,
        )

    def at(self, days: Sequence[float]) -> "CourseForecast":
        """The same forecast on some of its days only; `InputError` for a day that it does not have."""
        index = places_of(days, self.times)
        kept = {name: draws[:, index] for name, draws in self.quantities.items()}
        return replace(self, times=self.times[index], quantities=kept)

    def interval(self, quantity: str, level: float = 0.9, *, measured: bool = False) -> np.ndarray:
        """(3, T) lower end, median and upper end of `quantity`; `measured` as a new measurement would show it."""
        return interval(self.measured(quantity) if measured else self.quantities[quantity], level)

    def measured(self, quantity: str, *, seed: int = 0) -> np.ndarray:
        """(draws, T) the quantity with the scatter of its measurement."""
        if quantity not in self.noise:
            raise InputError(f"'{quantity}' is not measured; measured are {', '.join(self.noise)}")
        return with_scatter(self.quantities[quantity], self.noise[quantity], offset=self.offset[quantity], seed=seed)

    def progression(
        self, quantity: str, *, since: float | None = None, baseline: float | None = None, by: str | None = None
    ) -> ProgressionForecast:
        """When `quantity` has progressed; arguments and errors are those of `Forecast.progression`."""
        return time_to_progression(quantity, self.times, self.quantities, since=since, baseline=baseline, by=by)

    def rows(self) -> list[dict[str, Any]]:
        """One row per measured quantity and day: median, 90 % interval, and the interval of a new measurement."""
        rows = []
        for name in self.noise:
            plain, measured = self.interval(name), self.interval(name, measured=True)
            for i, day in enumerate(self.times.tolist()):
                ends = {"median": plain[1, i], "lower_90": plain[0, i], "upper_90": plain[2, i]}
                ends |= {"measured_lower_90": measured[0, i], "measured_upper_90": measured[2, i]}
                rows.append({"day": day, "quantity": name} | ends)
        return rows


def forecast_course(whole: Tumor, problem: InverseProblem, draws: np.ndarray, times: np.ndarray) -> CourseForecast:
    """Solve `whole` (under any regimen) for every draw (S, parameters).

    Raises `SolverError` where more than a tenth of the draws cannot be solved.
    """
    chunks = [draws[i : i + CHUNK] for i in range(0, len(draws), CHUNK)]
    # A draw has its own model error, the same in every forecast, so that options share it.
    keys = jax.random.split(jax.random.key(0), len(draws))
    # Patients with about as many days and doses share a program.
    shared, long = filled(problem).problem, whole.filled()
    days = jnp.asarray(np.pad(times, (0, bucket(len(times)) - len(times)), mode="edge"))
    parts = [
        _solved(long, shared, jnp.asarray(chunk), days, keys[i * CHUNK : (i + 1) * CHUNK])
        for i, chunk in enumerate(chunks)
    ]
    quantities = {
        name: np.concatenate([np.asarray(part[0][name])[:, : len(times)] for part in parts]) for name in parts[0][0]
    }
    success = np.concatenate([np.asarray(part[1]) for part in parts])
    failed = int(np.sum(~success))
    if failed > 0.1 * len(draws):
        raise SolverError(f"{failed} of {len(draws)} posterior draws could not be solved; the posterior is not usable")
    measured = [o for o in whole.observation.values() if isinstance(o, QuantityObservation)]
    kept = {name: values[success] for name, values in quantities.items()}
    return CourseForecast.of(times, kept, measured, failed, np.flatnonzero(success))


@eqx.filter_jit
def _solved(whole: Tumor, problem: InverseProblem, draws, times, keys):
    def one(z, key):
        tumor = whole.with_parameters(problem.forecast_prior, z)
        trajectory = solved(tumor, problem, times)
        return with_model_error(quantities_of(tumor, trajectory), problem, z, times, key), trajectory.success

    return jax.vmap(one)(draws, keys)


def with_model_error(quantities: dict[str, Array], problem: InverseProblem, z, times, key) -> dict[str, Array]:
    """The quantities with the model's error where it walks, drawn given the patient's readings."""
    walking = {name: one for name, one in problem.tumor.observation.items() if walks(one)}
    if not walking:
        return quantities
    expected, _ = problem.predictions(z[: problem.dimension])
    for name, one in walking.items():
        own = [(datum, e) for datum, e in zip(problem.data, expected, strict=True) if datum.observation == name]
        data, means = zip(*own, strict=True)
        error = continued_walk(one, data, means, problem.start, times, key)
        moved = one.untransform(one.transform(quantities[one.quantity]) + error)
        quantities = quantities | {one.quantity: jnp.maximum(moved, 0.0)}
    return quantities
