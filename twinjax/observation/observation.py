"""What a scan measures of a state, and how well."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

# Width (in density) of the smooth step that stands for a visibility threshold: V = integral of H(u - threshold).
THRESHOLD_SOFTNESS = 0.05
# Narrower for a volume (as in Wu et al. 2022, Cancer Res 82:3394): a wide step would count a share of all the
# healthy tissue in the box.
VOLUME_SOFTNESS = 0.02


class AbstractObservation(eqx.Module):
    """A measurement of the tumour at one instant; its parameters are leaves, so that calibration can reach them."""

    noise_std: eqx.AbstractVar[Float[Array, ""]]

    @abc.abstractmethod
    def predict(self, model, state) -> Array:
        """The noise-free measurement: an array on the grid, or a scalar."""

    @abc.abstractmethod
    def noise(self, prediction: Array) -> dist.Normal:
        """The distribution of the data around `prediction` (same shape)."""


class AbstractFieldObservation(AbstractObservation):
    """A measurement in every voxel.

    Neighbouring voxels err together: image noise is smooth after resampling, and a model errs over regions.
    Voxels within one correlation volume therefore count as one datum: the deviation used per voxel is
    `noise_std` sqrt(correlation volume / voxel volume), with the correlation volume `correlation_length`³. This
    tempering is our own choice; without it 10⁴ voxels pass for 10⁴ independent data and intervals collapse.

    **Fields:** `noise_std` (units of the measurement), `voxels_per_datum` (static, >= 1).
    """

    voxels_per_datum: eqx.AbstractVar[float]

    def noise(self, prediction):
        return dist.Normal(prediction, self.noise_std * self.voxels_per_datum**0.5)


def voxels_per_datum(domain, correlation_length_mm: float) -> float:
    """How many voxels of a domain one correlation volume holds, at least 1."""
    return max(1.0, correlation_length_mm ** len(domain.shape) / domain.voxel_volume)


class CellDensityObservation(AbstractFieldObservation):
    """Cell density from the apparent diffusion coefficient, gain u = (ADC_w - ADC) / (ADC_w - ADC_min) (Weis 2013).

    `gain` is 1 where ADC_min is that of the densest packing; it stands for the error of that assumption.
    """

    gain: Float[Array, ""]
    noise_std: Float[Array, ""]
    voxels_per_datum: float = eqx.field(static=True)

    def __init__(self, domain, *, gain=1.0, noise_std=0.1, correlation_length_mm=6.0):
        self.gain = jnp.asarray(gain, float)
        self.noise_std = jnp.asarray(noise_std, float)
        self.voxels_per_datum = voxels_per_datum(domain, correlation_length_mm)

    def predict(self, model, state):
        return self.gain * model.cell_density(state)


class SegmentationObservation(AbstractFieldObservation):
    """A mask that shows where the density exceeds a visibility threshold: sigmoid((u - threshold) / softness).

    Thresholds: T1Gd core 0.6 to 0.8, T2-FLAIR 0.05 to 0.6 of the carrying capacity (Lipkova et al. 2019, IEEE TMI
    38:1875).
    """

    threshold: Float[Array, ""]
    noise_std: Float[Array, ""]
    voxels_per_datum: float = eqx.field(static=True)

    def __init__(self, domain, threshold, *, noise_std=0.3, correlation_length_mm=6.0):
        self.threshold = jnp.asarray(threshold, float)
        self.noise_std = jnp.asarray(noise_std, float)
        self.voxels_per_datum = voxels_per_datum(domain, correlation_length_mm)

    def predict(self, model, state):
        return jax.nn.sigmoid((model.cell_density(state) - self.threshold) / THRESHOLD_SOFTNESS)


class PETObservation(AbstractFieldObservation):
    """Amino-acid PET as background + scale u; arbitrary units (Lipkova et al. 2019, IEEE TMI 38:1875)."""

    background: Float[Array, ""]
    scale: Float[Array, ""]
    noise_std: Float[Array, ""]
    voxels_per_datum: float = eqx.field(static=True)

    def __init__(self, domain, *, background=0.2, scale=0.8, noise_std=0.15, correlation_length_mm=6.0):
        self.background, self.scale = jnp.asarray(background, float), jnp.asarray(scale, float)
        self.noise_std = jnp.asarray(noise_std, float)
        self.voxels_per_datum = voxels_per_datum(domain, correlation_length_mm)

    def predict(self, model, state):
        return self.background + self.scale * model.cell_density(state)


class LogVolumeObservation(AbstractObservation):
    """The logarithm of the volume (mm³) above a visibility threshold.

    `noise_std` is that of log volume; untreated xenografts scatter by 0.09 to 0.13 around their curve.
    """

    threshold: Float[Array, ""]
    noise_std: Float[Array, ""]

    def __init__(self, threshold, *, noise_std=0.12):
        self.threshold, self.noise_std = jnp.asarray(threshold, float), jnp.asarray(noise_std, float)

    def predict(self, model, state):
        visible = visible_volume(model.cell_density(state), self.threshold, model.domain)
        # One voxel of tumour keeps the logarithm of an empty mask finite.
        return jnp.log(visible + model.domain.voxel_volume)

    def noise(self, prediction):
        return dist.Normal(prediction, self.noise_std)


def visible_volume(density: Array, threshold, domain) -> Array:
    """Volume in mm³ where the density exceeds `threshold`, by a smooth step of width `VOLUME_SOFTNESS`."""
    step = jax.nn.sigmoid((density - threshold) / VOLUME_SOFTNESS)
    return jnp.sum(jnp.where(domain.mask, step, 0.0)) * domain.voxel_volume
