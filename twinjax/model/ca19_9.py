"""CA19-9 in serum: what tumour cells shed, and its clearance."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from twinjax.model.growth import relative_expm1


class CA199(eqx.Module):
    """dA/dt = e p V + p_0 - d A, with the volume V of the tumour's cells (mm³) and A in U/mL.

    The form is the usual one of a shed marker, as that of Swanson et al. 2001 for PSA. Values: the half-life of
    ln 2 / d = 2 days is a textbook value (0.5 to 8 days are stated); p, 0.1 U/mL per mm³ at rest, and p_0, 10 U/mL at
    rest (the norm is below 37), are our own choice: patients differ by decades.

    **Fields:** `production_rate` p (U/mL per mm³ and day), `basal_rate` p_0 (U/mL per day), `clearance_rate` d
    (1/day), `expression` e: 1, or 0 for the 5 to 10 % of people without Lewis antigen (textbook value), in whom the
    marker says nothing.
    """

    production_rate: Float[Array, ""]
    basal_rate: Float[Array, ""]
    clearance_rate: Float[Array, ""]
    expression: Float[Array, ""]

    def __init__(
        self,
        *,
        production_rate: ArrayLike = 0.035,
        basal_rate: ArrayLike = 3.5,
        clearance_rate: ArrayLike = 0.35,
        expression: ArrayLike = 1.0,
    ):
        self.production_rate, self.basal_rate = jnp.asarray(production_rate, float), jnp.asarray(basal_rate, float)
        self.clearance_rate, self.expression = jnp.asarray(clearance_rate, float), jnp.asarray(expression, float)

    def inflow(self, volume_mm3) -> Array:
        """What enters serum, U/mL per day."""
        return self.basal_rate + self.expression * self.production_rate * volume_mm3

    def rate(self, level, volume_mm3) -> Array:
        """dA/dt in U/mL per day."""
        return self.inflow(volume_mm3) - self.clearance_rate * level

    def at_rest(self, volume_mm3) -> Array:
        """The level (U/mL) of a tumour that has long had this volume."""
        return self.inflow(volume_mm3) / self.clearance_rate

    def flow(self, level, duration, mean_volume_mm3) -> Array:
        """The level after `duration` days of that volume: exact."""
        exponent = -self.clearance_rate * duration
        return level * jnp.exp(exponent) + duration * relative_expm1(exponent) * self.inflow(mean_volume_mm3)
