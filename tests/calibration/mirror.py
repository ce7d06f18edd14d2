"""A tumour that may lie on either side of the one place where its density is known: two modes, exactly known."""

import jax.numpy as jnp
import line
import numpy as np
from scipy import integrate, stats

from twinjax.calibration import Datum, InverseProblem, Prior
from twinjax.model import FisherKPP, PointSeed
from twinjax.observation import CellDensityObservation
from twinjax.treatment import Regimen

RADIUS, NOISE, APART = 5.0, 0.01, 6.0
# The side of positive shifts is the likelier one before the measurement, by a factor of 2.6.
MEAN, SPREAD = 2.0, 5.0
MIDDLE = line.N // 2


def density(shift):
    return 0.5 * np.exp(-(shift**2) / (2 * RADIUS**2))


def problem() -> InverseProblem:
    """One unknown, how far the seed lies from the middle, and the density there, without an error of measurement."""
    seed = PointSeed([float(line.DOMAIN.coordinates()[0, MIDDLE])], radius=RADIUS, amplitude=0.5)
    observation = CellDensityObservation(noise_std=NOISE, discrepancy_std=0.0, correlation_length_mm=1.0)
    prior = Prior({"shift": {"distribution": ("normal", MEAN, SPREAD), "where": "initial.shift_x", "unit": "mm"}})
    data = [Datum(0.0, "density", jnp.array([density(APART)]), np.array([MIDDLE]))]
    return InverseProblem(FisherKPP(line.DOMAIN), Regimen(), seed, {"density": observation}, data, prior)


def mass(low: float, high: float) -> float:
    """The evidence that lies between two shifts, by quadrature."""

    def joint(shift):
        return stats.norm(MEAN, SPREAD).pdf(shift) * stats.norm(density(shift), NOISE).pdf(density(APART))

    return integrate.quad(joint, low, high, points=[-APART, APART], epsabs=1e-12)[0]
