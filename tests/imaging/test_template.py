"""The template against the volumes that its authors' data have, and against itself on other grids."""

import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.imaging import brain_template


@pytest.fixture(scope="module")
def coarse():
    return brain_template(3.0)


def test_volumes_are_those_of_a_brain(coarse):
    litre = 3.0**3 / 1e6
    assert coarse.brain_mask.sum() * litre == pytest.approx(1.88, rel=0.01)
    assert coarse.grey_matter.sum() * litre == pytest.approx(0.996, rel=0.01)
    assert coarse.white_matter.sum() * litre == pytest.approx(0.670, rel=0.01)


def test_fractions_add_up_to_at_most_one_inside_the_mask(coarse):
    total = coarse.white_matter + coarse.grey_matter
    assert total.min() >= 0 and total.max() <= 1 + 1e-6
    assert total[~coarse.brain_mask].max() == 0
    # The ventricles at the centre of the head are fluid.
    assert (coarse.brain_mask & (total < 0.5)).sum() > 1000


def test_spacing_and_place_follow_the_resolution(coarse):
    finer = brain_template(2.5)
    np.testing.assert_allclose(finer.spacing, 2.5)

    def centre(scan):
        return (scan.affine @ [*np.argwhere(scan.white_matter > 0.5).mean(axis=0), 1])[:3]

    np.testing.assert_allclose(centre(coarse), centre(finer), atol=0.5)


def test_white_matter_is_brighter_than_grey_on_t1(coarse):
    t1 = coarse.image("T1")
    assert t1[coarse.white_matter > 0.9].mean() > 1.15 * t1[coarse.grey_matter > 0.9].mean()


@pytest.mark.parametrize("resolution", [0.0, -1.0, float("nan"), 100.0])
def test_resolution_out_of_range(resolution):
    with pytest.raises(InputError, match="resolution_mm"):
        brain_template(resolution)
