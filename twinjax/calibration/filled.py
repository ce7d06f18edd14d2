"""Problems without space in few shapes: patients with other numbers of data and doses share compiled programs."""

import copy
import functools
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from twinjax.calibration.datum import Datum
from twinjax.calibration.problem import InverseProblem
from twinjax.calibration.tumor import Tumor
from twinjax.core.bucket import bucket
from twinjax.model import AbstractLumpedModel
from twinjax.observation import Readings

# On the scale of data, in single precision too: a reading "below" this says nothing.
NO_LIMIT = 1e30

# Problems whose filled ones are kept: those of a cohort that is fitted together.
KEPT = 64

Found = TypeVar("Found")


class FilledProblem(NamedTuple):
    """**Fields:** `problem`, to be handed to a compiled function; `places`, of the original's data among its own."""

    problem: InverseProblem
    places: Sequence[int]

    def of_data(self, found: Sequence[Found]) -> list[Found]:
        """Of what was found for each of its data, that of the original's."""
        return [found[place] for place in self.places]


def filled(problem: InverseProblem) -> FilledProblem:
    """The same problem with numbers of data, days and doses rounded up (`bucket`).

    What is added: days equal to the last, doses of nothing, and readings of which only is known that they lie below a
    limit which none reaches. They change a cost by 1e-12 each, and no derivative.

    A problem in space stays as it is, and so do one whose noise levels are parameters, whose residuals count the
    readings, and readings with voxels.
    """
    levels = any(path.startswith("observation.") for one in problem.prior.parameters for path in one.where)
    scalar = all(datum.index is None for datum in problem.data)
    if not isinstance(problem.tumor.model, AbstractLumpedModel) or levels or not scalar:
        return FilledProblem(problem, range(len(problem.data)))
    return _filled(_Same(problem))


class _Same:
    """A problem as a key: equal to itself alone, as its arrays cannot be hashed."""

    def __init__(self, problem: InverseProblem):
        self.problem = problem

    def __hash__(self) -> int:
        return id(self.problem)

    def __eq__(self, other) -> bool:
        return isinstance(other, _Same) and other.problem is self.problem


# A calibration asks hundreds of times for the same one, and some solves take less than the filling.
@functools.lru_cache(maxsize=KEPT)
def _filled(same: _Same) -> FilledProblem:
    problem = same.problem
    days = problem.days
    times = jnp.asarray(np.pad(days, (0, bucket(days.size) - days.size), mode="edge"))
    data, places = [], [0] * len(problem.data)
    for name in problem.tumor.observation:
        own = [place for place, datum in enumerate(problem.data) if datum.observation == name]
        for place in own:
            places[place] = len(data)
            data.append(_with_sides(problem.data[place]))
        data += [Datum(float(days[-1]), name, NO_LIMIT, side=-1)] * (bucket(len(own)) - len(own) if own else 0)
    changed = {
        "whole": with_filled_regimen(problem.whole),
        "tumor": with_filled_regimen(problem.tumor),
        "data": tuple(data),
        "times": times,
        # The numbers of the days would make each patient's program its own.
        "visits": None,
    }
    # Static fields are no leaves, so that `eqx.tree_at` does not reach them.
    other = copy.copy(problem)
    for name, value in changed.items():
        object.__setattr__(other, name, value)
    return FilledProblem(other, places)


def _with_sides(datum: Datum) -> Datum:
    if datum.readings.side is not None:
        return datum
    readings = Readings(datum.values, jnp.asarray(np.zeros(datum.values.shape, int)))
    return eqx.tree_at(lambda datum: datum.readings, datum, readings)


def with_filled_regimen(tumor: Tumor) -> Tumor:
    """The same tumour with `Regimen.filled`."""
    return eqx.tree_at(lambda tumor: tumor.regimen, tumor, tumor.regimen.filled())
