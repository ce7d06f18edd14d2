"""Metrics against values worked out by hand, and the properties that define them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import norm

from twinjax.twin.metric import (
    center_of_mass_distance,
    concordance,
    coverage,
    crps,
    dice,
    hausdorff_95_distance,
    relative_volume_error,
    share_below,
)

masks = arrays(bool, (3, 4, 2))
series = arrays(float, 8, elements=st.floats(-100, 100).map(lambda x: round(x, 3)))


def test_dice_by_hand():
    a, b = np.array([1, 1, 1, 0, 0], bool), np.array([0, 1, 1, 1, 1], bool)
    assert dice(a, b) == pytest.approx(2 * 2 / (3 + 4))
    assert dice(a, ~a) == 0
    assert dice(np.zeros(3, bool), np.zeros(3, bool)) == 1


@given(masks, masks)
def test_dice_is_symmetric_and_one_for_itself(a, b):
    assert 0 <= dice(a, b) <= 1
    assert dice(a, b) == dice(b, a)
    assert dice(a, a) == 1
    assert (dice(a, b) == 1) == np.array_equal(a, b)


def test_relative_volume_error_by_hand():
    assert relative_volume_error(15.0, 10.0) == pytest.approx(0.5)
    assert relative_volume_error(5.0, 10.0) == pytest.approx(-0.5)
    assert relative_volume_error(0.0, 0.0) == 0
    assert relative_volume_error(1.0, 0.0) == np.inf


def test_center_of_mass_distance_is_in_mm():
    a, b = np.zeros((5, 5, 5)), np.zeros((5, 5, 5))
    a[1, 1, 1] = 2.0
    b[2, 3, 1] = b[2, 3, 3] = 1.0
    assert center_of_mass_distance(a, b, (1.0, 2.0, 3.0)) == pytest.approx(np.sqrt(1 + 16 + 9))
    assert center_of_mass_distance(a, 7 * a, (1.0, 2.0, 3.0)) == pytest.approx(0)
    assert np.isnan(center_of_mass_distance(a, np.zeros((5, 5, 5)), (1.0, 2.0, 3.0)))


def test_concordance_by_hand():
    x = np.array([1.0, 2.0, 3.0])
    assert concordance(x, x) == pytest.approx(1)
    assert concordance(x, -x + 4) == pytest.approx(-1)
    # Correlation 1, but one apart: 2 (2/3) / (2/3 + 2/3 + 1).
    assert concordance(x, x + 1) == pytest.approx(4 / 7)
    assert concordance(np.ones(3), np.ones(3)) == 1


@given(series, series)
def test_concordance_never_exceeds_correlation(x, y):
    value = concordance(x, y)
    assert -1 - 1e-9 <= value <= 1 + 1e-9
    assert value == pytest.approx(concordance(y, x))
    if x.std() > 1e-3 and y.std() > 1e-3:
        assert abs(value) <= abs(np.corrcoef(x, y)[0, 1]) + 1e-9


def test_coverage_counts_the_ends():
    lower, upper = np.zeros(5), np.ones(5)
    assert coverage(lower, upper, np.array([0.0, 1.0, 0.5, 1.1, -0.1])) == pytest.approx(0.6)


def test_hausdorff_distance_is_in_mm_and_of_both_directions():
    a, b = np.zeros((30, 9, 9), bool), np.zeros((30, 9, 9), bool)
    a[5:15, 2:7, 2:7] = True
    b[5:19, 2:7, 2:7] = True
    # The far face of b lies 4 voxels of 2 mm from that of a: 25 of its 186 surface voxels, above the 95th percentile.
    assert hausdorff_95_distance(a, b, (2.0, 1.0, 1.0)) == pytest.approx(8.0)
    assert hausdorff_95_distance(b, a, (2.0, 1.0, 1.0)) == pytest.approx(8.0)
    assert hausdorff_95_distance(a, a, (2.0, 1.0, 1.0)) == 0
    assert np.isnan(hausdorff_95_distance(a, np.zeros_like(a), (2.0, 1.0, 1.0)))


def test_ranked_probability_score_against_the_integral_that_defines_it():
    draws, observed = np.random.default_rng(0).normal(1.0, 2.0, 40), 2.3
    x = np.linspace(-20, 20, 400_001)
    below = (draws[:, None] <= x[None, ::200]).mean(0)
    integral = np.trapezoid((below - (x[::200] >= observed)) ** 2, x[::200])
    assert crps(draws, observed) == pytest.approx(integral, abs=0.03)
    assert crps(np.full(3, 4.0), 1.5) == pytest.approx(2.5)


def test_ranked_probability_score_of_a_normal_forecast():
    # Gneiting & Raftery 2007, equation 21: sigma (2 phi(0) - 1 / sqrt(pi)) where the observation is the mean.
    draws = 3.0 * norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    assert crps(draws, 0.0) == pytest.approx(3 * (2 * norm.pdf(0) - 1 / np.sqrt(np.pi)), rel=1e-3)


def test_the_share_below_counts_half_of_what_is_equal():
    draws = np.array([0.0, 0.0, 1.0, 2.0])
    assert share_below(draws, 0.0) == 0.25
    assert share_below(draws, 1.5) == 0.75
    assert share_below(draws, 5.0) == 1.0
