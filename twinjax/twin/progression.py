"""When a tumour has progressed: the day on which an outcome over time reaches what a criterion asks for."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# In the unit of the outcome: what is gone has a logarithm too.
SMALLEST_OUTCOME = 1e-6
# Of a logarithm: what reaches the threshold but for rounding has progressed.
ROUNDING = 1e-12


@dataclass(frozen=True)
class Criterion:
    """An outcome has progressed where its size is at least the largest of (1 + relative) r, r + absolute, measurable.

    r is an earlier size: the smallest so far, the first among them (`progression_day`), or the first
    (`regrowth_day`). The size is that of the outcome, or in another unit scale * outcome^power, as the diameter of a
    sphere is of its volume.

    **Fields:** `name`, as configurations have it; `label`, `source` and `rule` for readers, with "{}" in place of what
    r is; `relative`; `absolute` and `measurable` in the unit of the size; `scale`, `power`; `early_days` from the first
    day in which no rise counts; `confirming_days` after which a rise must still be there.
    """

    name: str
    label: str
    source: str
    rule: str
    relative: float
    absolute: float = 0.0
    measurable: float = 0.0
    scale: float = 1.0
    power: float = 1.0
    early_days: float = 0.0
    confirming_days: float = 0.0

    def told(self, of: str) -> dict[str, str]:
        """`criterion`, `rule` and `source` for tables and files; `of` says what r is."""
        return {"criterion": self.label, "rule": self.rule.format(of), "source": self.source}

    def progression_day(
        self, times: Float[Array, " T"], course: Float[Array, " T"], since: float | Array = -np.inf
    ) -> Float[Array, ""]:
        """The first day from `since` on when `course` has progressed over its smallest so far; the last if never.

        It comes the sooner the smaller a treatment made the tumour: `regrowth_day` is what treatments are chosen by.
        """
        logs = self._logs(course)
        return self._day(times, logs, jax.lax.cummin(logs), since)

    def regrowth_day(self, times: Float[Array, " T"], course: Float[Array, " T"]) -> Float[Array, ""]:
        """The first day on which `course` has progressed over its first value; the last of `times` if never."""
        logs = self._logs(course)
        return self._day(times, logs, jnp.broadcast_to(logs[0], logs.shape), -np.inf)

    def _logs(self, course):
        return np.log(self.scale) + self.power * jnp.log(jnp.maximum(course, SMALLEST_OUTCOME))

    def _day(self, times, logs, reference, since):
        """Between two of the times sizes are exponential, so that the day has a gradient in the course.

        It is continuous but where a course only touches the threshold. After the last of the times a size is taken to
        stay as it is: what is not seen does not speak against a rise.
        """
        earlier = jnp.exp(reference)
        wanted = jnp.maximum((1 + self.relative) * earlier, earlier + self.absolute)
        above = logs - jnp.log(jnp.maximum(wanted, self.measurable))
        if self.confirming_days > 0:
            later = jnp.interp(times + self.confirming_days, times, logs)
            above = jnp.minimum(above, above + later - logs)
        return _first_day(times, above, jnp.maximum(since, times[0] + self.early_days))


def _first_day(times, above, earliest):
    """The first day from `earliest` on when `above`, linear between the times, is not negative; the last if never."""
    left = jnp.clip(earliest, times[:-1], times[1:])
    at_left = above[:-1] + (left - times[:-1]) * jnp.diff(above) / jnp.diff(times)
    already, reaches = at_left >= -ROUNDING, above[1:] >= -ROUNDING
    progressed = (already | reaches) & (times[1:] >= earliest)
    i = jnp.argmax(progressed)
    crosses = progressed[i] & ~already[i]
    share = jnp.where(crosses, -at_left[i] / jnp.where(crosses, above[i + 1] - at_left[i], 1.0), 0.0)
    day = left[i] + share * (times[i + 1] - left[i])
    return jnp.where(progressed.any(), day, times[-1])


def of_draws(
    day_of: Callable, times: Float[np.ndarray, " T"], courses: Float[np.ndarray, "draws T"]
) -> Float[np.ndarray, " draws"]:
    """`progression_day` or `regrowth_day` of a criterion, of each draw."""
    return np.asarray(jax.vmap(day_of, (None, 0))(jnp.asarray(times), jnp.asarray(courses)))
