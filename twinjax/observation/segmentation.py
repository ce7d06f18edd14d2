"""Masks: which voxels an observer marked as tumour."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from twinjax.core.errors import InputError
from twinjax.observation.observation import AbstractObservation

# Width (in density) of the smooth step that stands for a visibility threshold: V = integral of H(u - threshold).
THRESHOLD_SOFTNESS = 0.02


class AbstractMaskObservation(AbstractObservation):
    """The part of each voxel in which a density exceeds a threshold (`marked_part`), with normal error.

    Voxels within one correlation volume are marked together, so that each counts for 1 / `voxels_per_datum`: a
    composite likelihood of voxels, tempered to the number of independent data (Varin, Reid and Firth 2011, Stat Sin
    21:5, review such; the weight is our own choice).

    **Fields:** `threshold`; `noise_std` of one voxel; `voxels_per_datum` (static, >= 1).
    """

    threshold: eqx.AbstractVar[Float[Array, ""]]
    noise_std: eqx.AbstractVar[Float[Array, ""]]
    voxels_per_datum: eqx.AbstractVar[float]
    levels = ("noise_std",)

    @abc.abstractmethod
    def density(self, model, state) -> Float[Array, "*grid"]:
        """What the observer sees where it exceeds the threshold."""

    def predict(self, model, state):
        return marked_part(self.density(model, state), self.threshold, model.domain)

    def prepared(self, readings, index, domain):
        del index, domain
        if not bool(((readings.values >= 0) & (readings.values <= 1)).all()):
            raise InputError("a mask holds parts of voxels, 0 to 1")
        return readings

    def residuals(self, readings, predicted):
        error = readings.of_real(readings.values - predicted)
        return error / (self.noise_std * self.voxels_per_datum**0.5)

    def log_normalizer(self, readings):
        # That of the tempered density: one factor for each independent datum.
        count = readings.count / self.voxels_per_datum
        return -count * (0.5 * jnp.log(2 * jnp.pi) + jnp.log(self.noise_std))

    def sample(self, readings, predicted, key):
        raise InputError("masks cannot be drawn: a composite likelihood of voxels does not say how they come about")

    def likeliest_levels(self, readings, predicted):
        error = np.concatenate([np.asarray(a.values - b, float) for a, b in zip(readings, predicted, strict=True)])
        return {"noise_std": max(float(self.noise_std), float(np.sqrt(np.mean(error**2))))}

    def effective_count(self, readings):
        return max(1.0, readings.values.size / self.voxels_per_datum)


class SegmentationObservation(AbstractMaskObservation):
    """Tumour, where its cells exceed the threshold of visibility.

    Thresholds: T1Gd core 0.6 to 0.8, T2-FLAIR 0.05 to 0.6 of the carrying capacity (Lipkova et al. 2019, IEEE TMI
    38:1875).
    """

    threshold: Float[Array, ""]
    noise_std: Float[Array, ""]
    voxels_per_datum: float = eqx.field(static=True)

    def __init__(self, domain, threshold, *, noise_std=0.3, correlation_length_mm=10.0):
        self.threshold, self.noise_std = jnp.asarray(threshold, float), jnp.asarray(noise_std, float)
        self.voxels_per_datum = voxels_per_datum(domain, correlation_length_mm)

    def density(self, model, state):
        return model.cell_density(state)


class NecrosisObservation(AbstractMaskObservation):
    """The necrotic core, dark within the enhancing rim of T1CE, where dead tissue exceeds the threshold.

    The default threshold 0.5 (half of the tissue is dead) is our own choice.
    """

    threshold: Float[Array, ""]
    noise_std: Float[Array, ""]
    voxels_per_datum: float = eqx.field(static=True)

    def __init__(self, domain, threshold=0.5, *, noise_std=0.3, correlation_length_mm=10.0):
        self.threshold, self.noise_std = jnp.asarray(threshold, float), jnp.asarray(noise_std, float)
        self.voxels_per_datum = voxels_per_datum(domain, correlation_length_mm)

    def density(self, model, state):
        return model.necrotic_density(state)


def marked_part(density: Float[Array, "*grid"], threshold, domain) -> Float[Array, "*grid"]:
    """The part of each voxel where the density exceeds the threshold: sigmoid((u - threshold) / width).

    A density that changes by d_i over a voxel along axis i has the variance sum d_i² / 12 in it, and a logistic curve
    of that variance the width sqrt(sum d_i²) / (2 π); an observer is vague by `THRESHOLD_SOFTNESS` besides. Were the
    width the same everywhere, the tail of a tumour, which is wide, would be marked by a share of all its voxels.
    """
    variance = jnp.full(density.shape, THRESHOLD_SOFTNESS**2, density.dtype)
    for axis in range(density.ndim):
        pad = [(0, 0)] * density.ndim
        pad[axis] = (1, 1)
        padded, inside = jnp.pad(density, pad), jnp.pad(domain.mask, pad)
        before, after = (slice(None),) * axis + (slice(None, -2),), (slice(None),) * axis + (slice(2, None),)
        # At the edge of the tissue from one side alone.
        left = jnp.where(inside[before], density - padded[before], 0.0)
        right = jnp.where(inside[after], padded[after] - density, 0.0)
        sides = jnp.maximum(inside[before].astype(density.dtype) + inside[after], 1)
        variance += ((left + right) / sides / (2 * jnp.pi)) ** 2
    return jax.nn.sigmoid((density - threshold) / jnp.sqrt(variance))


def voxels_per_datum(domain, correlation_length_mm: float) -> float:
    """How many voxels of a domain one correlation volume holds, at least 1."""
    return max(1.0, correlation_length_mm ** len(domain.shape) / domain.voxel_volume)
