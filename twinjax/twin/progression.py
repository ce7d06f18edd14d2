"""When a tumour has grown again, and when it does so under treatment."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

# RANO 2.0 (Wen et al. 2023, J Clin Oncol 41:5187): progression is a volume 40 % above the smallest.
PROGRESSION_RATIO = 1.4
# PCWG3 (Scher et al. 2016, J Clin Oncol 34:1402): PSA 25 % and 2 ng/mL above its nadir, confirmed three weeks later;
# rises of the first twelve weeks of a treatment do not count.
PSA_RATIO, LEAST_RISE_NG_ML, CONFIRMED_DAYS, EARLY_DAYS = 1.25, 2.0, 21.0, 84.0
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


def resistance_day(
    times: Float[np.ndarray, " T"],
    psa: Float[np.ndarray, "draws T"],
    treated: Bool[np.ndarray, "draws T-1"],
    since: float = np.inf,
    least_rise_ng_ml: float = LEAST_RISE_NG_ML,
) -> tuple[Float[np.ndarray, " draws"], Bool[np.ndarray, " draws"]]:
    """The first of `times` at which PSA (ng/mL) rises under treatment, as PCWG3 has it, and whether there is one.

    From the twelfth week of a stretch of treatment on: at least 25 % and `least_rise_ng_ml` above the smallest value of
    that stretch, and so again at the next of the times, still under treatment. A draw in which that never comes has
    the last of the times.

    **Arguments:** `treated`, whether treatment is given from each of the times to the next; `since`, the day on which
    the treatment began that is going on at the first of them (infinite: none is). Its nadir counts from there on alone.
    """
    nadir, start = psa[:, 0], np.full(len(psa), since if np.isfinite(since) else times[0])
    risen = np.zeros(psa.shape, bool)
    for i in range(1, len(times)):
        on, now = treated[:, i - 1], psa[:, i]
        above = (now >= PSA_RATIO * nadir) & (now >= nadir + least_rise_ng_ml)
        risen[:, i] = on & above & (times[i] - start >= EARLY_DAYS)
        nadir, start = np.where(on, np.minimum(nadir, now), now), np.where(on, start, times[i])
    confirmed = risen[:, :-1] & risen[:, 1:]
    found = np.asarray(confirmed.any(axis=1))
    return np.where(found, times[confirmed.argmax(axis=1)], times[-1]), found
