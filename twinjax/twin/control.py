"""How well a plan controls the tumour, and how draws of the posterior are weighed."""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from twinjax.core.errors import InputError
from twinjax.twin.progression import SMALLEST_OUTCOME, Criterion

# 10^7 a mL; our own choice: what a tumour has is not known of a patient.
CLONOGENS_PER_MM3 = 1e4
# So little that what e-fold fewer cells add is a tenth of what is `negligible`.
HOPELESS = 1e-3


class AbstractControl(abc.ABC):
    """A loss of one draw's course: lower is better.

    `negligible`: a smaller difference is no reason to change a treatment.
    """

    negligible: ClassVar[float]

    @abc.abstractmethod
    def times(self, grid: np.ndarray) -> np.ndarray:
        """Those days of `grid` on which the loss looks."""

    @abc.abstractmethod
    def loss(self, times: Float[Array, " T"], course: Float[Array, " T"]) -> Float[Array, ""]:
        """Of an outcome `course` at `times`."""


@dataclass(frozen=True)
class FinalSize(AbstractControl):
    """The logarithm of the outcome at the horizon."""

    # One per cent of the size, a tenth of what two segmentations of one scan differ by.
    negligible: ClassVar[float] = 0.01

    def times(self, grid):
        return grid[-1:]

    def loss(self, times, course):
        return jnp.log(jnp.maximum(course[-1], SMALLEST_OUTCOME))


@dataclass(frozen=True)
class ExpectedSize(AbstractControl):
    """The outcome at the horizon over that at the decision: its mean is the expected size, in which those draws count
    most in which the tumour escapes. `FinalSize` weighs each by how many times larger it is.
    """

    # One per cent of the size at the decision.
    negligible: ClassVar[float] = 0.01

    def times(self, grid):
        return grid[[0, -1]]

    def loss(self, times, course):
        return course[-1] / jnp.maximum(course[0], SMALLEST_OUTCOME)


@dataclass(frozen=True)
class TimeToProgression(AbstractControl):
    """Minus the day on which the outcome has progressed over that at the decision (`Criterion.regrowth_day`).

    A draw that does not come to it before the horizon counts as if it did then, and has no gradient: choose a horizon
    that few draws reach.
    """

    criterion: Criterion
    negligible: ClassVar[float] = 1.0

    def times(self, grid):
        return grid

    def loss(self, times, course):
        return -self.criterion.regrowth_day(times, course)


@dataclass(frozen=True)
class TumorControl(AbstractControl):
    """Minus the probability that no clonogenic cell is left where there are fewest, exp(-N): TCP.

    N is the outcome (mm³) times `clonogens_per_mm3`, as a Poisson number (Munro and Gilbert 1961, Br J Radiol 34:246;
    Webb and Nahum 1993, Phys Med Biol 38:653), on that of the days at which the loss looks on which it is smallest.
    Where many are left under every plan the probability is 0 and has no gradient: `HOPELESS` log (1 + N) is added to
    the loss, so that fewer are still better.
    """

    clonogens_per_mm3: float = CLONOGENS_PER_MM3
    # One of a hundred patients.
    negligible: ClassVar[float] = 0.01

    def times(self, grid):
        return grid

    def loss(self, times, course):
        left = self.clonogens_per_mm3 * jnp.min(course)
        return HOPELESS * jnp.log1p(left) - jnp.exp(-left)

    def probability(self, course: Float[np.ndarray, "draws T"]) -> Float[np.ndarray, " draws"]:
        """TCP of each draw."""
        return np.exp(-self.clonogens_per_mm3 * np.asarray(course).min(axis=1))


# Name to the control under a criterion of progression.
CONTROLS: dict[str, Callable[[Criterion], AbstractControl]] = {
    "final_size": lambda criterion: FinalSize(),
    "expected_size": lambda criterion: ExpectedSize(),
    "time_to_progression": TimeToProgression,
    "tumor_control_probability": lambda criterion: TumorControl(),
}


def control_named(name: str) -> Callable[[Criterion], AbstractControl]:
    """Of `CONTROLS`; `InputError` for a name that is unknown."""
    if name not in CONTROLS:
        raise InputError(f"control '{name}' is unknown; choose one of {', '.join(CONTROLS)}")
    return CONTROLS[name]


def tail_weights(losses: Float[np.ndarray, " draws"], tail: float) -> Float[np.ndarray, " draws"]:
    """Weights that sum to 1, so that their sum with `losses` is the mean of the worst `tail` of the draws.

    That is the conditional value at risk at the level 1 - tail (superquantile; Rockafellar and Uryasev 2002, J Bank
    Finance 26:1443, eq. 26); a tail of 1 is the mean. The weights are the gradient in the losses where no two are
    equal. Raises `InputError` for a tail outside (0, 1].
    """
    if not 0 < tail <= 1:
        raise InputError(f"tail must lie above 0 and not above 1 (the mean over all draws), got {tail}")
    order = np.argsort(-np.asarray(losses, float), kind="stable")
    weights = np.empty(order.size)
    # The draw at the edge of the tail counts in part.
    weights[order] = np.clip(tail * order.size - np.arange(order.size), 0.0, 1.0)
    return weights / (tail * order.size)
