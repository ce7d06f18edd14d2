"""`Kills`: how many cells die within an interval, and when."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float


class Kills(eqx.Module):
    """Kills at instants, each the same in every voxel: after the k-th, exp(-log_kill[k]) of the cells are left.

    **Fields:** `log_kill` (n,), zero for a dose outside the interval; `elapsed` (n,), days since the interval began,
    in [0, its length]; `by_drug` (n,), True where a drug kills, False for a fraction of radiotherapy: models in which
    drugs do not reach all cells alike ask for it.
    """

    log_kill: Float[Array, " kills"]
    elapsed: Float[Array, " kills"]
    by_drug: Bool[Array, " kills"]

    def __init__(self, log_kill, elapsed, by_drug: ArrayLike = False):
        self.log_kill, self.elapsed = log_kill, elapsed
        self.by_drug = jnp.broadcast_to(jnp.asarray(by_drug, bool), log_kill.shape)

    @classmethod
    def none(cls) -> "Kills":
        return cls(jnp.zeros(0), jnp.zeros(0))

    def in_order(self, order) -> "Kills":
        """The same kills in another order (indices)."""
        return Kills(self.log_kill[order], self.elapsed[order], self.by_drug[order])

    def later(self, days) -> "Kills":
        """The same kills in an interval that began `days` before."""
        return Kills(self.log_kill, self.elapsed + days, self.by_drug)

    def of_drugs(self) -> "Kills":
        """The same kills, by drugs."""
        return Kills(self.log_kill, self.elapsed, True)

    def together(self, duration) -> tuple[Array, Array, Array]:
        """Log kill of all drugs, log kill of all fractions, and the mean instant of both.

        To take the kills of a step of `duration` days at one instant keeps a second-order method what it is: the
        first moment is exact, and steps short enough hold one dose. Half the duration where nothing is killed.
        """
        total = jnp.sum(self.log_kill)
        some = total > 0
        mean = jnp.sum(self.log_kill * self.elapsed) / jnp.where(some, total, 1.0)
        drugs = jnp.sum(jnp.where(self.by_drug, self.log_kill, 0.0))
        return drugs, total - drugs, jnp.where(some, mean, duration / 2)

    def __add__(self, other: "Kills") -> "Kills":
        return Kills(*(jnp.concatenate(both) for both in zip(self._all(), other._all(), strict=True)))

    def _all(self):
        return self.log_kill, self.elapsed, self.by_drug
