"""What scans show of models that tell living cells from dead ones."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from twinjax.observation.field import AbstractFieldObservation
from twinjax.observation.segmentation import AbstractMaskObservation, marked_part, voxels_per_datum


class ViableDensityObservation(AbstractFieldObservation):
    """Living cells from the apparent diffusion coefficient, as `CellDensityObservation`: water is free in necrosis."""

    gain: Float[Array, ""]
    noise_std: Float[Array, ""]
    discrepancy_std: Float[Array, ""]
    correlation_length_mm: float = eqx.field(static=True)

    def __init__(self, *, gain=1.0, noise_std=0.05, discrepancy_std=0.05, correlation_length_mm=10.0):
        self.gain = jnp.asarray(gain, float)
        self.noise_std, self.discrepancy_std = jnp.asarray(noise_std, float), jnp.asarray(discrepancy_std, float)
        self.correlation_length_mm = float(correlation_length_mm)

    def predict(self, model, state) -> Array:
        return self.gain * model.viable_density(state)


class ViablePETObservation(AbstractFieldObservation):
    """Amino-acid PET, as `PETObservation`, of living cells: necrosis takes nothing up."""

    background: Float[Array, ""]
    scale: Float[Array, ""]
    noise_std: Float[Array, ""]
    discrepancy_std: Float[Array, ""]
    correlation_length_mm: float = eqx.field(static=True)

    def __init__(self, *, background=0.2, scale=0.8, noise_std=0.1, discrepancy_std=0.1, correlation_length_mm=10.0):
        self.background, self.scale = jnp.asarray(background, float), jnp.asarray(scale, float)
        self.noise_std, self.discrepancy_std = jnp.asarray(noise_std, float), jnp.asarray(discrepancy_std, float)
        self.correlation_length_mm = float(correlation_length_mm)

    def predict(self, model, state) -> Array:
        return self.background + self.scale * model.viable_density(state)


class NecrosisObservation(AbstractMaskObservation):
    """The necrotic core, dark within the enhancing rim of T1CE: the necrotic fraction N exceeds a threshold.

    The default threshold 0.5 (half of the tissue is dead) is our own choice.
    """

    threshold: Float[Array, ""]
    noise_std: Float[Array, ""]
    voxels_per_datum: float = eqx.field(static=True)

    def __init__(self, domain, threshold=0.5, *, noise_std=0.3, correlation_length_mm=10.0):
        self.threshold, self.noise_std = jnp.asarray(threshold, float), jnp.asarray(noise_std, float)
        self.voxels_per_datum = voxels_per_datum(domain, correlation_length_mm)

    def predict(self, model, state) -> Array:
        return marked_part(model.necrotic_density(state), self.threshold, model.domain)
