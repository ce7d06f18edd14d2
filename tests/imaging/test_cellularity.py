"""The error of cell density against draws of noisy diffusion."""

import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.imaging.features import cellularity_from_adc, cellularity_standard_deviation


def test_standard_deviation_is_that_of_noisy_diffusion():
    rng = np.random.default_rng(0)
    adc = np.linspace(1.0e-3, 2.4e-3, 12).reshape(3, 2, 2)
    region = np.ones(adc.shape, bool)
    density = cellularity_from_adc(adc, region, adc_min=0.8e-3)
    expected = cellularity_standard_deviation(density, region, 3e-5, 0.8e-3, adc_min_std=2e-5)
    draws = [
        cellularity_from_adc(adc + rng.normal(0, 3e-5, adc.shape), region, adc_min=0.8e-3 + rng.normal(0, 2e-5))
        for _ in range(4000)
    ]
    np.testing.assert_allclose(np.std(draws, axis=0), expected, rtol=0.05)


def test_standard_deviation_by_voxel_is_zero_outside():
    region = np.zeros((2, 2, 2), bool)
    region[0] = True
    noise = np.full((2, 2, 2), 2.2e-5)
    found = cellularity_standard_deviation(np.ones((2, 2, 2)), region, noise, 0.8e-3)
    np.testing.assert_allclose(found, np.where(region, 0.01, 0.0), rtol=1e-6)


def test_standard_deviation_refuses():
    region = np.ones((2, 2, 2), bool)
    with pytest.raises(InputError, match="negative"):
        cellularity_standard_deviation(np.ones((2, 2, 2)), region, -1e-5, 0.8e-3)
    with pytest.raises(InputError, match="adc_min"):
        cellularity_standard_deviation(np.ones((2, 2, 2)), region, 1e-5, 4e-3)
