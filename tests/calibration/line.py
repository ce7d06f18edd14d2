"""A synthetic tumour on a line of 60 mm, seen on three days: small enough to calibrate in seconds.

Its data come from another solver (Tsit5) on a grid four times finer than the one that is calibrated.
"""

import diffrax
import jax.numpy as jnp
import numpy as np

from twinjax.calibration import Datum, InverseProblem, Prior
from twinjax.domain import Domain
from twinjax.model import DensityField, FisherKPP
from twinjax.observation import CellDensityObservation, SegmentationObservation
from twinjax.simulation import simulate
from twinjax.treatment import Radiotherapy, Regimen

N, REFINEMENT = 60, 4
DOMAIN = Domain(np.ones(N), (1.0,))
DAYS = (15.0, 30.0, 45.0)
TRUTH = {"diffusivity": 0.5, "proliferation_rate": 0.06}
GROWTH = {
    "diffusivity": {"distribution": ("lognormal", 0.3, 0.5), "where": "model.diffusivity", "unit": "mm²/day"},
    "proliferation_rate": {"distribution": ("lognormal", 0.04, 0.5), "where": "model.proliferation_rate"},
}
ALPHA = {"alpha": {"distribution": ("lognormal", 0.03, 0.3), "where": "regimen.radiotherapy.alpha"}}
THRESHOLD = {
    "threshold": {"distribution": ("truncated_normal", 0.6, 0.1, 0.3, 0.9), "where": "observation.core.threshold"}
}
FRACTIONS = Regimen((Radiotherapy([20.0, 21.0, 22.0], [2.0, 2.0, 2.0]),))


def _truth(regimen):
    """(u0, densities): means over the voxels of the coarse grid."""
    fine = Domain(np.ones(N * REFINEMENT), (1 / REFINEMENT,))
    x = (np.arange(N * REFINEMENT) + 0.5) / REFINEMENT
    u0 = 0.8 * np.exp(-((x - N / 2) ** 2) / (2 * 5.0**2))
    trajectory = simulate(FisherKPP(fine, **TRUTH), regimen, u0, DAYS, solver=diffrax.Tsit5()).require_success()
    return u0.reshape(N, -1).mean(-1), np.asarray(trajectory.states).reshape(len(DAYS), N, -1).mean(-1)


START, DENSITIES = _truth(Regimen())
NOISE = 0.05


def problem(prior=None, *, data=None, regimen=None, model=None, noise_std=NOISE, **options) -> InverseProblem:
    """Density in every voxel on every day; `data` replaces those of the synthetic tumour."""
    if data is None:
        data = [Datum(day, "density", u, np.arange(N)) for day, u in zip(DAYS, DENSITIES, strict=True)]
    observations = {
        "density": CellDensityObservation(noise_std=noise_std, discrepancy_std=0.0, correlation_length_mm=1.0),
        "core": SegmentationObservation(DOMAIN, 0.6, noise_std=0.2, correlation_length_mm=2.0),
    }
    return InverseProblem(
        FisherKPP(DOMAIN) if model is None else model,
        Regimen() if regimen is None else regimen,
        DensityField(jnp.asarray(START)),
        observations,
        data,
        prior if isinstance(prior, Prior) else Prior(GROWTH if prior is None else prior),
        **options,
    )


def treated_problem() -> InverseProblem:
    """Four unknowns: growth, radiosensitivity and a visibility threshold, from density and a segmentation."""
    everywhere = np.arange(N)
    data = [Datum(day, "density", u, everywhere) for day, u in zip(DAYS, DENSITIES, strict=True)]
    data.append(Datum(DAYS[1], "core", (DENSITIES[1] > 0.6).astype(float), everywhere))
    return problem({**GROWTH, **ALPHA, **THRESHOLD}, data=data, regimen=FRACTIONS)
