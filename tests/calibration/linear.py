"""Problems whose posterior and evidence are known in closed form; nothing has to be solved for them."""

import jax.numpy as jnp
import line
import numpy as np
from scipy import stats

from twinjax.calibration import Datum, InverseProblem, Prior
from twinjax.model import DensityField, FisherKPP
from twinjax.observation import PETObservation
from twinjax.treatment import Regimen

NOISE = 0.5
PRIOR = {
    "background": {"distribution": ("normal", 0.2, 0.3), "where": "observation.pet.background"},
    "scale": {"distribution": ("normal", 0.8, 0.4), "where": "observation.pet.scale"},
}


def problem(*, prior=None, uptake=None, noise_std=NOISE) -> InverseProblem:
    """PET as background + scale u of a known density: a straight line, whose posterior is exactly normal."""
    index = np.arange(line.N)
    pet = PETObservation(noise_std=noise_std, discrepancy_std=0.0, correlation_length_mm=1.0)
    model, start = FisherKPP(line.DOMAIN), DensityField(jnp.asarray(line.START))
    data = [Datum(0.0, "pet", 0.5 + 1.4 * line.START if uptake is None else uptake, index)]
    return InverseProblem(model, Regimen(), start, {"pet": pet}, data, Prior(prior or PRIOR))


def log_evidence(noise_std=NOISE) -> float:
    """Of `problem()`: the data are normal about the prior mean, with the noise and the prior's spread."""
    design = np.stack([np.full(line.N, 0.3), 0.4 * line.START], axis=1)
    covariance = design @ design.T + noise_std**2 * np.eye(line.N)
    mean = 0.2 + 0.8 * line.START
    return float(stats.multivariate_normal(mean, covariance).logpdf(0.5 + 1.4 * line.START))
