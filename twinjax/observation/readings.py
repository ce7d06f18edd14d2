"""`Readings`: what one observation gave on one day, as its likelihood takes it."""

import equinox as eqx
from jaxtyping import Array, Float, Int

from twinjax.observation.correlation import CorrelatedModes


class Readings(eqx.Module):
    """Measured values on the scale of the observation's data.

    **Fields:** `values` (n,); `side` (n,) of readings of which only a limit is known: -1 where the value lies below it
    (`<0.1`), 1 where it lies above, 0 where it was read; None where all were read. `band` (m,), which of the values
    are compared; None for all. `modes`: how those err together; None where each errs alone. `weight`: of a region
    that is nowhere, how much of a datum each voxel is; None for all else.
    """

    values: Float[Array, " n"]
    side: Int[Array, " n"] | None = None
    band: Int[Array, " m"] | None = None
    modes: CorrelatedModes | None = None
    weight: Float[Array, ""] | None = None

    def errors(self, predicted: Float[Array, " n"]) -> Array:
        """Measured minus predicted, of those that are compared."""
        error = self.values - predicted
        return error if self.band is None else error[self.band]
