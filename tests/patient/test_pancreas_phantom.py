"""The synthetic pancreas: its size, and what its maps say."""

import numpy as np
import pytest
from scipy import ndimage

from twinjax.core.errors import InputError
from twinjax.patient.phantom import pancreas


def test_organ_is_one_piece_of_plausible_size():
    domain = pancreas(resolution_mm=2.5)
    mask = np.asarray(domain.mask)
    assert ndimage.label(mask)[1] == 1
    # Adult pancreas: 40 to 170 cm³ (textbook value).
    assert 40e3 < mask.sum() * domain.voxel_volume < 170e3
    # The head is around the origin, and thicker than the tail.
    assert domain.affine is not None
    index = np.round(np.linalg.inv(domain.affine) @ [0, 0, 0, 1])[:3].astype(int)
    assert mask[tuple(index)]
    x = np.asarray(domain.coordinates())[0]
    assert (mask & (x < 20)).sum() > 2 * (mask & (x > 70)).sum() > 0


def test_maps_are_fractions_and_relative_to_their_mean():
    domain = pancreas(resolution_mm=2.5, stroma=0.6, seed=1)
    mask = np.asarray(domain.mask)
    stroma, perfusion = (np.asarray(domain.map(name)) for name in ("stroma", "perfusion"))
    assert abs(stroma[mask].mean() - 0.6) < 0.05
    assert stroma[mask].min() > 0 and stroma.max() < 1
    np.testing.assert_allclose(perfusion[mask].mean(), 1.0)
    assert not stroma[~mask].any()


def test_perfusion_is_lower_where_stroma_is_dense():
    """Over eight organs, as perfusion varies by itself too: about 0.09 of 0.27 in its logarithm is that of stroma."""
    correlations = []
    for seed in range(8):
        domain = pancreas(resolution_mm=4.0, seed=seed)
        mask = np.asarray(domain.mask)
        maps = (np.asarray(domain.map(name))[mask] for name in ("stroma", "perfusion"))
        correlations.append(np.corrcoef(*maps)[0, 1])
    assert -0.45 < np.mean(correlations) < -0.2, correlations


def test_equal_seeds_give_equal_organs_and_the_head_alone_is_smaller():
    one, same, other = (pancreas(resolution_mm=4.0, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.map("stroma"), same.map("stroma"))
    assert np.abs(np.asarray(one.map("stroma") - other.map("stroma"))).max() > 0.1
    head = pancreas(resolution_mm=4.0, extent=0.4)
    assert 0.2 * one.mask.sum() < head.mask.sum() < 0.8 * one.mask.sum()


@pytest.mark.parametrize("wrong", [{"resolution_mm": 0}, {"scale": 9}, {"stroma": 1.0}, {"extent": 0}])
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(InputError, match="a pancreas phantom needs"):
        pancreas(**wrong)
