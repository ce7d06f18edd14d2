"""Distances from contours of masks, against those of the shapes that the masks were made of."""

import numpy as np
import pytest
from scipy import ndimage

from twinjax.core.errors import InputError
from twinjax.domain import signed_distance

SPACINGS = pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.5, 1.5, 3.0)], ids=str)


def positions(spacing) -> np.ndarray:
    """(*grid, 3) mm from a point that is no voxel's centre, over 60 mm."""
    counts = [round(60 / h) for h in spacing]
    return (np.moveaxis(np.indices(counts), 0, -1) - np.array(counts) / 2 + 0.3) * spacing


def by_voxels(mask, spacing) -> np.ndarray:
    """The distance from the walls of voxels as edge and centre tell it."""
    outside, inside = (ndimage.distance_transform_edt(part, sampling=spacing) for part in (~mask, mask))
    return np.where(mask, min(spacing) / 2 - inside, outside - min(spacing) / 2)


@SPACINGS
def test_beside_a_plane_it_is_finer_than_voxels(spacing):
    x = positions(spacing)
    true = x @ np.array([0.5, 0.3, 0.81]) / np.linalg.norm([0.5, 0.3, 0.81]) - 2
    error = signed_distance(true < 0, spacing) - true
    # Where the plane leaves the grid the mask says nothing of it.
    near = (np.abs(true) < 8) & (np.abs(x) < 20).all(axis=-1)
    assert abs(error[near].mean()) < 0.05 * max(spacing)
    assert error[near].std() < 0.12 * max(spacing)
    stepped = by_voxels(true < 0, spacing) - true
    assert error[near].std() < 0.5 * stepped[near].std()


@SPACINGS
def test_of_a_ball_and_its_volume(spacing):
    radius = np.linalg.norm(positions(spacing), axis=-1)
    true, mask = radius - 12, radius < 12
    distance = signed_distance(mask, spacing)
    near = np.abs(true) < 5
    assert (distance - true)[near].std() < 0.6 * (by_voxels(mask, spacing) - true)[near].std()
    assert abs((distance - true)[near].mean()) < 0.1
    np.testing.assert_array_equal(distance < 0, mask)


def test_a_plane_between_voxels_lies_there():
    mask = np.zeros((10, 6, 6), bool)
    mask[:4] = True
    expected = np.broadcast_to((2.0 * (np.arange(10) - 3.5))[:, None, None], mask.shape)
    np.testing.assert_allclose(signed_distance(mask, (2.0, 1.0, 1.0)), expected, atol=0.01)


def test_a_voxel_by_itself_stays():
    mask = np.zeros((30, 30, 30), bool)
    mask[5:20, 5:20, 5:20] = mask[26, 26, 26] = True
    distance = signed_distance(mask, (1.0, 1.0, 1.0))
    np.testing.assert_array_equal(distance < 0, mask)


def test_grids_of_fewer_axes():
    line = np.zeros(20, bool)
    line[5:12] = True
    np.testing.assert_allclose(signed_distance(line, (2.0,))[:6], [11, 9, 7, 5, 3, -1], atol=2.1)
    slab = np.zeros((12, 12, 1), bool)
    slab[3:9, 3:9] = True
    np.testing.assert_array_equal(signed_distance(slab, (1.0, 1.0, 3.0)) < 0, slab)


@pytest.mark.parametrize(("value", "word"), [(False, "is empty"), (True, "fills its grid")])
def test_a_mask_without_a_contour_is_refused(value, word):
    with pytest.raises(InputError, match=word):
        signed_distance(np.full((4, 4, 4), value), (1.0, 1.0, 1.0))
