"""Cell density from the apparent diffusion coefficient of water."""

from typing import ClassVar

import equinox as eqx
from jaxtyping import Array, Float

from twinjax.observation.field import AbstractCellObservation, number


class AbstractDensityObservation(AbstractCellObservation):
    """gain u = (ADC_w - ADC) / (ADC_w - ADC_min), with the density u of the cells that hinder water (Weis 2013).

    `gain` is 1 where ADC_min is that of the densest packing; it stands for the error of that assumption.
    """

    gain: Float[Array, ""] = eqx.field(default=1.0, converter=number, kw_only=True)
    noise_std: Float[Array, ""] = eqx.field(default=0.05, converter=number, kw_only=True)
    discrepancy_std: Float[Array, ""] = eqx.field(default=0.05, converter=number, kw_only=True)
    correlation_length_mm: float = eqx.field(default=10.0, static=True, kw_only=True)

    def predict(self, model, state) -> Array:
        return self.gain * self.density(model, state)


class CellDensityObservation(AbstractDensityObservation):
    """Of a model that does not tell living cells from dead ones."""

    living: ClassVar[bool] = False


class ViableDensityObservation(AbstractDensityObservation):
    """Of a model that does: water is free in necrosis."""

    living: ClassVar[bool] = True
