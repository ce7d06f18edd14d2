"""Intervals of draws, and draws as a measurement would show them."""

import numpy as np

# Repeated measurements of each draw: enough that the tails of an interval are smooth.
REPEATS = 20


def interval(draws: np.ndarray, level: float = 0.9) -> np.ndarray:
    """(3, T) lower end, median and upper end of draws (S, T)."""
    tail = (1 - level) / 2
    return np.quantile(draws, [tail, 0.5, 1 - tail], axis=0)


def with_scatter(draws: np.ndarray, deviation: float, *, seed: int = 0) -> np.ndarray:
    """Draws (S, T) as they would be measured, with a deviation of their logarithm: (20 S, T)."""
    scatter = np.random.default_rng(seed).normal(size=(REPEATS, *draws.shape)) * deviation
    return (draws * np.exp(scatter)).reshape(-1, draws.shape[1])
