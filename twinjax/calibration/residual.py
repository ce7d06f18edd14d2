"""How readings scatter around the curve of a patient."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array

# A model error of a walk is stated per this many days, the usual time between two scans.
WALK_DAYS = 42.0


class AbstractResidual(eqx.Module):
    """How readings scatter around a patient's curve, on the scale of the observation (a logarithm).

    Student t, so that one odd reading does not bend a curve. The scatter of reading itself (half a millimetre on a
    ruler) widens it in variance. Each patient has a scale of its own.

    **Fields:** `freedom`, degrees of freedom of the t distribution; more than 2, so that the variance exists.
    """

    freedom: eqx.AbstractVar[float]

    @abc.abstractmethod
    def log_likelihood(self, error, days, given, reading_variance, scale) -> Array:
        """Of one patient's `error` = measured - curve (readings,); a scalar."""

    @abc.abstractmethod
    def offset(self, error, last) -> Array:
        """How far above the curve later readings are expected, given the errors so far; `last` is their last index."""

    @abc.abstractmethod
    def draw(self, key, elapsed, scale) -> Array:
        """Model error at `elapsed` days (times,) after the last reading, ascending."""


class IndependentResidual(AbstractResidual):
    """Every reading errs by itself, by `scale`."""

    freedom: float = 4.0

    def log_likelihood(self, error, days, given, reading_variance, scale):
        width = jnp.sqrt(scale**2 + reading_variance)
        return jnp.sum(jnp.where(given, dist.StudentT(self.freedom, 0.0, width).log_prob(error), 0.0))

    def offset(self, error, last):
        return jnp.zeros(())

    def draw(self, key, elapsed, scale):
        return scale * jax.random.t(key, self.freedom, elapsed.shape)


class WalkingResidual(AbstractResidual):
    """The model's error walks: it changes by `scale` in 42 days, and by the square root of the time in others.

    Curves then say how sizes change, and forecasts start from the last reading.
    """

    freedom: float = 4.0

    def log_likelihood(self, error, days, given, reading_variance, scale):
        both = given[1:] & given[:-1]
        gap = jnp.where(both, jnp.diff(days), WALK_DAYS)
        width = jnp.sqrt(scale**2 * gap / WALK_DAYS + reading_variance[1:] + reading_variance[:-1])
        return jnp.sum(jnp.where(both, dist.StudentT(self.freedom, 0.0, width).log_prob(jnp.diff(error)), 0.0))

    def offset(self, error, last):
        return error[last]

    def draw(self, key, elapsed, scale):
        gap = jnp.diff(elapsed, prepend=0.0)
        return jnp.cumsum(scale * jnp.sqrt(gap / WALK_DAYS) * jax.random.t(key, self.freedom, elapsed.shape))
