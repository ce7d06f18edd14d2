"""Brains that differ (synthetic): repeatable, all brain, and not alike."""

import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.patient.phantom import varied_brain

SIZE = {"voxels": 24, "resolution_mm": 4.0}


def test_equal_seeds_give_equal_brains_and_others_differ():
    one, again, other = (varied_brain(seed, **SIZE, center_mm=(28.0, 30.0, 16.0)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.white_matter, again.white_matter)
    both = np.asarray(one.mask) & np.asarray(other.mask)
    overlap = 2 * both.sum() / (one.mask.sum() + other.mask.sum())
    # The same region of a brain, of another shape.
    assert 0.6 < overlap < 0.95
    assert np.abs(np.asarray(one.white_matter) - np.asarray(other.white_matter))[both].mean() > 0.1


@pytest.mark.parametrize("seed", range(4))
def test_it_is_tissue_about_its_middle(seed):
    brain = varied_brain(seed, **SIZE)
    assert brain.shape == (24, 24, 24) and brain.spacing == (4.0,) * 3
    np.testing.assert_allclose(np.asarray(brain.coordinates()).mean(axis=(1, 2, 3)), np.zeros(3), atol=1e-9)
    near = np.asarray(brain.mask)[10:14, 10:14, 10:14]
    assert near.mean() > 0.4
    assert 0.15 < float(brain.mask.mean()) < 0.8
    white, grey = np.asarray(brain.white_matter), np.asarray(brain.grey_matter)
    assert ((white + grey)[np.asarray(brain.mask)] >= 0.5 - 1e-6).all() and (white + grey).max() <= 1 + 1e-6
    assert white.max() > 0.8 and grey.max() > 0.8


def test_a_place_without_tissue_and_a_bad_grid_are_refused():
    with pytest.raises(InputError, match="no voxel is tissue"):
        varied_brain(0, **SIZE, center_mm=(500.0, 0.0, 0.0))
    with pytest.raises(InputError, match="resolution_mm"):
        varied_brain(0, voxels=24, resolution_mm=0.1)
