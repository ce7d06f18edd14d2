"""The lungs of a synthetic thorax with vessels, a nodule within and a nodule at the pleura."""

import numpy as np
import pytest
from phantom import dice

from twinjax.core.errors import InputError
from twinjax.imaging.features import lung_mask

SPACING = np.array([2.0, 2.0, 3.0])
AFFINE = np.diag([*-SPACING[:2], SPACING[2], 1.0])
SHAPE = (150, 110, 60)


def ellipsoid(centre, semi_axes):
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    place = (grid - (np.asarray(SHAPE) - 1) / 2) * SPACING - np.asarray(centre)
    return np.square(place / np.asarray(semi_axes)).sum(axis=-1) < 1


@pytest.fixture(scope="module")
def thorax():
    """The CT (HU), the lungs with all that is in them, the two nodules and the vessels."""
    rng = np.random.default_rng(0)
    body = ellipsoid((0, 0, 0), (135, 100, 1e4))
    left, right = ellipsoid((-62, 0, 0), (42, 60, 75)), ellipsoid((62, 0, 0), (42, 60, 75))
    lungs = left | right
    # Centred on the pleura, 7 mm in radius, so that half of it lies in the lung.
    pleural = ellipsoid((62, -60, 0), (7, 7, 7)) & lungs
    within = ellipsoid((-70, 10, 10), (9, 9, 9))
    vessels = np.zeros(SHAPE, bool)
    for y in (-20, 5, 30):
        vessels |= ellipsoid((-50, y, 0), (60, 3, 3)) | ellipsoid((50, y, 0), (60, 3, 3))
    vessels &= lungs
    ct = np.where(body, 40.0, -1000.0)
    ct[lungs] = -800
    ct[vessels] = 40
    ct[pleural | within] = 30
    # Gas in the gut and the table's hollow are no lungs.
    ct[ellipsoid((0, 60, -60), (12, 12, 12))] = -1000
    ct += rng.normal(0, 30, SHAPE)
    return ct, lungs, pleural, within, vessels


def test_lungs_hold_vessels_and_nodules(thorax):
    ct, lungs, pleural, within, vessels = thorax
    found = lung_mask(ct, AFFINE)
    assert dice(found, lungs) > 0.98
    # The closing cannot restore the pleura's own curve across the nodule, here up to 2.5 mm deep.
    deep = pleural & ellipsoid((62, 0, 0), (39.5, 57.5, 72.5))
    assert found[within].all() and found[deep].all() and found[pleural].mean() > 0.5
    assert found[vessels].mean() > 0.95
    without = lung_mask(ct, AFFINE, closing_mm=0.0)
    assert without[pleural].mean() < 0.1


def test_lungs_do_not_depend_on_the_order_of_the_axes(thorax):
    ct = thorax[0]
    turned = lung_mask(np.moveaxis(ct, 2, 0), AFFINE[:, [2, 0, 1, 3]])
    np.testing.assert_array_equal(np.moveaxis(turned, 0, 2), lung_mask(ct, AFFINE))


def test_lungs_cut_off_above_and_below_are_kept(thorax):
    ct, lungs, *_ = thorax
    middle = slice(20, 40)
    assert dice(lung_mask(ct[..., middle], AFFINE), lungs[..., middle]) > 0.97


def test_a_ct_without_lungs_is_refused(thorax):
    with pytest.raises(InputError, match="Hounsfield"):
        lung_mask(thorax[0] + 1024, AFFINE)
    with pytest.raises(InputError, match="closing_mm"):
        lung_mask(thorax[0], AFFINE, closing_mm=-1.0)
