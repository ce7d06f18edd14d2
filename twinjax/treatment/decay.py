"""Doses whose effect decays exponentially from each of them, as in K-PD models (Jacqmin et al. 2007)."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def remaining(t, times: Float[Array, " doses"], doses: Float[Array, " doses"], rate) -> Array:
    """sum_k d_k exp(-rate (t - t_k)) over the doses given by day `t`, in the unit of the doses; `rate` in 1/day."""
    elapsed = t - times
    # The exponent is kept finite where the dose lies ahead, or its gradient would be NaN.
    decay = jnp.exp(-rate * jnp.maximum(elapsed, 0.0))
    return jnp.sum(jnp.where(elapsed >= 0, doses * decay, 0.0))


def exposure(t0, t1, times: Float[Array, " doses"], doses: Float[Array, " doses"], rate):
    """The integral of each dose's remainder over [t0, t1], in dose days, and the mean day after t0 of that effect."""
    begin = jnp.maximum(times, t0)
    length = jnp.maximum(t1 - begin, 0.0)
    cleared = rate * length
    left = jnp.exp(-rate * (begin - times))
    area = doses * left * -jnp.expm1(-cleared) / rate
    return area, jnp.clip(begin - t0, 0.0, t1 - t0) + length * _mean_of_decay(cleared)


def _mean_of_decay(x):
    """1 / x - 1 / (exp(x) - 1): the mean of s in [0, 1] weighted by exp(-x s)."""
    near = x < 0.05
    safe = jnp.where(near, 1.0, x)
    # exp(-x) / (1 - exp(-x)) cannot overflow.
    return jnp.where(near, 0.5 - x / 12 + x**3 / 720, 1 / safe + jnp.exp(-safe) / jnp.expm1(-safe))
