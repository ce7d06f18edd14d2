"""Radiotherapy: the linear-quadratic model and its clinical sums."""

import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.treatment import Radiotherapy


def course(fractions, dose, **properties):
    return Radiotherapy(np.arange(fractions, dtype=float), dose, **properties)


def surviving_fraction(treatment):
    return float(np.prod([treatment.survival(i, jnp.ones(())) for i in range(treatment.times.size)]))


@pytest.mark.parametrize(
    ("total", "fractions", "ratio", "bed", "eqd2"),
    [
        (60, 30, 10, 72, 60),
        (60, 30, 2.8, 102.9, 60),
        (54, 3, 10, 151.2, 126),
        (48, 4, 10, 105.6, 88),
        (50, 5, 10, 100, 83.3),
        (78, 39, 1.5, 182, 78),
        (60, 20, 1.5, 180, 77.1),
        (36.25, 5, 1.5, 211.5, 90.6),
        (33, 5, 10, 54.8, 45.6),
        (50.4, 28, 10, 59.5, 49.6),
    ],
)
def test_biologically_effective_doses_of_clinical_plans(total, fractions, ratio, bed, eqd2):
    treatment = course(fractions, total / fractions, alpha_beta_ratio=ratio)
    np.testing.assert_allclose(treatment.biologically_effective_dose(), bed, atol=0.0501)
    np.testing.assert_allclose(treatment.equivalent_dose_2gy(), eqd2, atol=0.0501)
    # The sums and the cell kill are one model: the log kill is alpha BED.
    log_kill = -np.log(surviving_fraction(course(fractions, total / fractions, alpha_beta_ratio=ratio, alpha=0.02)))
    np.testing.assert_allclose(log_kill, 0.02 * treatment.biologically_effective_dose(), rtol=1e-12)


@pytest.mark.parametrize(("alpha", "survival"), [(0.035, 0.0805), (0.06, 0.0133)])
def test_surviving_fraction_of_60_gy_in_30(alpha, survival):
    np.testing.assert_allclose(surviving_fraction(course(30, 2.0, alpha=alpha)), survival, atol=5e-5)


def test_hypoxia_divides_the_dose():
    """exp(-alpha d / OER - beta d² / OER²), here per voxel."""
    oer = jnp.array([1.0, 1.7, 3.0])
    treatment = course(2, 3.0, alpha=0.1, alpha_beta_ratio=8.0, oxygen_enhancement_ratio=oer)
    expected = np.exp(-0.1 * 3 / oer - 0.1 / 8 * 9 / oer**2)
    np.testing.assert_allclose(treatment.survival(1, jnp.ones(3)), expected, rtol=1e-12)
    assert (np.diff(expected) > 0).all()


def test_each_fraction_has_its_own_dose():
    treatment = Radiotherapy([0.0, 1.0], [1.8, 3.0], alpha=0.05)
    expected = np.exp([-0.05 * 1.8 * 1.18, -0.05 * 3 * 1.3])
    np.testing.assert_allclose([treatment.survival(i, jnp.ones(())) for i in range(2)], expected, rtol=1e-12)


def test_burden_is_in_the_units_of_its_keys():
    burden = course(15, 2.67, alpha=0.05).burden()
    assert burden["fractions"] == 15
    np.testing.assert_allclose(burden["total_dose_gy"], 40.05)
    np.testing.assert_allclose(burden["bed_tumor_gy"], 40.05 * 1.267)
    np.testing.assert_allclose(burden["eqd2_late_tissue_gy"], 40.05 * (1 + 2.67 / 3) / (1 + 2 / 3))


def test_part_of_a_course_and_its_shift_keep_their_properties():
    treatment = Radiotherapy([0.0, 1.0, 2.0], [1.0, 2.0, 3.0], alpha=0.05, alpha_beta_ratio=4.0)
    part = treatment.select(np.array([True, False, True])).shifted(10)
    np.testing.assert_allclose(part.times, [10, 12])
    np.testing.assert_allclose(part.doses, [1, 3])
    assert (float(part.alpha), float(part.alpha_beta_ratio)) == (0.05, 4.0)


@pytest.mark.parametrize(
    ("times", "doses", "message"),
    [
        ([0.0, 1.0], [2.0, -2.0], "every dose must be a finite number >= 0"),
        ([0.0, 1.0], [2.0, np.nan], "every dose must be"),
        ([0.0, -1.0], 2.0, r"every time \(day\) must be"),
        ([0.0, np.inf], 2.0, r"every time \(day\) must be"),
        ([0.0, 1.0, 2.0], [2.0, 2.0], "3 times but 2 doses"),
        ([[0.0, 1.0]], [[2.0, 2.0]], "give one dose per time"),
    ],
)
def test_bad_doses_are_refused(times, doses, message):
    with pytest.raises(InputError, match=f"^radiotherapy: .*{message}"):
        Radiotherapy(times, doses)
