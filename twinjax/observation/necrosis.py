"""What scans show of models that tell living cells from dead ones."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from twinjax.observation.field import AbstractFieldObservation
from twinjax.observation.segmentation import CONTOUR_DISCREPANCY, CONTOUR_NOISE, front_distance


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


class NecrosisObservation(AbstractFieldObservation):
    """The contour of the necrotic core, dark within the enhancing rim of T1CE, as `front_distance` in mm.

    The default threshold 0.5 of the necrotic fraction (half of the tissue is dead) is our own choice.
    """

    threshold: Float[Array, ""]
    noise_std: Float[Array, ""]
    discrepancy_std: Float[Array, ""]
    correlation_length_mm: float = eqx.field(static=True)
    contour = True

    def __init__(
        self, threshold=0.5, *, noise_std=CONTOUR_NOISE, discrepancy_std=CONTOUR_DISCREPANCY, correlation_length_mm=10.0
    ):
        self.threshold = jnp.asarray(threshold, float)
        self.noise_std, self.discrepancy_std = jnp.asarray(noise_std, float), jnp.asarray(discrepancy_std, float)
        self.correlation_length_mm = float(correlation_length_mm)

    def predict(self, model, state) -> Array:
        return front_distance(model.necrotic_density(state), self.threshold, model.domain)
