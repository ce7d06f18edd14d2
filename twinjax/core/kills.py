"""`Kills`: how many cells die within an interval, and when."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float


class Kills(eqx.Module):
    """Kills at instants, each the same in every voxel: after the k-th, exp(-log_kill[k]) of the cells are left.

    **Fields:** `log_kill` (n,), zero for a dose outside the interval; `elapsed` (n,), days since the interval began,
    in [0, its length].
    """

    log_kill: Float[Array, " kills"]
    elapsed: Float[Array, " kills"]

    @classmethod
    def none(cls) -> "Kills":
        return cls(jnp.zeros(0), jnp.zeros(0))

    def in_order(self, order) -> "Kills":
        """The same kills in another order (indices)."""
        return Kills(self.log_kill[order], self.elapsed[order])

    def later(self, days) -> "Kills":
        """The same kills in an interval that began `days` before."""
        return Kills(self.log_kill, self.elapsed + days)

    def __add__(self, other: "Kills") -> "Kills":
        return Kills(*(jnp.concatenate(both) for both in zip(self._both(), other._both(), strict=True)))

    def _both(self):
        return self.log_kill, self.elapsed
