"""Intervals of draws, draws as a measurement would show them, and draws of several options side by side."""

from collections.abc import Mapping, Sequence

import numpy as np

from twinjax.core.errors import InputError

# Repeated measurements of each draw: enough that the tails of an interval are smooth.
REPEATS = 20
# Outcomes within this share of the lowest are as low: solves differ by 1e-6 where options end alike.
SAME_OUTCOME = 1e-4


def interval(draws: np.ndarray, level: float = 0.9) -> np.ndarray:
    """(3, T) lower end, median and upper end of draws (S, T); (3,) of draws (S,)."""
    tail = (1 - level) / 2
    return np.quantile(draws, [tail, 0.5, 1 - tail], axis=0)


def levels(values: np.ndarray, level: float = 0.9) -> dict[str, float]:
    """`lower`, `median` and `upper` of `interval`, of draws (S,) of one number."""
    return dict(zip(("lower", "median", "upper"), interval(values, level).tolist(), strict=True))


def levels_within(days: np.ndarray, longest: float, level: float = 0.9) -> dict[str, float | None]:
    """The `levels` of draws (S,) that are cut off at `longest`, each one of them; None for one that was cut off."""
    tail = (1 - level) / 2
    found = np.quantile(days, [tail, 0.5, 1 - tail], method="inverted_cdf").tolist()
    return {
        name: value if value < longest else None
        for name, value in zip(("lower", "median", "upper"), found, strict=True)
    }


def mean_and_levels(values: np.ndarray, level: float = 0.9) -> dict[str, float]:
    """`mean`, and the `levels`, of draws (S,) of one number."""
    return {"mean": float(values.mean()), **levels(values, level)}


def with_scatter(draws: np.ndarray, deviation: float, *, offset: float = 0.0, seed: int = 0) -> np.ndarray:
    """Draws (S, T) as they would be measured: (20 S, T), none below 0.

    `deviation` is that of the logarithm of a value plus `offset`, which makes it an even scatter where values are small
    beside that.
    """
    scatter = np.random.default_rng(seed).normal(size=(REPEATS, *draws.shape)) * deviation
    return np.maximum((draws + offset) * np.exp(scatter) - offset, 0.0).reshape(-1, draws.shape[1])


def probability_best(outcomes: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Share of draws in which each option has the lowest outcome; draw s of all options shares its parameters.

    Draws in which options tie (to `SAME_OUTCOME`) are shared among them. `outcomes`: option to (S,). Raises
    `InputError` where the options differ in length.
    """
    if len({np.shape(draws) for draws in outcomes.values()}) != 1:
        raise InputError(f"options need equally many paired draws, got {[np.shape(d) for d in outcomes.values()]}")
    values = np.stack([np.asarray(draws, float) for draws in outcomes.values()])
    least = values.min(axis=0)
    best = values <= least + SAME_OUTCOME * np.abs(least)
    return dict(zip(outcomes, (best / best.sum(axis=0)).mean(axis=1).tolist(), strict=True))


def places_of(days: Sequence[float], times: np.ndarray) -> list[int]:
    """Where `days` stand among the `times` (T,) of a forecast; `InputError` for a day that it does not have."""
    places = [int(np.argmin(np.abs(times - day))) for day in days]
    if any(abs(times[place] - day) > 1e-6 for place, day in zip(places, days, strict=True)):
        raise InputError(f"the forecast has the days {times.tolist()}, not all of {list(days)}")
    return places
