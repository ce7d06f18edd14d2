"""When a tumour has grown again."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# RANO 2.0 (Wen et al. 2023, J Clin Oncol 41:5187): progression is a volume 40 % above the smallest.
PROGRESSION_RATIO = 1.4
# In the unit of the outcome: what is gone has a logarithm too.
SMALLEST_OUTCOME = 1e-6


def progression_day(times: Float[Array, " T"], course: Float[Array, " T"]) -> Float[Array, ""]:
    """The first day on which `course` is 40 % above its smallest so far; the last of `times` if never.

    Between two of the times the logarithm of that ratio is taken as a straight line, so that the day is continuous in
    the course and has a gradient; of a course that does not progress the gradient is zero.
    """
    logs = jnp.log(jnp.maximum(course, SMALLEST_OUTCOME))
    above = logs - jax.lax.cummin(logs)
    wanted = jnp.log(PROGRESSION_RATIO)
    # What reaches the ratio but for rounding has progressed.
    progressed = above >= wanted - 1e-12
    after = jnp.maximum(jnp.argmax(progressed), 1)
    rise = above[after] - above[after - 1]
    share = (wanted - above[after - 1]) / jnp.where(progressed.any(), rise, 1.0)
    day = times[after - 1] + share * (times[after] - times[after - 1])
    return jnp.where(progressed.any(), day, times[-1])
