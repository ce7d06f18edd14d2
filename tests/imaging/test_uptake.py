"""Uptake statistics against closed forms."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from twinjax.core.errors import InputError
from twinjax.imaging.features import suv_statistics, tumor_to_background

PEAK_RADIUS = (3000 / (4 * np.pi)) ** (1 / 3)
OBLIQUE = Rotation.from_euler("xyz", [20, -15, 30], degrees=True).as_matrix()


def distances(spacing, rotation=OBLIQUE, shape=(40, 40, 40)):
    """Distance (mm) of each voxel from the middle of a turned grid, and its affine."""
    affine = np.eye(4)
    affine[:3, :3] = rotation * np.asarray(spacing)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1) - (np.asarray(shape) // 2)
    return np.linalg.norm(index @ affine[:3, :3].T, axis=-1), affine


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 1.5, 3.0), (4.0, 4.0, 4.0)])
def test_peak_of_a_cone_is_its_mean_over_one_cubic_centimetre(spacing):
    radius, affine = distances(spacing)
    region = radius < 12
    found = suv_statistics(10 - 0.5 * radius, region, affine)
    assert found["suv_max"].value == 10
    # The mean distance from the centre of a ball is 3/4 of its radius.
    assert found["suv_peak"].value == pytest.approx(10 - 0.5 * 0.75 * PEAK_RADIUS, rel=0.01)


def test_a_uniform_lesion():
    radius, affine = distances((1.0, 1.0, 1.0))
    region = radius < 12
    suv = np.where(region, 5.0, 1.0)
    found = suv_statistics(suv, radius < 16, affine)
    volume = region.sum()
    assert [found[f"suv_{name}"].value for name in ("max", "peak", "mean")] == pytest.approx([5, 5, 5])
    assert found["metabolic_volume"].value == pytest.approx(volume)
    assert found["total_lesion_glycolysis"].value == pytest.approx(5 * volume / 1000)
    # S h / sqrt(12)
    assert found["metabolic_volume"].standard_deviation == pytest.approx(4 * np.pi * 144 / np.sqrt(12), rel=0.02)
    ratio = found["total_lesion_glycolysis"].standard_deviation / found["metabolic_volume"].standard_deviation
    assert ratio == pytest.approx(5 / 1000)


def test_the_metabolic_volume_of_a_cone_follows_the_threshold():
    radius, affine = distances((0.8, 1.0, 1.2), shape=(60, 50, 50))
    suv = 10 - 0.5 * radius
    for keywords, reach in (
        ({}, 11.8),
        ({"relative_threshold": 0.5}, 10.0),
        ({"fixed_threshold": 4.0}, 12.0),
    ):
        found = suv_statistics(suv, radius < 16, affine, **keywords)
        assert found["metabolic_volume"].value == pytest.approx(4 / 3 * np.pi * reach**3, rel=0.01)
        assert found["suv_mean"].value == pytest.approx(10 - 0.5 * 0.75 * reach, rel=0.01)


def test_a_lesion_at_the_edge_of_the_image():
    suv = np.ones((8, 8, 8))
    suv[0, 0, 0] = 3.0
    found = suv_statistics(suv, suv > 0, np.diag([4, 4, 4, 1.0]))
    assert found["suv_max"].value == 3 and 1 < found["suv_peak"].value < 3


def test_the_tumour_against_its_background():
    radius, affine = distances((1.0, 1.0, 1.0), np.eye(3))
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.2, radius.shape)
    uptake = np.select([radius < 6, radius < 10], [6.0, 4.0], 2.0) + noise * (radius > 12)
    background = radius > 14
    found = tumor_to_background(uptake, radius < 12, background, affine)
    assert found["ratio_max"].value == pytest.approx(3, rel=0.002)
    assert found["biological_volume"].value == (radius < 10).sum()
    inner = 6**3 / 10**3
    assert found["ratio_mean"].value == pytest.approx(3 * inner + 2 * (1 - inner), rel=0.01)
    # The mean of n voxels of noise 0.2 about 2.
    assert found["ratio_max"].standard_deviation == pytest.approx(3 * 0.1 / np.sqrt(background.sum()), rel=0.02)
    none = tumor_to_background(uptake, radius < 12, background, affine, threshold=5.0)
    assert none["biological_volume"].value == 0 and np.isnan(none["ratio_mean"].value)


def test_uptake_refuses():
    suv, region = np.ones((4, 4, 4)), np.ones((4, 4, 4), bool)
    with pytest.raises(InputError, match="empty"):
        suv_statistics(suv, ~region, np.eye(4))
    with pytest.raises(InputError, match="shape"):
        suv_statistics(suv, region[:2], np.eye(4))
    with pytest.raises(InputError, match="fixed_threshold"):
        suv_statistics(suv, region, np.eye(4), fixed_threshold=2.0)
    with pytest.raises(InputError, match="background"):
        tumor_to_background(suv, region, ~region, np.eye(4))
