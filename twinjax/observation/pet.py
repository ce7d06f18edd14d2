"""Uptake of an amino acid, seen by positron emission tomography."""

from typing import ClassVar

import equinox as eqx
from jaxtyping import Array, Float

from twinjax.observation.field import AbstractCellObservation, number


class AbstractUptakeObservation(AbstractCellObservation):
    """background + scale u, with the density u of the cells that take it up; arbitrary units (Lipkova et al. 2019, IEEE
    TMI 38:1875).
    """

    background: Float[Array, ""] = eqx.field(default=0.2, converter=number, kw_only=True)
    scale: Float[Array, ""] = eqx.field(default=0.8, converter=number, kw_only=True)
    noise_std: Float[Array, ""] = eqx.field(default=0.1, converter=number, kw_only=True)
    discrepancy_std: Float[Array, ""] = eqx.field(default=0.1, converter=number, kw_only=True)
    correlation_length_mm: float = eqx.field(default=10.0, static=True, kw_only=True)

    def predict(self, model, state) -> Array:
        return self.background + self.scale * self.density(model, state)


class PETObservation(AbstractUptakeObservation):
    """Of a model that does not tell living cells from dead ones."""

    living: ClassVar[bool] = False


class ViablePETObservation(AbstractUptakeObservation):
    """Of a model that does: necrosis takes nothing up."""

    living: ClassVar[bool] = True
