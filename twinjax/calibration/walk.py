"""A model whose error walks: readings of one quantity err together, and forecasts err the more the later they are.

    ln(measured + offset) = ln(curve + offset) + w(t) + e,    e ~ N(0, noise_std²),    w(start) = 0

w is Brownian: it changes by N(0, walk_std² dt / 42 days) in dt, as a growth rate would make it that is off by one
amount now and by another later. The curve has then to go through the readings only as far as w and e leave it to, and a
forecast begins with what w is likely to be after the last reading. The idea of an error of the model beside that of the
measurement is Kennedy and O'Hagan's (2001, J R Stat Soc B 63:425).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float
from scipy import optimize

from twinjax.calibration.datum import Datum
from twinjax.calibration.residual import WALK_DAYS
from twinjax.core.products import product
from twinjax.observation import QuantityObservation
from twinjax.observation.limit import limit_deviance
from twinjax.observation.scalar import LARGEST_FACTOR


def walk_covariance(days, others, start, deviation: float) -> Float[Array, "days others"]:
    """Of w on `days` with w on `others`."""
    return deviation**2 / WALK_DAYS * jnp.minimum((days - start)[:, None], (others - start)[None])


def walking_terms(
    observation: QuantityObservation, data: Sequence[Datum], expected: Sequence[ArrayLike], start
) -> list[tuple[Array, Array]]:
    """Of each of `data` its residual (1,) and the log likelihood's normalisation, w integrated out.

    Each reading is taken given those before it (Cholesky), so that a sum over some of `data`, ascending by day, is the
    likelihood of these given the others. One of which only a limit is known counts by itself.
    """
    days, errors, sides, read = _readings(data, expected)
    covariance = walk_covariance(days, days, start, observation.walk_std)
    covariance += observation.noise_std**2 * jnp.eye(len(data))
    root = jnp.linalg.cholesky(_of_read(covariance, read))
    white = jax.scipy.linalg.solve_triangular(root, jnp.where(read, errors, 0.0), lower=True)
    deviations = jnp.diagonal(root)
    limits = sides * limit_deviance(-sides * jnp.where(read, 0.0, errors) / deviations)
    residuals = jnp.where(read, white, limits)
    normalizers = jnp.where(read, -0.5 * jnp.log(2 * jnp.pi) - jnp.log(deviations), 0.0)
    return [(residuals[i : i + 1], normalizers[i]) for i in range(len(data))]


def likeliest_scatter(
    observation: QuantityObservation, data: Sequence[Datum], expected: Sequence[ArrayLike], start
) -> dict[str, float]:
    """`likeliest_levels` of an observation whose model's error walks."""

    def cost(log_noise: float) -> float:
        terms = walking_terms(observation.with_levels({"noise_std": float(np.exp(log_noise))}), data, expected, start)
        return float(sum(0.5 * residual[0] ** 2 - normalizer for residual, normalizer in terms))

    low = np.log(float(observation.noise_std))
    found = optimize.minimize_scalar(cost, bounds=(low, low + np.log(LARGEST_FACTOR)), method="bounded")
    return {"noise_std": float(observation.noise_std if cost(low) <= found.fun else np.exp(found.x))}


def drawn_walk(days: Float[Array, " days"], start, deviation: float, key) -> Float[Array, " days"]:
    """w on ascending `days`, from its prior."""
    steps = jnp.sqrt(jnp.diff(days, prepend=start) / WALK_DAYS)
    return jnp.cumsum(deviation * steps * jax.random.normal(key, days.shape))


def continued_walk(
    observation: QuantityObservation, data: Sequence[Datum], expected: Sequence[ArrayLike], start, times, key
) -> Float[Array, " times"]:
    """w at `times`, drawn given the readings and what the curve expected of them."""
    days, errors, _, read = _readings(data, expected)
    deviation = observation.walk_std
    readings = walk_covariance(days, days, start, deviation) + observation.noise_std**2 * jnp.eye(len(data))
    across = jnp.where(read[None], walk_covariance(times, days, start, deviation), 0.0)
    gain = jnp.linalg.solve(_of_read(readings, read), across.T).T
    left = walk_covariance(times, times, start, deviation) - product(gain, across.T)
    # Days that stand twice have one w: the covariance is singular, and rounding must not make it worse.
    values, axes = jnp.linalg.eigh(left)
    drawn = product(axes, jnp.sqrt(jnp.maximum(values, 0.0)) * jax.random.normal(key, times.shape))
    return product(gain, jnp.where(read, errors, 0.0)) + drawn


def _readings(data: Sequence[Datum], expected: Sequence[ArrayLike]) -> tuple[Array, Array, Array, Bool[Array, " data"]]:
    """Days, errors, sides, and which were read; each (data,)."""
    sides = [jnp.zeros((), int) if one.readings.side is None else one.readings.side[0] for one in data]
    errors = jnp.stack([one.values[0] - jnp.ravel(jnp.asarray(e))[0] for one, e in zip(data, expected, strict=True)])
    return jnp.stack([one.time for one in data]), errors, jnp.stack(sides), jnp.stack(sides) == 0


def _of_read(covariance, read) -> Array:
    """The covariance with those that were not read apart from all others."""
    return jnp.where(read[:, None] & read[None], covariance, jnp.diag(jnp.diagonal(covariance)))
