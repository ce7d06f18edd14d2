"""How near densities come to the solver's."""

from collections.abc import Iterable
from typing import NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Float

from twinjax.simulation.density_operator import DensityOperator
from twinjax.training.examples import VISIBLE, Examples
from twinjax.twin.metric import dice, relative_volume_error


class Accuracy(NamedTuple):
    """Of examples (E,): relative L2 error, Dice and relative volume error (absolute) of what is at least `VISIBLE`."""

    relative_l2: Float[np.ndarray, " examples"]
    dice: Float[np.ndarray, " examples"]
    volume: Float[np.ndarray, " examples"]

    def summary(self) -> dict[str, float]:
        """Median and the worst tenth's beginning of each; an infinite volume error counts as any large one."""
        found = {"relative_l2": self.relative_l2, "dice_error": 1 - self.dice, "volume_error": self.volume}
        ends = {"median": 0.5, "nine_of_ten": 0.9}
        return {
            f"{name}_{end}": float(np.quantile(values, share, method="lower"))
            for name, values in found.items()
            for end, share in ends.items()
        }


def accuracy(found: Iterable[np.ndarray], true: Iterable[np.ndarray]) -> Accuracy:
    """Of densities (X, Y, Z), each beside its true one."""
    rows = []
    for one, other in zip(found, true, strict=True):
        seen, wanted = one >= VISIBLE, other >= VISIBLE
        rows.append(
            (
                np.linalg.norm(one - other) / np.linalg.norm(other),
                dice(seen, wanted),
                abs(relative_volume_error(float(seen.sum()), float(wanted.sum()))),
            )
        )
    return Accuracy(*map(np.asarray, zip(*rows, strict=True)))


def predicted(operator: DensityOperator, examples: Examples) -> list[np.ndarray]:
    """The operator's density for every example."""
    each = (examples.of(np.asarray(number)) for number in range(examples.count))
    return [np.asarray(_share(operator, *inputs)) for *inputs, _ in each]


@eqx.filter_jit
def _share(operator: DensityOperator, box, share0, growth):
    return operator.share(box, share0, growth)
