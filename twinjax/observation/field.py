"""Measurements in every voxel, whose errors are normal and shared by neighbours."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float
from scipy import optimize

from twinjax.core.errors import InputError
from twinjax.observation.correlation import CorrelatedModes
from twinjax.observation.observation import AbstractObservation
from twinjax.observation.readings import Readings

# Levels are sought up to this many times what was stated.
LARGEST_FACTOR = 100.0


class AbstractFieldObservation(AbstractObservation):
    """data = prediction + discrepancy + white error, in every voxel.

    The discrepancy is what the model and the processing of images do wrong: a smooth normal field, independent from
    day to day, of deviation `discrepancy_std` and correlated over `correlation_length_mm` (`CorrelatedModes`). Its
    cube errs as one (Kennedy and O'Hagan 2001, J R Stat Soc B 63:425, for the idea of the term).

    Data are the coefficients of the modes, a few hundred smooth averages, and not the voxels: what is left between
    them, the staircase of masks and the noise of images, is nothing that a model on a grid predicts, and 10⁴ voxels of
    it as independent data would outweigh all else.

    **Fields:** `noise_std` of the white error and `discrepancy_std`, in units of the measurement;
    `correlation_length_mm` (static).
    """

    noise_std: eqx.AbstractVar[Float[Array, ""]]
    discrepancy_std: eqx.AbstractVar[Float[Array, ""]]
    correlation_length_mm: eqx.AbstractVar[float]
    levels = ("noise_std", "discrepancy_std")

    def prepared(self, readings, index, domain):
        if readings.side is not None:
            raise InputError("voxels that lie below or above a limit are not offered; leave them out")
        position = np.stack(np.unravel_index(np.asarray(index), domain.shape), axis=1)
        modes = CorrelatedModes.of(position, domain.spacing, self.correlation_length_mm)
        return Readings(readings.values, modes=modes)

    def residuals(self, readings, predicted):
        error = readings.of_real(readings.values - predicted)
        if readings.modes is None:
            return error / self.deviation
        return readings.modes.project(error) / readings.modes.deviations(self.noise_std, self.discrepancy_std)

    def log_normalizer(self, readings):
        if readings.modes is None:
            return -readings.count * (0.5 * jnp.log(2 * jnp.pi) + jnp.log(self.deviation))
        deviations = readings.modes.deviations(self.noise_std, self.discrepancy_std)
        return -jnp.sum(readings.modes.real * (0.5 * jnp.log(2 * jnp.pi) + jnp.log(deviations)))

    def sample(self, readings, predicted, key):
        key_white, key_smooth = jax.random.split(key)
        white = jax.random.normal(key_white, predicted.shape)
        if readings.modes is None:
            return predicted + self.deviation * white
        coefficients = jnp.sqrt(readings.modes.eigenvalues) * jax.random.normal(
            key_smooth, readings.modes.eigenvalues.shape
        )
        return predicted + self.noise_std * white + self.discrepancy_std * readings.modes.expand(coefficients)

    @property
    def deviation(self) -> Array:
        """Of one voxel."""
        return jnp.sqrt(self.noise_std**2 + self.discrepancy_std**2)

    def likeliest_levels(self, readings, predicted):
        # Per part of the errors: their sum of squares, how many they are, and their variance per discrepancy².
        squares, counts, variances = [], [], []
        for one, expected in zip(readings, predicted, strict=True):
            error = np.asarray(one.values - expected, float)
            total = float(error @ error)
            if one.modes is None:
                squares, counts, variances = [*squares, total], [*counts, error.size], [*variances, 1.0]
                continue
            inside = np.asarray(one.modes.project(jnp.asarray(error)), float) ** 2
            squares += [*inside, max(total - inside.sum(), 0.0)]
            counts += [*np.ones(inside.size), error.size - inside.size]
            variances += [*np.asarray(one.modes.eigenvalues, float), float(one.modes.remainder)]
        stated = np.array([float(self.noise_std), float(self.discrepancy_std)])
        square, count, variance = np.asarray(squares), np.asarray(counts), np.asarray(variances)

        def cost(logs):
            white, correlated = np.exp(2 * logs)
            total = white + correlated * variance
            slope = (count - square / total) / total
            value = 0.5 * np.sum(count * np.log(total) + square / total)
            return value, np.array([np.sum(slope) * white, np.sum(slope * variance) * correlated])

        least = np.log(np.maximum(stated, 1e-3 * stated.max()))
        bounds = [(low, np.log(LARGEST_FACTOR * stated.max())) for low in least]
        found = optimize.minimize(cost, least + 0.1, jac=True, bounds=bounds, method="L-BFGS-B").x
        # A level that is not wanted stays what it was; from zero the slope is too flat to come back to the bound.
        return {
            name: float(level if log <= low + (1e-6 if level > 0 else 1.0) else np.exp(log))
            for name, log, low, level in zip(self.levels, found, least, stated, strict=True)
        }

    def effective_count(self, readings):
        if readings.modes is None:
            return float(readings.values.size)
        # So many modes of equal variance would spread as much.
        share = np.asarray(readings.modes.eigenvalues) / float(readings.count)
        return float(1 / np.sum(share**2))


class AbstractCellObservation(AbstractFieldObservation):
    """A field that follows the density of cells: of all of them, or of those that a model knows to be living."""

    living: eqx.AbstractClassVar[bool]

    def density(self, model, state) -> Float[Array, "*grid"]:
        return model.viable_density(state) if self.living else model.cell_density(state)


def number(value: ArrayLike) -> Float[Array, ""]:
    """A leaf of it."""
    return jnp.asarray(value, float)
