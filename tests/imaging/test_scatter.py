"""The noise of an image from the image alone."""

import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.imaging.features import local_scatter

NOISE, SHAPE = 0.03, (16, 16, 10)
EVERYWHERE = np.ones(SHAPE, bool)
WHITE = NOISE * np.random.default_rng(0).standard_normal(SHAPE)
SLOPE = 0.02 * np.indices(SHAPE).sum(axis=0)


def test_white_noise_is_found_on_a_slope_and_beside_an_edge():
    # 2560 voxels: good to about three hundredths.
    assert local_scatter(WHITE + SLOPE, EVERYWHERE) == pytest.approx(NOISE, rel=0.08)
    edge = np.where(np.indices(SHAPE)[0] < 8, 0.0, 1.0)
    assert local_scatter(WHITE + edge, EVERYWHERE) == pytest.approx(NOISE, rel=0.2)
    assert local_scatter(SLOPE, EVERYWHERE) == pytest.approx(0.0, abs=1e-12)


def test_only_the_region_counts():
    region = np.zeros(SHAPE, bool)
    region[4:12, 4:12, 2:8] = True
    image = np.where(region, WHITE, 100 * WHITE)
    assert local_scatter(image, region) == pytest.approx(NOISE, rel=0.15)
    assert local_scatter(np.where(region, WHITE, np.nan), region) == local_scatter(WHITE, region)


def test_too_few_voxels_say_nothing():
    region = np.zeros(SHAPE, bool)
    region[0, :5, 0] = True
    assert np.isnan(local_scatter(WHITE, region))
    with pytest.raises(InputError):
        local_scatter(WHITE, np.zeros(SHAPE, bool))
