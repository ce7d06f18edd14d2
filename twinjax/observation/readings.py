"""`Readings`: what one observation gave on one day, as its likelihood takes it."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from twinjax.observation.correlation import CorrelatedModes


class Readings(eqx.Module):
    """Measured values on the scale of the observation's data.

    **Fields:** `values` (n,); `side` (n,) of readings of which only a limit is known: -1 where the value lies below it
    (`<0.1`), 1 where it lies above, 0 where it was read; None where all were read. `modes`: how voxels err together;
    None where each errs alone. `real` (n,): False of those that only fill up a shape; None where all were measured.
    """

    values: Float[Array, " n"]
    side: Int[Array, " n"] | None = None
    modes: CorrelatedModes | None = None
    real: Bool[Array, " n"] | None = None

    @property
    def count(self) -> int | Int[Array, ""]:
        """How many there are, without those that fill up."""
        return self.values.size if self.real is None else jnp.sum(self.real)

    def of_real(self, each: Float[Array, " n"]) -> Float[Array, " n"]:
        """`each`, and 0 of those that fill up."""
        return each if self.real is None else jnp.where(self.real, each, 0.0)
