"""Dosing histories, doses by body surface area and by kidney function."""

import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.pharmacokinetics import Dosing, body_surface_dose, calvert_dose


def test_one_value_serves_all_doses():
    dosing = Dosing([0.0, 7.0, 14.0], 80.0, 0.5)
    np.testing.assert_array_equal(dosing.amounts, [80, 80, 80])
    np.testing.assert_array_equal(dosing.durations, [0.5, 0.5, 0.5])


def test_doses_in_mg():
    np.testing.assert_allclose(body_surface_dose([60.0, 75.0]), [108, 135])
    np.testing.assert_allclose(body_surface_dose(1000.0, 1.73), 1730)
    np.testing.assert_allclose(calvert_dose(5.0), 625)
    np.testing.assert_allclose(calvert_dose([2.0, 6.0], 55.0), [160, 480])


@pytest.mark.parametrize(
    ("amounts", "durations", "message"),
    [
        ([80.0, -1.0], 0.0, r"every amount \(mg\) must be a finite number >= 0"),
        (80.0, [0.0, np.nan], r"every duration \(days\) must be"),
        ([80.0, 80.0, 80.0], 0.0, "2 times but 3 values of amount"),
    ],
)
def test_bad_histories_are_refused(amounts, durations, message):
    with pytest.raises(InputError, match=f"^dosing: .*{message}"):
        Dosing([0.0, 7.0], amounts, durations)


def test_an_impossible_surface_is_refused():
    with pytest.raises(InputError, match="^body_surface_area_m2 must lie between 0.2 and 4"):
        body_surface_dose(100.0, 180.0)
