"""What a measurement shows of a state, and how likely the measured values are."""

import abc
from collections.abc import Sequence
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from twinjax.observation.readings import Readings


class AbstractObservation(eqx.Module):
    """A measurement of the tumour at one instant; its parameters are leaves, so that calibration can reach them.

    The log likelihood is -|residuals|² / 2 + log_normalizer, by construction: Levenberg-Marquardt and samplers see
    the same one.

    **Fields:** `levels`, the names of those leaves that say how much the data err.
    """

    levels: ClassVar[tuple[str, ...]]

    @abc.abstractmethod
    def predict(self, model, state) -> Array:
        """The noise-free measurement: an array on the grid, or a scalar."""

    def prepared(self, readings: Readings, index: np.ndarray | None, domain) -> Readings:
        """`readings` with what their likelihood needs to know of the voxels `index` (flattened) of `domain`, or of
        another grid with a `shape` and a `spacing`.

        Raises `InputError` for values that are impossible.
        """
        del index, domain
        return readings

    @abc.abstractmethod
    def residuals(self, readings: Readings, predicted: Float[Array, " n"]) -> Float[Array, " n"]:
        """Half their sum of squares is how much likelier the likeliest prediction is, in the logarithm."""

    @abc.abstractmethod
    def log_normalizer(self, readings: Readings) -> Array:
        """The log likelihood of the likeliest prediction: it depends on the levels alone."""

    def log_likelihood(self, readings: Readings, predicted: Float[Array, " n"]) -> Array:
        return self.log_normalizer(readings) - 0.5 * jnp.sum(self.residuals(readings, predicted) ** 2)

    @abc.abstractmethod
    def sample(self, readings: Readings, predicted: Float[Array, " n"], key: PRNGKeyArray) -> Float[Array, " n"]:
        """Values that could have been measured in place of those of `readings`.

        Raises `InputError` where the likelihood does not say how data come about.
        """

    @abc.abstractmethod
    def likeliest_levels(self, readings: Sequence[Readings], predicted: Sequence[ArrayLike]) -> dict[str, float]:
        """The levels of largest likelihood for these predictions, none below what it is now (on the host)."""

    def effective_count(self, readings: Readings) -> float:
        """How many independent data the readings are worth, at most."""
        return float(readings.values.size)

    def with_levels(self, levels: dict[str, float]):
        """The same observation with other levels."""
        values = [jnp.asarray(levels[name], float) for name in self.levels]
        return eqx.tree_at(lambda o: [getattr(o, name) for name in self.levels], self, values)
