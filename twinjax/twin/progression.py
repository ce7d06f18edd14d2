"""When a tumour has grown again."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# RANO 2.0 (Wen et al. 2023, J Clin Oncol 41:5187): progression is a volume 40 % above the smallest.
PROGRESSION_RATIO = 1.4
# In the unit of the outcome: what is gone has a logarithm too.
SMALLEST_OUTCOME = 1e-6


def progression_day(times: Float[Array, " T"], course: Float[Array, " T"]) -> Float[Array, ""]:
    """The first day on which `course` is 40 % above its smallest so far; the last of `times` if never.

    It comes the sooner the smaller a treatment made the tumour: `regrowth_day` is what treatments are chosen by.
    """
    logs = jnp.log(jnp.maximum(course, SMALLEST_OUTCOME))
    return _first_day(times, logs - jax.lax.cummin(logs))


def regrowth_day(times: Float[Array, " T"], course: Float[Array, " T"]) -> Float[Array, ""]:
    """The first day on which `course` is 40 % above its first value; the last of `times` if never."""
    logs = jnp.log(jnp.maximum(course, SMALLEST_OUTCOME))
    return _first_day(times, logs - logs[0])


def _first_day(times, above):
    """On which `above`, a logarithm that starts at 0, reaches that of 1.4.

    Between two of the times it is taken as a straight line, so that the day is continuous in the course and has a
    gradient; where it is never reached the gradient is zero.
    """
    wanted = jnp.log(PROGRESSION_RATIO)
    # What reaches the ratio but for rounding has progressed.
    progressed = above >= wanted - 1e-12
    after = jnp.maximum(jnp.argmax(progressed), 1)
    rise = above[after] - above[after - 1]
    share = (wanted - above[after - 1]) / jnp.where(progressed.any(), rise, 1.0)
    day = times[after - 1] + share * (times[after] - times[after - 1])
    return jnp.where(progressed.any(), day, times[-1])


def of_draws(day_of, times: Float[np.ndarray, " T"], courses: Float[np.ndarray, "draws T"]) -> np.ndarray:
    """(draws,) `progression_day` or `regrowth_day` of each draw."""
    return np.asarray(jax.vmap(day_of, (None, 0))(jnp.asarray(times), jnp.asarray(courses)))
