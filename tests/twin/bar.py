"""A synthetic tumour in a bar of tissue of 96 x 8 x 8 mm, with a posterior that is made, not fitted."""

import jax.numpy as jnp
import numpy as np

from twinjax.calibration import Datum, Identifiability, InverseProblem, Posterior, Prior
from twinjax.domain import Domain
from twinjax.imaging import Scan
from twinjax.model import DensityField, FisherKPP
from twinjax.observation import CellDensityObservation, SegmentationObservation
from twinjax.treatment import Radiotherapy, Regimen
from twinjax.twin import DigitalTwin, Forecast

SHAPE, SPACING = (48, 4, 4), (2.0, 2.0, 2.0)
AFFINE = np.diag([*SPACING, 1.0])
DOMAIN = Domain(np.ones(SHAPE), SPACING, affine=AFFINE)
MODEL = FisherKPP(DOMAIN)
PRIOR = Prior(
    {
        "diffusivity": {"distribution": ("lognormal", 0.5, 0.5), "where": "model.diffusivity"},
        "proliferation_rate": {"distribution": ("lognormal", 0.1, 0.5), "where": "model.proliferation_rate"},
        "alpha": {"distribution": ("lognormal", 0.03, 0.3), "where": "regimen.radiotherapy.alpha"},
    }
)
GIVEN = Regimen((Radiotherapy([2.0], [2.0]),))
# A seed in the middle of the bar, 8 mm to either side.
START = 0.9 * np.exp(-((np.arange(48) - 23.5)[:, None, None] ** 2) / (2 * 3.0**2)) * np.ones(SHAPE)


# The same, and a drug that was not given.
FORECAST_PRIOR = Prior(
    {
        **{p.name: {"distribution": p.distribution, "where": p.where} for p in PRIOR.parameters},
        "drug": {"distribution": ("lognormal", 5.0, 0.5), "where": "regimen.temozolomide.sensitivity"},
    }
)


def problem(*, forecast_prior: Prior | None = None) -> InverseProblem:
    everywhere = np.arange(DOMAIN.mask.size)
    observations = {
        "cell_density": CellDensityObservation(),
        "core": SegmentationObservation(DOMAIN, 0.6),
        "whole_tumor": SegmentationObservation(DOMAIN, 0.3),
    }
    data = [
        Datum(day, name, (threshold < START).ravel().astype(float), everywhere)
        for day in (4.0, 8.0)
        for name, threshold in (("core", 0.6), ("whole_tumor", 0.3))
    ]
    start = DensityField(jnp.asarray(START))
    return InverseProblem(MODEL, GIVEN, start, observations, data, PRIOR, forecast_prior=forecast_prior)


def posterior(*, z_map=(0.0, 0.0, 0.0), spread=0.2, draws=20, forecast_prior: Prior | None = None) -> Posterior:
    z = np.asarray(z_map) + spread * np.random.default_rng(0).normal(size=(2, draws // 2, 3))
    return Posterior.from_draws(
        problem(forecast_prior=forecast_prior), z, np.asarray(z_map), method="none: synthetic draws", doubts=[]
    )


def twin(of: Posterior | None = None) -> DigitalTwin:
    of = posterior() if of is None else of
    return DigitalTwin(MODEL, of.map_estimate, of.credible_interval(0.95))


def identifiability(of: Posterior) -> Identifiability:
    """Made, not solved: the data know the product of the first two parameters, and nothing of the third."""
    information = np.array([[50.0, 50.0, 0.0], [50.0, 50.0, 0.0], [0.0, 0.0, 0.0]])
    return Identifiability.of(PRIOR.parameters, information, of.z)


def slab(first: int, last: int) -> np.ndarray:
    """The voxels `first <= x < last` of the bar."""
    region = np.zeros(SHAPE, bool)
    region[first:last] = True
    return region


def scan(core: np.ndarray, whole: np.ndarray, **images: np.ndarray) -> Scan:
    segmentation = np.select([core, whole], [3, 2]).astype(np.int8)
    return Scan(AFFINE, images, segmentation, np.ones(SHAPE, bool))


def prediction(core: np.ndarray, whole: np.ndarray, days=(4.0, 8.0), *, failed_draws: int = 0) -> Forecast:
    """A forecast that is made, not solved: the same regions on all days, their volumes known to a tenth."""
    count, factors = len(days), np.linspace(0.9, 1.1, 11)[:, None]
    fields = {name: np.stack([region * 1.0] * count) for name, region in (("core", core), ("whole_tumor", whole))}
    volumes = {
        f"{name}_volume_mm3": factors * field.reshape(count, -1).sum(1) * DOMAIN.voxel_volume
        for name, field in fields.items()
    }
    mean = 0.4 * fields["core"] + 0.4 * fields["whole_tumor"]
    noise = dict.fromkeys(fields, 0.1)
    return Forecast(np.asarray(days), mean, 0.1 * mean, fields, volumes, DOMAIN, noise, failed_draws)
