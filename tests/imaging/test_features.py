"""Features against shapes whose measures are known."""

import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.imaging import Scan, cellularity_from_adc
from twinjax.imaging.features import centre_of_mass_mm, diameters_mm, tumor_features, volume_mm3

AFFINE = np.array([[0, -1.5, 0, 10], [1.5, 0, 0, -20], [0, 0, 2.0, 30], [0, 0, 0, 1.0]])


def ellipse(a=16.0, b=9.0, shape=(60, 60, 10), angle=0.6):
    """An elliptic cylinder with semi-axes in mm, turned within the plane."""
    x, y, z = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")
    u, v = (x - 29.5) * 1.5, (y - 29.5) * 1.5
    u, v = u * np.cos(angle) + v * np.sin(angle), -u * np.sin(angle) + v * np.cos(angle)
    return ((u / a) ** 2 + (v / b) ** 2 < 1) & (z > 2) & (z < 6)


def test_volume_and_centre():
    region = ellipse()
    assert volume_mm3(region, AFFINE) == pytest.approx(np.pi * 16 * 9 * 6, rel=0.02)
    np.testing.assert_allclose(centre_of_mass_mm(region, AFFINE), [10 - 44.25, -20 + 44.25, 30 + 8], atol=0.1)


@pytest.mark.parametrize("angle", [0.0, 0.6, 1.4])
def test_diameters_of_an_ellipse(angle):
    longest, perpendicular = diameters_mm(ellipse(angle=angle), AFFINE)
    # Between voxel centres, so up to a voxel short.
    assert 32 - 2.5 < longest <= 32 and 18 - 2.5 < perpendicular <= 18 + 1


def test_diameters_of_a_line_and_a_point():
    region = np.zeros((10, 10, 10), bool)
    region[2:7, 3, 4] = True
    assert diameters_mm(region, AFFINE) == pytest.approx((6.0, 0.0))
    region[3:] = False
    assert region.sum() == 1 and diameters_mm(region, AFFINE) == (0.0, 0.0)


def test_tumour_features_of_a_scan():
    segmentation = np.where(ellipse(), 2, 0).astype(np.int8)
    segmentation[ellipse(a=6.0, b=6.0)] = 3
    features = tumor_features(Scan(AFFINE, segmentation=segmentation))
    assert features["whole_tumor_volume_mm3"] == pytest.approx(np.pi * 16 * 9 * 6, rel=0.02)
    assert features["core_volume_mm3"] == pytest.approx(np.pi * 36 * 6, rel=0.05)
    assert features["longest_diameter_mm"] == pytest.approx(12, abs=1.6)
    centre = [features[f"centre_{axis}_mm"] for axis in "xyz"]
    np.testing.assert_allclose(centre, [10 - 44.25, -20 + 44.25, 30 + 8], atol=0.1)


def test_a_tumour_that_is_gone_has_volumes_only():
    features = tumor_features(Scan(AFFINE, segmentation=np.zeros((4, 4, 4), np.int8)))
    assert features["core_volume_mm3"] == features["whole_tumor_volume_mm3"] == 0
    others = {name: value for name, value in features.items() if "volume" not in name}
    assert len(others) == 5 and np.isnan(list(others.values())).all()


def test_cellularity_inverts_the_observation_model():
    density = np.linspace(0, 1, 1000).reshape(10, 10, 10)
    adc = 3.0e-3 - density * (3.0e-3 - 0.8e-3)
    region = np.ones(density.shape, bool)
    region[0] = False
    found = cellularity_from_adc(adc, region, adc_min=0.8e-3)
    np.testing.assert_allclose(found[region], density[region], atol=1e-6)
    assert (found[~region] == 0).all()


def test_cellularity_takes_the_lowest_adc_as_full():
    rng = np.random.default_rng(0)
    adc = rng.normal(1.2e-3, 0.1e-3, (20, 20, 20))
    full = min(adc.min(), adc.mean() - 1.96 * adc.std())
    found = cellularity_from_adc(adc, np.ones(adc.shape, bool))
    np.testing.assert_allclose(found, (3e-3 - adc) / (3e-3 - full), rtol=1e-5)
    assert found.min() >= 0 and found.max() <= 1


@pytest.mark.parametrize(
    ("adc", "region", "keywords", "message"),
    [
        (np.ones((3, 3, 3)), np.zeros((3, 3, 3), bool), {}, "empty"),
        (np.ones((3, 3, 3)), np.ones((3, 3, 2), bool), {}, "shape"),
        (np.zeros((3, 3, 3)), np.ones((3, 3, 3), bool), {}, "covers the tumour"),
        (np.full((3, 3, 3), 1200.0), np.ones((3, 3, 3), bool), {}, "mm²/s"),
        (np.full((3, 3, 3), 1e-3), np.ones((3, 3, 3), bool), {"adc_min": 4e-3}, "adc_min"),
    ],
)
def test_cellularity_refuses(adc, region, keywords, message):
    with pytest.raises(InputError, match=message):
        cellularity_from_adc(adc, region, **keywords)


@pytest.mark.parametrize("measure", [centre_of_mass_mm, diameters_mm])
def test_an_empty_region_has_no_measure(measure):
    with pytest.raises(InputError, match="empty"):
        measure(np.zeros((4, 4, 4), bool), AFFINE)
