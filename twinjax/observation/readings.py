"""`Readings`: what one observation gave on one day, as its likelihood takes it."""

import equinox as eqx
from jaxtyping import Array, Float, Int

from twinjax.observation.correlation import CorrelatedModes


class Readings(eqx.Module):
    """Measured values on the scale of the observation's data.

    **Fields:** `values` (n,); `side` (n,) of readings of which only a limit is known: -1 where the value lies below it
    (`<0.1`), 1 where it lies above, 0 where it was read; None where all were read. `modes`: how voxels err together;
    None where each errs alone.
    """

    values: Float[Array, " n"]
    side: Int[Array, " n"] | None = None
    modes: CorrelatedModes | None = None
