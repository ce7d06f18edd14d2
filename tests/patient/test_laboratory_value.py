"""Laboratory values as tables give them: read, beyond a limit, or missing."""

import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.patient import ClinicalCourse
from twinjax.patient.laboratory_value import laboratory_value


@pytest.mark.parametrize(
    ("entry", "expected"),
    [(12.5, (12.5, 0)), ("12.5", (12.5, 0)), ("<0.1", (0.1, -1)), (" < 0.1 ", (0.1, -1)), (">=500", (500, 1))],
    ids=str,
)
def test_values_and_limits(entry, expected):
    assert laboratory_value(entry, "psa") == expected


@pytest.mark.parametrize("entry", ["", "NA", None, np.nan, "nan"], ids=str)
def test_what_is_missing(entry):
    value, side = laboratory_value(entry, "psa")
    assert np.isnan(value) and side == 0


@pytest.mark.parametrize("entry", [-1.0, "<-1", "high", "<", np.inf, "0,1"], ids=str)
def test_what_is_no_value_is_named(entry):
    with pytest.raises(InputError, match="row 3, psa_ng_ml: .* is no value; give a number >= 0, <0.1 or >500"):
        laboratory_value(entry, "row 3, psa_ng_ml")


def test_a_course_keeps_limits_and_drops_what_is_missing(caplog):
    series = ([0, 30, 60, 90], [12.4, None, "<0.1", ">5"])
    with caplog.at_level("INFO", "twinjax"):
        course = ClinicalCourse("PC_001", {"psa_ng_ml": series})
    assert "psa_ng_ml: 1 missing values are left out, days [30.0]" in caplog.text
    days, values = course.measurements["psa_ng_ml"]
    np.testing.assert_array_equal(days, [0, 60, 90])
    np.testing.assert_array_equal(values, [12.4, 0.1, 5])
    np.testing.assert_array_equal(course.sides["psa_ng_ml"], [0, -1, 1])
    np.testing.assert_array_equal(course.until(60).sides["psa_ng_ml"], [0, -1])
    assert course.entries("psa_ng_ml") == [12.4, "<0.1", ">5.0"]


def test_a_quantity_of_which_all_is_missing_is_refused():
    with pytest.raises(InputError, match="psa_ng_ml: every value is missing; leave the quantity out"):
        ClinicalCourse("PC_001", {"psa_ng_ml": ([0, 30], [None, np.nan])})
