"""Logistic growth under a drug that does not reach every voxel alike."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from twinjax.core.kills import Kills
from twinjax.core.products import product
from twinjax.model.growth import relative_expm1

# Degree of the Chebyshev interpolation in the exposure, plus one. Its error is about (b w / 4)^16 / 16! relative for a
# log kill of b within the step and exposures that differ by w: 1e-11 for b w = 4.
NODES = 16


def logistic_flow(u: Array, duration, rate, capacity, *, log_kill, kills: Kills, exposure: Array) -> Array:
    """The solution of du/dt = rate u (1 - u / capacity) - k(t) u after `duration` days.

    `log_kill` is spread evenly over the time and alike everywhere; of each of `kills`, in the order of their instants,
    a voxel feels `exposure` times its logarithm. `u`, `exposure` and, where it differs from place to place, `rate` have
    one shape. The same as `LogisticGrowth.flow` with its numbers per voxel: exact for a rate per voxel; for one rate
    the crowding term is interpolated in the exposure (`NODES`), which takes one pass however many doses there are.
    """
    # 1 / u obeys a linear equation: with E(t) = exp(net rate * t - exposure * kills until t),
    # u(t) = u E(t) / (1 + u rate / capacity * integral of E).
    exponent = rate * duration - log_kill
    grown = u * jnp.exp(exponent - exposure * jnp.sum(kills.log_kill))

    def mean_of_growth(exposure):
        return _mean_of_growth(exponent, exposure, duration, kills)

    direct = jnp.ndim(exponent) > 0 or exposure.size <= NODES or not kills.log_kill.size
    mean = mean_of_growth(exposure) if direct else _interpolated(mean_of_growth, exposure)
    return grown / (1 + rate * duration / capacity * mean * u)


def _mean_of_growth(exponent, exposure, duration, kills):
    """The mean of E over the time; shape of `exposure`."""
    mean = relative_expm1(exponent)
    if not kills.log_kill.size:
        return mean
    column = (-1,) + (1,) * jnp.ndim(exposure)
    left = jnp.reshape(1 - kills.elapsed / jnp.where(duration > 0, duration, 1.0), column)
    # What the rest of the time adds to the mean had there been no kill; each kill scales it.
    after = jnp.exp(exponent * (1 - left)) * left * relative_expm1(exponent * left)
    until = jnp.concatenate([jnp.zeros(1, kills.log_kill.dtype), jnp.cumsum(kills.log_kill)])
    remaining = jnp.exp(-exposure * jnp.reshape(until, column))
    return mean + jnp.sum((remaining[1:] - remaining[:-1]) * after, axis=0)


def _interpolated(function, x):
    """`function` of one variable at all `x`, by Chebyshev interpolation over their range (`NODES` evaluations)."""
    lowest, highest = jax.lax.stop_gradient((jnp.min(x), jnp.max(x)))
    centre, half = (lowest + highest) / 2, (highest - lowest) / 2
    half = jnp.where(half > 0, half, 1.0)
    angles = np.pi * (np.arange(NODES) + 0.5) / NODES
    to_coefficients = 2 / NODES * np.cos(np.outer(np.arange(NODES), angles))
    to_coefficients[0] /= 2
    coefficients = product(
        jnp.asarray(to_coefficients, x.dtype), function(centre + half * jnp.asarray(np.cos(angles), x.dtype))
    )
    # Clenshaw's recurrence.
    scaled = (x - centre) / half
    following = last = jnp.zeros_like(x)
    for number in range(NODES - 1, 0, -1):
        following, last = coefficients[number] + 2 * scaled * following - last, following
    return coefficients[0] + scaled * following - last
