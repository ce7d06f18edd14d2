import itertools

import numpy as np
import pytest

from twinjax.imaging.grid import Grid, aligned_grid, canonical_axes

SHAPE = (6, 5, 4)
TILT = np.deg2rad(15)
TILTED = np.array([[np.cos(TILT), -np.sin(TILT), 0], [np.sin(TILT), np.cos(TILT), 0], [0, 0, 1]])


@pytest.mark.parametrize("order", itertools.permutations(range(3)))
def test_axes_are_turned_to_right_anterior_and_superior(order):
    for signs in itertools.product((1, -1), repeat=3):
        affine = np.eye(4)
        affine[:3, :3] = TILTED[:, order] * signs * (1.0, 2.0, 3.0)
        np.testing.assert_allclose(canonical_axes(affine), TILTED, atol=1e-12)


def test_an_aligned_grid_keeps_voxels_as_fine_and_along_the_axes():
    affine = np.eye(4)
    affine[:3, :3] = 2.0 * TILTED * (1, -1, 1)
    affine[:3, 3] = (5.0, -3.0, 1.0)
    grid = aligned_grid([Grid(affine, SHAPE)], TILTED, 2.0)
    assert grid.shape == SHAPE
    turned = affine @ np.diag([1.0, -1.0, 1.0, 1.0])
    turned[:3, 3] = affine[:3, 3] + affine[:3, 1] * (SHAPE[1] - 1)
    np.testing.assert_allclose(grid.affine, turned, atol=1e-12)


def test_an_aligned_grid_holds_all_grids():
    near, far = np.eye(4), np.eye(4)
    far[:3, 3] = (20.0, 0.0, -7.5)
    grid = aligned_grid([Grid(near, SHAPE), Grid(far, SHAPE)], np.eye(3), 2.0)
    first, last = grid.affine[:3, 3], grid.affine[:3, 3] + 2.0 * (np.array(grid.shape) - 1)
    assert (first <= [0, 0, -7.5]).all() and (last >= [25, 4, 3]).all()
    assert (first > [-2, -2, -9.5]).all() and (last < [27, 6, 5]).all()
