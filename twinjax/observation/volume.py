"""The volume that a scan shows."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from twinjax.observation.scalar import AbstractScalarObservation

# Narrow (as in Wu et al. 2022, Cancer Res 82:3394): a wide step would count a share of all the healthy tissue in the
# box.
VOLUME_SOFTNESS = 0.02


class LogVolumeObservation(AbstractScalarObservation):
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


def visible_volume(density: Array, threshold, domain) -> Array:
    """Volume in mm³ where the density exceeds `threshold`, by a smooth step of width `VOLUME_SOFTNESS`."""
    step = jax.nn.sigmoid((density - threshold) / VOLUME_SOFTNESS)
    return jnp.sum(jnp.where(domain.mask, step, 0.0)) * domain.voxel_volume
