"""Growth laws: the per-cell rate, and its exact flow under a constant kill rate."""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from twinjax.core.errors import InputError
from twinjax.core.kills import Kills

# At this density and below Gompertz growth, whose rate per cell has no bound, stands still: one cell in the largest
# voxel is a larger fraction.
SMALLEST_DENSITY = 1e-12


class AbstractGrowth(eqx.Module):
    """du/dt = u g(u) - k u with growth rate `rate` (1/day) and carrying capacity `capacity`."""

    @abc.abstractmethod
    def growth(self, u: Array, rate, capacity) -> Array:
        """u g(u) in 1/day."""

    @abc.abstractmethod
    def flow(self, u: Array, duration, rate, capacity, log_kill=0.0, kills: Kills | None = None) -> Array:
        """u after `duration` days with the kill rate log_kill / duration and, in between, `kills`.

        Exact, or of second order in the duration at least where a network is part of the law. With a rate per voxel all
        kills come at their mean instant (`Kills.together`), to second order too: each at its own would take a pass over
        the voxels for every dose that there is.
        """

    @abc.abstractmethod
    def untreated(self, u: Array, elapsed, rate, capacity) -> Array:
        """u after any time without a kill, exact (to 1e-9 where a network is part of the law)."""

    def _with_kills_together(self, u, duration, rate, capacity, log_kill, kills: Kills) -> Array:
        drugs, fractions, instant = kills.together(duration)
        share = log_kill / jnp.where(duration > 0, duration, 1.0)
        before = self.flow(u, instant, rate, capacity, share * instant)
        left = before * jnp.exp(-drugs - fractions)
        return self.flow(left, duration - instant, rate, capacity, share * (duration - instant))


class LogisticGrowth(AbstractGrowth):
    """u g(u) = rate u (1 - u / capacity)."""

    def growth(self, u, rate, capacity):
        return rate * u * (1 - u / capacity)

    def flow(self, u, duration, rate, capacity, log_kill=0.0, kills=None):
        kills = Kills.none() if kills is None else kills
        if jnp.ndim(rate) and kills.log_kill.size:
            return self._with_kills_together(u, duration, rate, capacity, log_kill, kills)
        # 1 / u obeys a linear equation: with E(t) = exp(net rate * t - kills until t),
        # u(t) = u E(t) / (1 + u rate / capacity * integral of E). Each kill scales what comes after it.
        exponent = rate * duration - log_kill
        shares = relative_expm1(exponent)
        if kills.log_kill.size:
            before = jnp.cumsum(kills.log_kill) - kills.log_kill
            left = 1 - kills.elapsed / jnp.where(duration > 0, duration, 1.0)
            after = jnp.exp(exponent * (1 - left)) * left * relative_expm1(exponent * left)
            shares = shares + jnp.sum(jnp.exp(-before) * jnp.expm1(-kills.log_kill) * after)
        grown = u * jnp.exp(exponent - jnp.sum(kills.log_kill))
        return grown / (1 + rate * duration / capacity * shares * u)

    def untreated(self, u, elapsed, rate, capacity):
        return self.flow(u, elapsed, rate, capacity)


class GompertzGrowth(AbstractGrowth):
    """u g(u) = rate u ln(capacity / u)."""

    def growth(self, u, rate, capacity):
        growing = rate * u * jnp.log(capacity / jnp.maximum(u, SMALLEST_DENSITY))
        return jnp.where(u > SMALLEST_DENSITY, growing, 0.0)

    def flow(self, u, duration, rate, capacity, log_kill=0.0, kills=None):
        kills = Kills.none() if kills is None else kills
        if jnp.ndim(rate) and kills.log_kill.size:
            return self._with_kills_together(u, duration, rate, capacity, log_kill, kills)
        # In v = ln(u / capacity): dv/dt = -rate v - k, linear; a kill is a jump of v.
        small = u <= SMALLEST_DENSITY
        v = jnp.log(jnp.where(small, SMALLEST_DENSITY, u) / capacity)
        decay = jnp.exp(-rate * duration)
        jumps = 0.0
        if kills.log_kill.size:
            jumps = jnp.sum(kills.log_kill * jnp.exp(-rate * (duration - kills.elapsed)))
        later = capacity * jnp.exp(v * decay - log_kill * relative_expm1(-rate * duration) - jumps)
        return jnp.where(small, u * jnp.exp(-log_kill - jnp.sum(kills.log_kill)), later)

    def untreated(self, u, elapsed, rate, capacity):
        return self.flow(u, elapsed, rate, capacity)


def relative_expm1(x):
    """(exp(x) - 1) / x, finite with its gradient at 0."""
    near = jnp.abs(x) < 1e-5
    safe = jnp.where(near, 1.0, x)
    return jnp.where(near, 1 + x / 2 + x**2 / 6, jnp.expm1(safe) / safe)


LAWS = {"logistic": LogisticGrowth, "gompertz": GompertzGrowth}


def growth_law(growth: str | AbstractGrowth) -> AbstractGrowth:
    """The law of a name, or the object itself."""
    if isinstance(growth, AbstractGrowth):
        return growth
    if growth not in LAWS:
        raise InputError(f"growth '{growth}' is unknown; choose one of {', '.join(LAWS)}")
    return LAWS[growth]()
