"""What every pharmacokinetic model gives: concentrations and their integrals for any dosing history."""

import abc

import equinox as eqx
from jaxtyping import Array

from twinjax.pharmacokinetics.dosing import Dosing


class AbstractPharmacokinetics(eqx.Module):
    """From doses (mg) to concentrations in plasma (mg/L); time in days."""

    drug: eqx.AbstractVar[str]

    @abc.abstractmethod
    def concentration(self, dosing: Dosing, times) -> Array:
        """Concentration (mg/L) at `times` (days, any shape), in the same shape; at a bolus its peak."""

    @abc.abstractmethod
    def moments(self, dosing: Dosing, start, stop) -> tuple[Array, Array]:
        """Exposure over [start, stop] (mg day/L) shared out to the doses, and the mean day since `start` of each share.

        Both (doses,); the shares add up to the integral of `concentration`. A linear model gives each dose what it
        causes, others give it what passes from its beginning to that of the next dose.
        """

    def exposure(self, dosing: Dosing, start, stop) -> Array:
        """The integral of the concentration over [start, stop] (AUC) in mg day/L; times 24 in mg h/L."""
        return self.moments(dosing, start, stop)[0].sum()
