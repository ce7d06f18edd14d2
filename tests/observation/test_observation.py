"""Observations: what they predict, how much they trust it, and that volumes are volumes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.domain import Domain
from twinjax.model import FisherKPP
from twinjax.observation import (
    CellDensityObservation,
    LogVolumeObservation,
    PETObservation,
    Readings,
    SegmentationObservation,
    visible_volume,
)
from twinjax.observation.segmentation import voxels_per_datum

N, RADIUS, WIDTH = 24, 8.0, 1.5
DISTANCE = np.linalg.norm(np.stack(np.meshgrid(*[np.arange(N) - N / 2 + 0.5] * 3, indexing="ij"), -1), axis=-1)
# A front of which the density is 1/2 at RADIUS.
SPHERE = jnp.asarray(1 / (1 + np.exp((DISTANCE - RADIUS) / WIDTH)))
DOMAIN = Domain(np.ones((N,) * 3), (1.0, 1.0, 1.0))
MODEL = FisherKPP(DOMAIN)
FIELDS = [
    CellDensityObservation(gain=1.2),
    SegmentationObservation(DOMAIN, 0.6),
    PETObservation(background=0.3, scale=0.5),
]


@pytest.mark.parametrize("observation", FIELDS, ids=lambda o: type(o).__name__)
def test_a_field_is_predicted_in_every_voxel(observation):
    assert observation.predict(MODEL, SPHERE).shape == DOMAIN.shape


def test_predictions_are_what_they_say():
    density, segmentation, pet = (observation.predict(MODEL, SPHERE) for observation in FIELDS)
    np.testing.assert_allclose(density, 1.2 * SPHERE)
    np.testing.assert_allclose(pet, 0.3 + 0.5 * SPHERE)
    np.testing.assert_array_equal(segmentation > 0.5, SPHERE > 0.6)
    assert float(segmentation.min()) >= 0
    assert float(segmentation.max()) <= 1


@pytest.mark.parametrize(
    ("spacing", "length", "count"),
    [((1.0, 1.0, 1.0), 6.0, 216), ((2.0, 2.0, 3.0), 6.0, 18), ((1.0, 2.0), 6.0, 18), ((8.0, 8.0, 8.0), 6.0, 1)],
    ids=str,
)
def test_voxels_within_a_correlation_volume_are_one_datum(spacing, length, count):
    domain = Domain(np.ones((3,) * len(spacing)), spacing)
    assert voxels_per_datum(domain, length) == pytest.approx(count)
    assert SegmentationObservation(domain, 0.6, correlation_length_mm=length).voxels_per_datum == pytest.approx(count)


def test_tempering_makes_the_misfit_independent_of_the_grid():
    """An error of 0.05 everywhere in (24 mm)³: the same misfit from eight times the voxels."""
    misfits = []
    for edge in (1.0, 2.0):
        domain = Domain(np.ones((round(24 / edge),) * 3), (edge,) * 3)
        observation = SegmentationObservation(domain, 0.6, noise_std=0.1, correlation_length_mm=6.0)
        readings = Readings(jnp.full(domain.mask.size, 0.05))
        misfits.append(float(jnp.sum(observation.residuals(readings, jnp.zeros(domain.mask.size)) ** 2)))
    np.testing.assert_allclose(misfits, (24 / 6) ** 3 * (0.05 / 0.1) ** 2, rtol=1e-12)


@pytest.mark.parametrize("threshold", [0.25, 0.5, 0.8])
def test_visible_volume_of_a_sphere(threshold):
    radius = RADIUS + WIDTH * np.log(1 / threshold - 1)
    volume = float(visible_volume(SPHERE, threshold, DOMAIN))
    np.testing.assert_allclose(volume, 4 / 3 * np.pi * radius**3, rtol=0.04)


@pytest.mark.parametrize("threshold", [0.25, 0.6])
def test_empty_tissue_adds_no_volume(threshold):
    """Or a forecast would depend on the box around the tumour."""
    np.testing.assert_allclose(visible_volume(jnp.zeros(DOMAIN.shape), threshold, DOMAIN), 0, atol=1e-5 * N**3)
    np.testing.assert_allclose(visible_volume(jnp.ones(DOMAIN.shape), threshold, DOMAIN), N**3, rtol=1e-5)


def test_volume_is_in_mm3_and_inside_the_mask():
    mask = np.ones((N,) * 3)
    mask[N // 2 :] = 0
    half = Domain(mask, (1.0, 1.0, 1.0))
    whole = float(visible_volume(SPHERE, 0.5, DOMAIN))
    np.testing.assert_allclose(visible_volume(SPHERE, 0.5, half), whole / 2, rtol=1e-9)
    np.testing.assert_allclose(visible_volume(SPHERE, 0.5, Domain(np.ones((N,) * 3), (1.0, 2.0, 3.0))), 6 * whole)


def test_a_higher_threshold_shows_less():
    thresholds = np.linspace(0.1, 0.9, 9)
    segmentation = np.stack([SegmentationObservation(DOMAIN, t).predict(MODEL, SPHERE) for t in thresholds])
    assert (np.diff(segmentation, axis=0) <= 0).all()
    volumes = [float(visible_volume(SPHERE, t, DOMAIN)) for t in thresholds]
    assert (np.diff(volumes) < 0).all()
    logs = [float(LogVolumeObservation(t).predict(MODEL, SPHERE)) for t in thresholds]
    np.testing.assert_allclose(logs, np.log(np.asarray(volumes) + 1), rtol=1e-12)


def test_log_volume_of_no_tumour_is_finite_with_its_gradient():
    observation = LogVolumeObservation(0.6, noise_std=0.2)
    prediction, slope = jax.value_and_grad(lambda u: observation.predict(MODEL, u))(jnp.zeros(DOMAIN.shape))
    np.testing.assert_allclose(prediction, np.log(DOMAIN.voxel_volume), atol=1e-6)
    assert jnp.isfinite(slope).all()
    residuals = observation.residuals(Readings(prediction[None] + 0.3), prediction[None])
    np.testing.assert_allclose(residuals, 1.5, rtol=1e-9)
