"""The synthetic gland: its volume, where it lies, and its perfusion."""

import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.patient.phantom import prostate


def test_gland_has_its_volume_about_the_origin_and_a_mean_perfusion_of_one():
    domain = prostate(resolution_mm=2.0)
    mask, perfusion = np.asarray(domain.mask), np.asarray(domain.map("perfusion"))
    np.testing.assert_allclose(mask.sum() * domain.voxel_volume, np.pi / 6 * 50 * 38 * 40, rtol=0.01)
    np.testing.assert_allclose(perfusion[mask].mean(), 1.0, rtol=1e-6)
    assert perfusion[mask].min() > 0
    np.testing.assert_allclose(np.asarray(domain.coordinates())[:, mask].mean(axis=1), 0, atol=1e-3)
    back, front = perfusion[:, 3][mask[:, 3]], perfusion[:, 11][mask[:, 11]]
    assert back.mean() < front.mean()
    assert not np.allclose(perfusion, np.asarray(prostate(seed=1).map("perfusion")))


def test_bad_size_is_refused():
    with pytest.raises(InputError, match="resolution_mm"):
        prostate(resolution_mm=0)
    with pytest.raises(InputError, match="axes"):
        prostate(width_mm=5)
