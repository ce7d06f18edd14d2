"""What one dose leaves behind: an exponential stage, or one that another one feeds, under a constant infusion."""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from twinjax.pharmacokinetics.exponential import phi, psi


class AbstractResponse(eqx.Module):
    """The amount that a dose of 1 leaves at a time, for each of several rates at once.

    The dose enters at a constant rate for `duration` days (0: at once). All arguments broadcast against the rates.
    """

    @abc.abstractmethod
    def state(self, elapsed, duration) -> tuple[Array, ...]:
        """The stages, the last one measured, `elapsed` >= 0 days after the dose began."""

    @abc.abstractmethod
    def integrals(self, state, length, share) -> tuple[Array, Array]:
        """Once and twice integrated over the next `length` days, in which `share` of the dose enters evenly."""

    def value(self, elapsed, duration):
        """The amount `elapsed` days after the dose began; zero before it."""
        amount = self.state(jnp.maximum(elapsed, 0.0), duration)[-1]
        return jnp.where(elapsed >= 0, amount, 0.0)

    def moments(self, begin, end, duration) -> tuple[Array, Array]:
        """The integral of `value` over [begin, end] (days since the dose began), and of `value` times time - begin."""
        # While the dose enters, and after it.
        during = jnp.maximum(jnp.minimum(end, duration) - begin, 0.0)
        share = jnp.where(duration > 0, during / jnp.where(duration > 0, duration, 1.0), 0.0)
        once, twice = self.integrals(self.state(begin, duration), during, share)
        start = jnp.maximum(begin, duration)
        after = jnp.maximum(end - start, 0.0)
        once_after, twice_after = self.integrals(self.state(start, duration), after, 0.0)
        weighted = during * once - twice + (start - begin + after) * once_after - twice_after
        return once + once_after, weighted


class OneStage(AbstractResponse):
    """y' = -rate y + infusion: a mode of an intravenous drug."""

    rates: Float[Array, "..."]

    def state(self, elapsed, duration):
        entered, share = _entered(elapsed, duration)
        return (share * phi(1, self.rates * entered)[1] * jnp.exp(-self.rates * (elapsed - entered)),)

    def integrals(self, state, length, share):
        (amount,) = state
        _, phi_1, phi_2, phi_3 = phi(3, self.rates * length)
        return length * (amount * phi_1 + share * phi_2), length**2 * (amount * phi_2 + share * phi_3)


class TwoStages(AbstractResponse):
    """x' = -feeding x + infusion, y' = -rate y + x: a mode fed by a depot, or by a mode of the parent drug."""

    feeding: Float[Array, "..."]
    rates: Float[Array, "..."]

    def state(self, elapsed, duration):
        entered, share = _entered(elapsed, duration)
        rest = elapsed - entered
        first = share * phi(1, self.feeding * entered)[1]
        second = share * entered * psi(2, self.feeding * entered, self.rates * entered)[1]
        (carried,) = psi(1, self.feeding * rest, self.rates * rest)
        second = second * jnp.exp(-self.rates * rest) + first * rest * carried
        return first * jnp.exp(-self.feeding * rest), second

    def integrals(self, state, length, share):
        first, second = state
        _, phi_1, phi_2 = phi(2, self.rates * length)
        _, psi_2, psi_3, psi_4 = psi(4, self.feeding * length, self.rates * length)
        once = second * phi_1 + length * (first * psi_2 + share * psi_3)
        twice = second * phi_2 + length * (first * psi_3 + share * psi_4)
        return length * once, length**2 * twice


def _entered(elapsed, duration):
    """The days in which the dose has entered by now, and the share of it that has."""
    entered = jnp.minimum(elapsed, duration)
    return entered, jnp.where(duration > 0, entered / jnp.where(duration > 0, duration, 1.0), 1.0)
