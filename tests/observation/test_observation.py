"""Observations: what they predict, and that volumes are volumes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.domain import Domain
from twinjax.domain.distance import signed_distance
from twinjax.model import FisherKPP
from twinjax.observation import (
    CellDensityObservation,
    LogVolumeObservation,
    PETObservation,
    Readings,
    SegmentationObservation,
    visible_volume,
)
from twinjax.observation.segmentation import front_distance

N, RADIUS, WIDTH = 24, 8.0, 1.5
DISTANCE = np.linalg.norm(np.stack(np.meshgrid(*[np.arange(N) - N / 2 + 0.5] * 3, indexing="ij"), -1), axis=-1)
# A front of which the density is 1/2 at RADIUS.
SPHERE = jnp.asarray(1 / (1 + np.exp((DISTANCE - RADIUS) / WIDTH)))
DOMAIN = Domain(np.ones((N,) * 3), (1.0, 1.0, 1.0))
MODEL = FisherKPP(DOMAIN)
FIELDS = [
    CellDensityObservation(gain=1.2),
    SegmentationObservation(0.6),
    PETObservation(background=0.3, scale=0.5),
]


@pytest.mark.parametrize("observation", FIELDS, ids=lambda o: type(o).__name__)
def test_a_field_is_predicted_in_every_voxel(observation):
    assert observation.predict(MODEL, SPHERE).shape == DOMAIN.shape


def test_predictions_are_what_they_say():
    density, segmentation, pet = (observation.predict(MODEL, SPHERE) for observation in FIELDS)
    np.testing.assert_allclose(density, 1.2 * SPHERE)
    np.testing.assert_allclose(pet, 0.3 + 0.5 * SPHERE)
    # A front of this width is 0.6 dense at RADIUS - WIDTH logit 0.6; the wall is no flatter than 1 in 7 mm.
    near = np.abs(DISTANCE - RADIUS) < 4
    expected = (RADIUS - WIDTH * np.log(0.6 / 0.4) - DISTANCE) / np.sqrt(1 + (WIDTH / 7) ** 2)
    np.testing.assert_allclose(segmentation[near], expected[near], atol=0.15)


@pytest.mark.parametrize("width", [0.8, 1.5, 3.0])
def test_the_distance_from_a_contour_does_not_depend_on_how_steep_the_front_is(width):
    density = jnp.asarray(1 / (1 + np.exp((DISTANCE - RADIUS) / width)))
    found = np.asarray(front_distance(density, 0.5, DOMAIN))
    near = np.abs(DISTANCE - RADIUS) < 2
    np.testing.assert_allclose(found[near], (RADIUS - DISTANCE)[near], atol=0.25)


def test_the_distance_knows_no_front_at_the_edge_of_the_tissue():
    """Outside the tissue the density is zero, which is no contour; here the front runs along one axis."""
    mask = np.ones((N,) * 3)
    mask[:, : N // 2] = 0
    depth = np.arange(N)[:, None, None] - N / 2 + 0.5
    density = jnp.asarray(np.where(mask, 1 / (1 + np.exp(depth / WIDTH)), 0.0))
    found = np.asarray(front_distance(density, 0.5, Domain(mask, (1.0, 1.0, 1.0))))
    inside = (mask > 0) & (np.abs(depth) < 4)
    np.testing.assert_allclose(found[inside], np.broadcast_to(-depth, mask.shape)[inside], rtol=0.01)


def test_the_distance_from_a_mask_is_that_of_its_boundary():
    found = -signed_distance(DISTANCE < RADIUS, (1.0, 1.0, 1.0))
    np.testing.assert_allclose(found, RADIUS - DISTANCE, atol=0.8)
    assert ((found > 0) == (DISTANCE < RADIUS)).all()
    assert (-signed_distance(np.zeros((3, 3)), (1.0, 1.0)) < -100).all()
    # A ball cut by a wall ends at the wall only where there is tissue beyond.
    tissue = np.arange(N)[:, None, None] + 0 * DISTANCE < N / 2
    cut = (DISTANCE < RADIUS) & tissue
    found = -signed_distance(cut, (1.0, 1.0, 1.0), tissue)
    np.testing.assert_allclose(found[cut], (RADIUS - DISTANCE)[cut], atol=0.8)


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
    distance = np.stack([SegmentationObservation(t).predict(MODEL, SPHERE) for t in thresholds])
    assert (np.diff(distance, axis=0) < 0).all()
    volumes = [float(visible_volume(SPHERE, t, DOMAIN)) for t in thresholds]
    assert (np.diff(volumes) < 0).all()
    logs = [float(LogVolumeObservation(t).predict(MODEL, SPHERE)) for t in thresholds]
    np.testing.assert_allclose(logs, np.log(np.asarray(volumes) + 1), rtol=1e-12)


def test_log_volume_of_no_tumour_is_finite_with_its_gradient():
    observation = LogVolumeObservation(0.6, noise_std=0.2)
    prediction, slope = jax.value_and_grad(lambda u: observation.predict(MODEL, u))(jnp.zeros(DOMAIN.shape))
    np.testing.assert_allclose(prediction, np.log(DOMAIN.voxel_volume), atol=1e-6)
    assert jnp.isfinite(slope).all()
    np.testing.assert_allclose(
        observation.residuals(Readings(prediction[None] + 0.3), prediction[None]), 1.5, rtol=1e-9
    )
