"""What a concentration does: a rate, and its integral over an interval."""

import abc

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from twinjax.pharmacokinetics.dosing import Dosing
from twinjax.pharmacokinetics.pharmacokinetics import AbstractPharmacokinetics

# Gauss nodes between two events (a dose or the end of an infusion), drawn towards the first by exp(GRADING): what
# follows an event changes fastest at once.
NODES = 48
GRADING = 7.0


class AbstractEffect(eqx.Module):
    """A rate that follows the concentration (mg/L) at the same instant."""

    @abc.abstractmethod
    def rate(self, concentration) -> Array:
        """The rate (1/day, or a fraction) at a concentration (mg/L), elementwise; zero at zero."""

    @abc.abstractmethod
    def integrals(self, pharmacokinetics: AbstractPharmacokinetics, dosing: Dosing, start, stop) -> tuple[Array, Array]:
        """The integral of the rate over [start, stop], shared out to the doses, and the mean day since `start` of each.

        Both (doses,). Zero where nothing is given before `stop`.
        """


class LinearEffect(AbstractEffect):
    """rate = slope C, `slope` in L/mg/day. The integrals are those of the concentration: exact for linear models."""

    slope: Float[Array, ""]

    def __init__(self, slope: ArrayLike):
        self.slope = jnp.asarray(slope, float)

    def rate(self, concentration):
        return self.slope * concentration

    def integrals(self, pharmacokinetics, dosing, start, stop):
        exposure, elapsed = pharmacokinetics.moments(dosing, start, stop)
        return self.slope * exposure, elapsed


class HillEffect(AbstractEffect):
    """rate = maximum C^h / (EC50^h + C^h).

    **Fields:** `maximum` (1/day), `half_concentration` EC50 (mg/L), `exponent` h.

    The integrals are Gauss quadratures of 48 graded nodes between two events. From 5-FU to antibodies the error is
    below 1e-7 of the integral over a day, and below 1e-5 over a month. Each dose is given what passes from its
    beginning, or the end of its infusion, to the next event.
    """

    maximum: Float[Array, ""]
    half_concentration: Float[Array, ""]
    exponent: Float[Array, ""]

    def __init__(self, maximum: ArrayLike, half_concentration: ArrayLike, exponent: ArrayLike = 1.0):
        self.maximum = jnp.asarray(maximum, float)
        self.half_concentration = jnp.asarray(half_concentration, float)
        self.exponent = jnp.asarray(exponent, float)

    def rate(self, concentration):
        ratio = concentration / self.half_concentration
        present = ratio > 0
        # 1 / (1 + ratio^-h): no power overflows, and at zero nothing is divided.
        power = self.exponent * jnp.log(jnp.where(present, ratio, 1.0))
        return self.maximum * jnp.where(present, 1 / (1 + jnp.exp(-power)), 0.0)

    def integrals(self, pharmacokinetics, dosing, start, stop):
        events = jnp.concatenate([dosing.times, dosing.times + dosing.durations])
        order = jnp.argsort(events)
        begin = jnp.clip(events[order], start, stop)
        length = jnp.append(begin[1:], stop) - begin
        place, weight = _graded_nodes()
        elapsed = begin[:, None] - start + length[:, None] * place
        rates = self.rate(pharmacokinetics.concentration(dosing, start + elapsed)) * length[:, None] * weight
        doses = dosing.times.size
        total = jnp.zeros(doses, rates.dtype).at[order % doses].add(rates.sum(1))
        weighted = jnp.zeros(doses, rates.dtype).at[order % doses].add((rates * elapsed).sum(1))
        some = total > 0
        mean = jnp.where(some, weighted, 0.0) / jnp.where(some, total, 1.0)
        return total, jnp.clip(jnp.where(some, mean, dosing.times - start), 0.0, stop - start)


def _graded_nodes() -> tuple[np.ndarray, np.ndarray]:
    """Places in [0, 1] and weights of the quadrature."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    u = (nodes + 1) / 2
    return np.expm1(GRADING * u) / np.expm1(GRADING), weights / 2 * GRADING * np.exp(GRADING * u) / np.expm1(GRADING)
