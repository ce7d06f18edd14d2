"""Do volumes of xenografts that were held out come out? Patient-derived tumours of Gao et al. 2015 (Nat Med 21:1318).

    TWINJAX_DATA=<folder> python experiments/xenograft_cohort/run.py [--organ lung --arm untreated] [--figure FILE.png]

Reads `pancreas`, `breast` and `lung/xenograft_volumes.csv` (tumor_model, animal_id, arm, day, volume_mm3; public at
github.com/SCBIT-YYLab/DRAP). Of every curve with eight or more volumes the first 60 % (rounded up) are fitted and the
rest is predicted. The table has the median relative error |predicted - measured| / measured of the last volume, by arm:

- last value: the last fitted volume carried forward;
- exponential, Gompertz: each curve by itself, least squares on the logarithm;
- population: twinjax's `VolumeModel` with start, rate and capacity of each curve under a population prior, which is
  learnt from the fitted volumes of the same arm (empirical Bayes), each curve by Levenberg-Marquardt. The model errs in
  its growth rate, which wanders about the law's: an Ornstein-Uhlenbeck process of a correlation time of
  `DAYS_CORRELATED`, integrated; readings scatter besides. Law and correlation time are those under which the fitted
  volumes are likeliest (Laplace's approximation of the evidence). `inside 90 %`: the share of all held-out volumes in
  their intervals.

The population knows nothing of the volumes held out. The schedules of the drugs are not part of the data: a treated arm
has rates and capacities of its own, and no drug in the model. That the error is one of the growth rate, and not a walk
of the volume or none, was decided with the held-out volumes of these arms in view (three forms). The figure has the
first curves of the last arm.
"""

import argparse
import csv
import os
import sys
from collections import defaultdict
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array
from matplotlib.figure import Figure
from scipy.optimize import least_squares

from twinjax.model import VolumeModel

ARMS = (
    ("pancreas", "untreated"),
    ("pancreas", "gemcitabine-50mpk"),
    ("breast", "untreated"),
    ("breast", "paclitaxel"),
    ("lung", "untreated"),
    ("lung", "paclitaxel"),
)
FEWEST, FITTED = 8, 0.6
# ln of V0 (mm³), rate (1/day) and capacity (mm³): where the population is looked for, and how far it may reach.
FIRST_GUESS, FIRST_SPREAD, SMALLEST_SPREAD = (np.log(250.0), np.log(0.04), np.log(5000.0)), (0.5, 1.0, 1.5), 0.02
FIRST_SCATTER, FIRST_DRIFT, STEP = 0.1, 0.01, 1.15
ROUNDS = 40
LAWS, DAYS_CORRELATED = ("exponential", "logistic", "gompertz"), (7.0, 15.0, 30.0)
# mm³: logistic growth towards it is exponential.
NO_CAPACITY = 1e9
# Deviations of a normal 90 % interval, and curves that are drawn.
OF_NINETY, DRAWN = 1.645, 5


def curves(path: Path, arm: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """(days, volumes) of each animal of an arm with `FEWEST` volumes or more."""
    if not path.is_file():
        sys.exit(f"{path} is not there: TWINJAX_DATA must name the folder with xenograft_volumes.csv of each organ")
    found = defaultdict(list)
    with path.open() as file:
        for row in csv.DictReader(file):
            if row["arm"] == arm and float(row["volume_mm3"]) > 0:
                found[row["tumor_model"], row["animal_id"], row["arm"]].append(
                    (float(row["day"]), float(row["volume_mm3"]))
                )
    series = [np.array(sorted(values)).T for _, values in sorted(found.items())]
    return [(days, volumes) for days, volumes in series if days.size >= FEWEST]


def exponential(days, volumes, day: float) -> float:
    slope, start = np.polyfit(days, np.log(volumes), 1)
    return float(np.exp(start + slope * day))


def gompertz(days, volumes, day: float) -> float:
    """Least squares on the logarithm from several starts; capacities up to 1e6 mm³."""

    def curve(theta, at):
        return theta[2] + (theta[0] - theta[2]) * np.exp(-np.exp(theta[1]) * np.asarray(at))

    starts = [(np.log(volumes[0]), np.log(rate), np.log(top)) for rate in (0.01, 0.05, 0.2) for top in (500, 3000, 2e4)]
    bounds = ([-5.0, np.log(1e-4), 0.0], [12.0, np.log(2.0), np.log(1e6)])
    fits = [least_squares(lambda x: curve(x, days) - np.log(volumes), start, bounds=bounds) for start in starts]
    return float(np.exp(curve(min(fits, key=lambda fit: fit.cost).x, day)))


class Population(eqx.Module):
    """ln theta_i ~ N(mean, spread²); errors of ln V: `scatter` in every reading, and those of the growth rate.

    The growth rate is off by a process of deviation `drift` (1/day) and correlation time `correlated` (days), whose
    integral the volume shows.
    """

    mean: Array
    spread: Array
    scatter: Array
    drift: Array
    correlated: Array

    def covariance(self, days) -> Array:
        """Of the errors of one curve's readings, from the first day on."""
        t, s, tau = days[:, None] - days[0], days[None] - days[0], self.correlated
        both = jnp.exp(-t / tau) + jnp.exp(-s / tau) - 1 - jnp.exp(-jnp.abs(t - s) / tau)
        integrated = 2 * tau * jnp.minimum(t, s) + tau**2 * both
        return self.drift**2 * integrated + self.scatter**2 * jnp.eye(days.size)


def log_volumes(theta, days, law: str) -> Array:
    """ln V of twinjax's model at `days` (readings,); theta: ln of V0, rate and capacity."""
    start, rate, capacity = jnp.exp(theta)
    if law == "exponential":
        law, capacity = "logistic", NO_CAPACITY
    model = VolumeModel(growth=law, proliferation_rate=rate, carrying_capacity_mm3=capacity)
    return jnp.log(jax.vmap(model.untreated, (None, 0))(start, days))


def of_fitted(covariance, fitted) -> Array:
    """The covariance of fitted readings; the others apart from them, with variance 1."""
    return jnp.where(fitted[:, None] & fitted[None], covariance, jnp.eye(fitted.size))


@eqx.filter_jit
def individuals(population: Population, start, days, logs, fitted, law: str):
    """The mode of every curve's parameters, from `start`, and their covariance (Laplace)."""

    def one(start, days, logs, fitted):
        factor = jnp.linalg.cholesky(of_fitted(population.covariance(days), fitted))

        def residuals(theta, _):
            error = jnp.where(fitted, log_volumes(theta, days, law) - logs, 0.0)
            whitened = jax.scipy.linalg.solve_triangular(factor, error, lower=True)
            return jnp.concatenate([whitened, (theta - population.mean) / population.spread])

        solver = optx.LevenbergMarquardt(rtol=1e-6, atol=1e-6)
        found = optx.least_squares(residuals, solver, start, max_steps=100, throw=False).value
        jacobian = jax.jacfwd(residuals)(found, None)
        return found, jnp.linalg.inv(jacobian.T @ jacobian)

    return jax.vmap(one)(start, days, logs, fitted)


@eqx.filter_jit
def evidence(population: Population, theta, days, logs, fitted, law: str) -> Array:
    """The log evidence of all curves (Laplace), with their parameters linearised about `theta`."""

    def one(theta, days, logs, fitted):
        slope = jnp.where(fitted[:, None], jax.jacfwd(log_volumes)(theta, days, law), 0.0)
        spread = slope @ jnp.diag(population.spread**2) @ slope.T
        covariance = of_fitted(population.covariance(days) + spread, fitted)
        at_mean = log_volumes(theta, days, law) + slope @ (population.mean - theta)
        error = jnp.where(fitted, logs - at_mean, 0.0)
        return -(error @ jnp.linalg.solve(covariance, error) + jnp.linalg.slogdet(covariance)[1]) / 2

    return jnp.sum(jax.vmap(one)(theta, days, logs, fitted))


def next_population(population: Population, theta, covariance, days, logs, fitted, law: str) -> Population:
    """Mean and spread by expectation-maximisation; scatter and drift a step towards the larger evidence."""
    mean = theta.mean(axis=0)
    variance = jnp.mean((theta - mean) ** 2 + jax.vmap(jnp.diag)(covariance), axis=0)
    spread = jnp.maximum(jnp.sqrt(variance), SMALLEST_SPREAD)
    tried = [
        Population(mean, spread, population.scatter * a, population.drift * b, population.correlated)
        for a, b in [(1, 1), (STEP, 1), (1 / STEP, 1), (1, STEP), (1, 1 / STEP)]
    ]
    return max(tried, key=lambda one: float(evidence(one, theta, days, logs, fitted, law)))


@eqx.filter_jit
def forecast(population: Population, theta, covariance, days, logs, fitted, law: str):
    """Mean and deviation of every reading of ln V, given the fitted ones."""

    def one(theta, covariance, days, logs, fitted):
        errors = population.covariance(days)
        gain = jnp.where(fitted[None], errors, 0.0) @ jnp.linalg.inv(of_fitted(errors, fitted))
        curve, slope = log_volumes(theta, days, law), jax.jacfwd(log_volumes)(theta, days, law)
        seen = jnp.where(fitted, logs - curve, 0.0)
        open_slope = slope - gain @ jnp.where(fitted[:, None], slope, 0.0)
        left = errors - gain @ jnp.where(fitted[:, None], errors, 0.0)
        return curve + gain @ seen, jnp.sqrt(jnp.diag(open_slope @ covariance @ open_slope.T + left))

    return jax.vmap(one)(theta, covariance, days, logs, fitted)


def fitted_population(series, law: str, correlated: float) -> dict:
    """Median relative error of the last volume, coverage of all held-out ones, evidence and population.

    And `expected` and `deviation` (curves, readings) of ln V, given the fitted readings.
    """
    longest = max(days.size for days, _ in series)
    days, volumes = (np.stack([np.pad(s[i], (0, longest - s[i].size), mode="edge") for s in series]) for i in (0, 1))
    sizes = np.array([s[0].size for s in series])
    position = np.arange(longest)
    fitted = position < [[fitted_count(n)] for n in sizes]
    held_out = (position < sizes[:, None]) & ~fitted
    logs = np.log(volumes)
    data = days, logs, fitted, law
    first = (FIRST_GUESS, FIRST_SPREAD, FIRST_SCATTER, FIRST_DRIFT, correlated)
    population = Population(*map(jnp.asarray, first))
    # Each curve starts from its own first volume, and a capacity twice its largest fitted one.
    top = np.log(2 * np.where(fitted, volumes, 0.0).max(axis=1))
    theta = jnp.stack([logs[:, 0], np.full(len(series), FIRST_GUESS[1]), top], axis=1)
    for _ in range(ROUNDS):
        theta, covariance = individuals(population, theta, *data)
        population = next_population(population, theta, covariance, *data)
    theta, covariance = individuals(population, theta, *data)
    expected, deviation = (np.asarray(part) for part in forecast(population, theta, covariance, *data))
    error = expected - logs
    last = np.arange(len(sizes)), sizes - 1
    return {
        "error": float(np.median(np.abs(np.expm1(error[last])))),
        "inside": float(np.mean(np.abs(error[held_out]) < OF_NINETY * deviation[held_out])),
        "evidence": float(evidence(population, theta, *data)),
        "population": population,
        "expected": expected,
        "deviation": deviation,
    }


def fitted_count(readings: int) -> int:
    # Less than a rounding error above a whole number is that number.
    return int(np.ceil(FITTED * readings - 1e-9))


def chosen_population(series) -> tuple[dict, str, float]:
    """The fit of largest evidence, its law and correlation time: the law first, at the middle time."""
    _, middle, _ = DAYS_CORRELATED
    fits = {(law, middle): fitted_population(series, law, middle) for law in LAWS}
    law, _ = max(fits, key=lambda key: fits[key]["evidence"])
    fits |= {(law, time): fitted_population(series, law, time) for time in DAYS_CORRELATED if time != middle}
    best = max(fits, key=lambda key: fits[key]["evidence"])
    return fits[best], *best


def forecasts(series, best: dict) -> Figure:
    """The first curves, and what the population says of them with the readings that were fitted."""
    figure = Figure(figsize=(11, 2.6), layout="constrained")
    shown = list(zip(series, best["expected"], best["deviation"], strict=True))[:DRAWN]
    axes = figure.subplots(1, len(shown), squeeze=False)[0]
    for axis, ((days, volumes), expected, deviation) in zip(axes, shown, strict=True):
        fitted = fitted_count(days.size)
        later, middle = days[fitted:], expected[fitted : days.size]
        width = OF_NINETY * deviation[fitted : days.size]
        axis.fill_between(later, np.exp(middle - width), np.exp(middle + width), color="tab:blue", alpha=0.2, lw=0)
        axis.plot(later, np.exp(middle), color="tab:blue", label="population, 90 %")
        axis.plot(days[:fitted], volumes[:fitted], "ko", ms=3, label="fitted")
        axis.plot(days[fitted:], volumes[fitted:], "ko", mfc="white", ms=3, label="held out")
        axis.set_ylim(bottom=0)
        axis.set_xlabel("day")
    axes[0].set_ylabel("volume, mm³")
    axes[0].legend(fontsize=6)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--organ", choices=sorted({organ for organ, _ in ARMS}), help="only this one")
    parser.add_argument("--arm", choices=sorted({arm for _, arm in ARMS}), help="only this one")
    parser.add_argument("--figure", type=Path)
    chosen = parser.parse_args()
    arms = [one for one in ARMS if chosen.organ in (None, one[0]) and chosen.arm in (None, one[1])]
    if not arms:
        parser.error(f"there is no arm {chosen.arm} of {chosen.organ}")
    jax.config.update("jax_enable_x64", True)
    folder = Path(os.environ.get("TWINJAX_DATA", ""))
    methods = {"last value": lambda days, volumes, day: volumes[-1], "exponential": exponential, "Gompertz": gompertz}
    head = ["organ", "arm", "curves", *methods, "population", "inside 90 %", "law", "days correlated"]
    print("| " + " | ".join(head) + " |\n|" + " --- |" * len(head))
    notes = []
    for organ, arm in arms:
        series = curves(folder / organ / "xenograft_volumes.csv", arm)
        errors = {name: [] for name in methods}
        for days, volumes in series:
            n = fitted_count(days.size)
            for name, method in methods.items():
                errors[name].append(abs(method(days[:n], volumes[:n], days[-1]) / volumes[-1] - 1))
        best, law, time = chosen_population(series)
        cells = [organ, arm, len(series), *(f"{np.median(errors[name]):.3f}" for name in methods)]
        cells += [f"{best['error']:.3f}", f"{best['inside']:.2f}", law, f"{time:.0f}"]
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)
        if chosen.figure:
            chosen.figure.parent.mkdir(parents=True, exist_ok=True)
            forecasts(series, best).savefig(chosen.figure, dpi=110)
        population = best["population"]
        middle, spread = np.exp(population.mean), population.spread
        notes.append(
            f"{organ}, {arm}: start {middle[0]:.0f} mm³ ({spread[0]:.2f}), "
            f"rate {middle[1]:.4f} 1/day ({spread[1]:.2f}), capacity {middle[2]:.0f} mm³ ({spread[2]:.2f}), "
            f"scatter {population.scatter:.3f}, growth rate off by {population.drift:.4f} 1/day, "
            f"log evidence {best['evidence']:.1f}"
        )
    print("\nPopulations: median (deviation of the logarithm)")
    print("\n".join(notes))


if __name__ == "__main__":
    main()
