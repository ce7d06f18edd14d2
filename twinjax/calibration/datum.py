"""`Datum`: what was measured on one day, as a calibration takes it."""

import logging

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from twinjax.calibration.tumor import Box, Tumor
from twinjax.core.errors import InputError
from twinjax.domain import Sampling
from twinjax.model import AbstractSpatialModel, AbstractTumorModel
from twinjax.observation import Readings

log = logging.getLogger("twinjax")


class Datum(eqx.Module):
    """What one observation gave on one day.

    **Fields:** `time` (days), `observation` (its name in `Tumor.observation`, static), `readings` (n values, and
    which of them a device could not tell), `index` (n,) into the flattened prediction, or None where all of it was
    measured, as of a scalar; `sampling`, where the voxels of the data are larger than those of the prediction: `index`
    counts the larger ones then.
    """

    # An array, as all that differs between patients: a number of its own would compile every patient anew.
    time: Float[Array, ""]
    readings: Readings
    index: Int[Array, " n"] | None
    sampling: Sampling | None
    observation: str = eqx.field(static=True)

    def __init__(self, day: float, observation: str, values, index=None, *, side=None, sampling=None):
        """`side` (n,): -1 of a reading below what could be told, 1 above, 0 of one that was read (None: all were).

        Missing values (NaN) are dropped; `InputError` where none is left, or one is infinite.
        """
        self.time, self.observation, self.sampling = jnp.asarray(day, float), observation, sampling
        values = np.atleast_1d(np.asarray(values, float))
        known = ~np.isnan(values)
        if known.any() and not known.all():
            log.info("  day %g: %d missing '%s' values are left out", day, (~known).sum(), observation)
        if not known.any():
            raise InputError(f"day {day:g}: no '{observation}' data are left after masking")
        if np.isinf(values).any():
            raise InputError(f"day {day:g}: the '{observation}' data have infinite values")
        side = None if side is None or not np.any(side) else jnp.asarray(np.atleast_1d(side)[known], int)
        self.readings = Readings(jnp.asarray(values[known]), side)
        self.index = None if index is None else jnp.asarray(np.asarray(index)[known])

    @property
    def day(self) -> float:
        """The day as a number; not for traced data."""
        return float(self.time)

    @property
    def values(self) -> Float[Array, " n"]:
        return self.readings.values

    def pick(self, prediction: Array) -> Array:
        """(n,) the predicted values of these data."""
        seen = prediction if self.sampling is None else self.sampling(prediction)
        return jnp.ravel(seen) if self.index is None else seen.ravel()[self.index]

    def prepared(self, tumor: Tumor) -> "Datum":
        """With what its likelihood needs to know of its voxels."""
        observation = tumor.observation[self.observation]
        grid = self.sampling
        if grid is None and isinstance(tumor.model, AbstractSpatialModel):
            grid = tumor.model.domain
        index = None if self.index is None else np.asarray(self.index)
        try:
            readings = observation.prepared(self.readings, index, grid)
        except InputError as error:
            raise self._named(error) from error
        return eqx.tree_at(lambda datum: datum.readings, self, readings)

    def filled(self, shape: tuple[int, ...], larger: tuple[int, ...]) -> "Datum":
        """The same of a grid of `shape` that became `larger`: a value for each of its voxels, most of which fill up."""
        if self.index is None:
            return self
        place = self.places(shape, larger)
        real, values = np.zeros(larger, bool).ravel(), np.zeros(larger).ravel()
        real[place], values[place] = True, np.asarray(self.values)
        modes = None if self.readings.modes is None else self.readings.modes.filled(place, larger)
        readings = Readings(jnp.asarray(values), modes=modes, real=jnp.asarray(real))
        every = eqx.tree_at(lambda datum: (datum.readings, datum.index), self, (readings, None))
        if self.sampling is None:
            return every
        return eqx.tree_at(lambda datum: datum.sampling, every, self.sampling.filled(larger))

    def places(self, shape: tuple[int, ...], larger: tuple[int, ...]) -> np.ndarray:
        """(n,) where its voxels are in the flattened `larger` grid, or in that of `Sampling.filled`."""
        if self.sampling is None:
            return np.asarray(np.ravel_multi_index(np.unravel_index(np.asarray(self.index), shape), larger))
        place = np.unravel_index(np.asarray(self.index), self.sampling.shape)
        first = [rows.start for rows in self.sampling.used]
        return np.asarray(np.ravel_multi_index(tuple(i - a for i, a in zip(place, first, strict=True)), larger))

    def in_box(self, box: Box | None, model: AbstractTumorModel) -> "Datum":
        """With its voxels counted in the box; `InputError` for those outside."""
        if box is None or self.index is None:
            return self
        assert isinstance(model, AbstractSpatialModel)
        if self.sampling is not None:
            try:
                cropped = self.sampling.cropped(*box, np.asarray(self.index))
            except InputError as error:
                raise self._named(error) from error
            return eqx.tree_at(lambda datum: datum.sampling, self, cropped)
        lower, upper = (np.asarray(corner)[:, None] for corner in box)
        index = np.stack(np.unravel_index(np.asarray(self.index), model.domain.shape))
        if (index < lower).any() or (index >= upper).any():
            raise InputError(f"day {self.day:g}: '{self.observation}' data lie outside the box {box}; enlarge it")
        inside = np.ravel_multi_index(tuple(index - lower), tuple((upper - lower)[:, 0]))
        return eqx.tree_at(lambda datum: datum.index, self, jnp.asarray(inside))

    def _named(self, error: InputError) -> InputError:
        return InputError(f"day {self.day:g}, '{self.observation}': {error}")
