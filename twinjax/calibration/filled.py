"""Problems in few shapes: patients with other numbers of data, doses and voxels share compiled programs."""

import copy
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from twinjax.calibration.datum import Datum
from twinjax.calibration.problem import InverseProblem
from twinjax.calibration.tumor import can_be_filled
from twinjax.core.bucket import bucket
from twinjax.model import AbstractLumpedModel, AbstractSpatialModel
from twinjax.observation import Readings

# On the scale of data, in single precision too: a reading "below" this says nothing.
NO_LIMIT = 1e30

# Problems whose filled ones are kept: those of a cohort that is fitted together.
KEPT = 64


class FilledProblem(NamedTuple):
    """**Fields:** `problem`, to be handed to a compiled function; `places`, of the original's data among its own, and
    `voxels`, of the values of each of those among all (None: they are all).
    """

    problem: InverseProblem
    places: Sequence[int]
    voxels: Sequence[np.ndarray | None]

    def of_data(self, found: Sequence[Array]) -> list[Array]:
        """Of what was found for the values of each of its data, that of the original's."""
        both = zip(self.places, self.voxels, strict=True)
        return [found[place] if voxels is None else found[place][voxels] for place, voxels in both]


def filled(problem: InverseProblem) -> FilledProblem:
    """The same problem with numbers of data, days, doses and voxels rounded up.

    Without space what is added are days equal to the last, doses of nothing, and readings of which only is known that
    they lie below a limit which none reaches. They change a cost by 1e-12 each, and no derivative. In space: doses of
    nothing, voxels outside the tissue (`Tumor.filled`), and a value in every voxel (`Datum.filled`); so many visits as
    there are.

    A problem stays as it is whose noise levels are parameters, one with fields, and one on a large grid
    (`can_be_filled`).
    """
    levels = any(problem.levels_of_prior(name) for name in problem.tumor.observation)
    lumped = isinstance(problem.tumor.model, AbstractLumpedModel)
    voxels = any(datum.index is not None for datum in problem.data)
    large = not can_be_filled(problem.tumor)
    if levels or problem.prior.fields or large or (lumped and voxels):
        return FilledProblem(problem, range(len(problem.data)), [None] * len(problem.data))
    return (_filled_without_space if lumped else _filled_in_space)(_Same(problem))


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
def _filled_without_space(same: _Same) -> FilledProblem:
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
    changed = {"tumor": problem.tumor.filled(), "whole": problem.whole.filled(), "data": tuple(data), "times": times}
    return FilledProblem(_with(problem, **changed), places, [None] * len(places))


@functools.lru_cache(maxsize=KEPT)
def _filled_in_space(same: _Same) -> FilledProblem:
    problem = same.problem
    model, whole = problem.tumor.model, problem.whole.model
    assert isinstance(model, AbstractSpatialModel) and isinstance(whole, AbstractSpatialModel)
    tumor = problem.tumor.filled(None if problem.box is None else whole.domain.shape)
    assert isinstance(tumor.model, AbstractSpatialModel)
    shape, larger = model.domain.shape, tumor.model.domain.shape
    data = [datum.filled(shape, larger) for datum in problem.data]
    voxels = [None if datum.index is None else datum.places(shape, larger) for datum in problem.data]
    # Nothing of a fit looks at the grid around the box.
    changed = _with(problem, tumor=tumor, whole=tumor, data=tuple(data), box=None)
    return FilledProblem(changed, range(len(data)), voxels)


def _with(problem: InverseProblem, **changed: Any) -> InverseProblem:
    # Static fields are no leaves, so that `eqx.tree_at` does not reach them.
    other = copy.copy(problem)
    # The numbers of the days would make each patient's program its own.
    for name, value in (changed | {"visits": None}).items():
        object.__setattr__(other, name, value)
    return other


def _with_sides(datum: Datum) -> Datum:
    if datum.readings.side is not None:
        return datum
    readings = Readings(datum.values, jnp.asarray(np.zeros(datum.values.shape, int)))
    return eqx.tree_at(lambda datum: datum.readings, datum, readings)
