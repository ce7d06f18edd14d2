"""A tumour whose density is known in one place, not where it lies nor how dense it is: a bent ridge, exactly known."""

import jax.numpy as jnp
import line
import numpy as np

from twinjax.calibration import Datum, InverseProblem, Prior
from twinjax.model import FisherKPP, PointSeed
from twinjax.observation import CellDensityObservation
from twinjax.treatment import Regimen

RADIUS, SPREAD, DENSITY, NOISE = 5.0, 5.0, 0.2, 0.03
MIDDLE = line.N // 2


def problem() -> InverseProblem:
    """How far the seed lies from the middle and its amplitude are unknown, the density in the middle is measured.

    amplitude exp(-shift²/2 radius²) is near 0.2: in whitened coordinates a parabola.
    """
    seed = PointSeed([float(line.DOMAIN.coordinates()[0, MIDDLE])], radius=RADIUS)
    observation = CellDensityObservation(noise_std=NOISE, discrepancy_std=0.0, correlation_length_mm=1.0)
    prior = {
        "shift": {"distribution": ("normal", 0.0, SPREAD), "where": "initial.shift_x", "unit": "mm"},
        "amplitude": {"distribution": ("lognormal", DENSITY, 1.0), "where": "initial.amplitude"},
    }
    data = [Datum(0.0, "density", jnp.array([DENSITY]), np.array([MIDDLE]))]
    return InverseProblem(FisherKPP(line.DOMAIN), Regimen(), seed, {"density": observation}, data, Prior(prior))


def log_density(z):
    """Of whitened (points, 2), up to a constant."""
    seen = DENSITY * np.exp(z[:, 1] - (SPREAD * z[:, 0]) ** 2 / (2 * RADIUS**2))
    return -0.5 * (z**2).sum(axis=1) - 0.5 * ((seen - DENSITY) / NOISE) ** 2


def moments() -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of z, by quadrature along the ridge and across it."""
    shift, across = np.meshgrid(np.linspace(-5, 5, 801), np.linspace(-0.6, 0.6, 801), indexing="ij")
    z = np.stack([shift, 0.5 * (SPREAD * shift / RADIUS) ** 2 + across], axis=-1).reshape(-1, 2)
    weights = np.exp(log_density(z))
    weights /= weights.sum()
    mean = weights @ z
    return mean, np.sqrt(weights @ (z - mean) ** 2)
