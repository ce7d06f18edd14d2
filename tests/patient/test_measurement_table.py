"""A table of measurements as a patient: units, dates, limits, and every bad entry. All tables here are synthetic."""

import logging
import re
from pathlib import Path

import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.observation.quantity import SCATTER
from twinjax.patient import ClinicalCourse, load_table
from twinjax.patient.table import QUANTITIES, UNITS

HEADER = "day,quantity,value,unit\n"
DOCS = Path(__file__).parents[2] / "docs" / "measurements.md"


@pytest.fixture
def table(tmp_path):
    def write(text: str, header: str = HEADER, name: str = "PC_001.csv") -> Path:
        (tmp_path / name).write_text(header + text, encoding="utf-8")
        return tmp_path / name

    return write


def test_one_line_a_measurement(table):
    course = load_table(table("0,psa,12.4,ng/mL\n0,testosterone,11,nmol/L\n30,PSA,1.1,µg/L\n60.5,psa,0.4,ug/l\n"))
    assert isinstance(course, ClinicalCourse)
    assert (course.patient_id, course.source) == ("PC_001", "real") and course.regimen.treatments == ()
    assert set(course.measurements) == {"psa_ng_ml", "testosterone_nmol_l"}
    np.testing.assert_array_equal(course.measurements["psa_ng_ml"][0], [0, 30, 60.5])
    np.testing.assert_array_equal(course.measurements["psa_ng_ml"][1], [12.4, 1.1, 0.4])
    assert course.reading_error == {"psa_ng_ml": 0.0, "testosterone_nmol_l": 0.0}


@pytest.mark.parametrize(
    ("quantity", "value", "unit", "name", "expected"),
    [
        ("volume", "12.5", "mL", "volume_mm3", 12_500),
        ("volume", "12.5", "cm³", "volume_mm3", 12_500),
        ("Volume", "12.5", "cm^3", "volume_mm3", 12_500),
        ("volume", "900", "mm3", "volume_mm3", 900),
        ("diameter", "3.5", "cm", "diameter_mm", 35),
        ("Sum of diameters", "84", "mm", "sum_of_diameters_mm", 84),
        ("CA 19-9", "1.2", "kU/L", "ca19_9_u_ml", 1.2),
        ("ca19_9", "37", "U/mL", "ca19_9_u_ml", 37),
        ("psa", "4", "μg / L", "psa_ng_ml", 4),
    ],
)
def test_exact_units_are_converted(table, quantity, value, unit, name, expected):
    measured = load_table(table(f"0,{quantity},{value},{unit}\n")).measurements
    assert list(measured) == [name]
    np.testing.assert_allclose(measured[name][1], [expected], rtol=1e-15)


def test_every_quantity_with_a_known_noise_can_be_given():
    assert {name for name, _ in QUANTITIES.values()} == set(SCATTER)
    assert {ending for _, ending in QUANTITIES.values()} == set(UNITS)


def test_what_could_not_be_told_is_a_limit_in_the_unit_of_the_quantity(table):
    text = "0,ca19_9,>5,kU/L,\n10,ca19_9,12,U/mL,no\n20,ca19_9,2,U/mL,yes\n30,ca19_9,<0.002,kU/L,yes\n"
    course = load_table(table(text, "day,quantity,value,unit,below_detection\n"))
    np.testing.assert_array_equal(course.sides["ca19_9_u_ml"], [1, 0, -1, -1])
    np.testing.assert_allclose(course.measurements["ca19_9_u_ml"][1], [5, 12, 2, 0.002])


def test_deviations_become_the_reading_error_of_the_quantity(table):
    text = "0,diameter,40,mm,4\n10,diameter,5,cm,0.2\n20,diameter,30,mm,\n30,diameter,0,mm,1\n30,psa,4,ng/mL,\n"
    course = load_table(table(text, "day,quantity,value,unit,standard_deviation\n"))
    assert course.reading_error["diameter_mm"] == pytest.approx(np.sqrt((0.1**2 + 0.04**2) / 2))
    assert course.reading_error["psa_ng_ml"] == 0.0


def test_dates_become_days_and_reach_nothing(table, tmp_path, caplog):
    given = tmp_path / "treatment.csv"
    given.write_text("date,modality,dose,unit,drug\n2031-02-01,radiotherapy,2,Gy,\n", encoding="utf-8")
    # The first date is that of the first measurement of all, wherever its line stands.
    text = "2031-01-31,psa,2,ng/mL,a\n2031-03-02,psa,3,ng/mL,b\n2031-01-01,volume,9,mL,c\n"
    with caplog.at_level(logging.INFO):
        course = load_table(
            table(text, "date,quantity,value,unit,comment\n"), treatment_file=given, patient_id="A", source="synthetic"
        )
    np.testing.assert_array_equal(course.measurements["psa_ng_ml"][0], [30, 60])
    np.testing.assert_array_equal(course.measurements["volume_mm3"][0], [0])
    np.testing.assert_allclose(course.regimen.treatments[0].times, [31])
    assert "not read are the columns comment" in caplog.text
    assert "2031" not in caplog.text + repr(course) + repr(vars(course))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "0,psa,1,ng/mL\n10,prolactin,1,ng/mL\n",
            "line 3, column quantity: 'prolactin' is unknown; use one of volume,",
        ),
        ("0,psa,1,mg/L\n", "line 2, column unit: 'mg/L' is unknown for psa; use ng/mL or µg/L"),
        ("0,volume,1,\n", "line 2, column unit: '' is unknown for volume; use mm³ or cm³ or mL"),
        ("0,testosterone,300,ng/dL\n", "column unit: 'ng/dL' is unknown for testosterone; use nmol/L"),
        ("0,psa,nan,ng/mL\n", "line 2, column value: give a number >= 0"),
        ("0,psa,,ng/mL\n", "line 2, column value: give a number >= 0"),
        ("0,psa,low,ng/mL\n", "line 2, column value: give a number >= 0"),
        ("0,psa,-1,ng/mL\n", "line 2, column value: give a number >= 0"),
        ("0,psa,inf,ng/mL\n", "line 2, column value: give a number >= 0"),
        ('0,psa,"1,5",ng/mL\n', "line 2, column value: give a number >= 0, with a point"),
        ("-3,psa,1,ng/mL\n", "line 2, column day: day must be a number >= 0, got '-3'"),
        ("nan,psa,1,ng/mL\n", "line 2, column day: day must be a number >= 0"),
        (
            "0,psa,1,ng/mL\n0,volume,1,mL\n0,PSA,2,ng/mL\n",
            "line 4, column day: the PSA of PC_001.csv line 2 has the same",
        ),
        ("9,psa,1,ng/mL\n8,psa,2,ng/mL\n", "line 3, column day: the psa of PC_001.csv line 2 comes later; sort"),
        ("0,psa,1\n", "line 2: the row has not as many fields"),
        ("0,psa,1,5,ng/mL\n", "line 2: the row has not as many fields"),
        ("", "PC_001.csv has no measurement"),
    ],
)
def test_a_bad_entry_is_named_with_line_and_column(table, text, message):
    with pytest.raises(InputError) as error:
        load_table(table(text))
    assert message in str(error.value)
    assert "PC_001.csv" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("day,quantity,value\n", "column unit is missing"),
        ("day;quantity;value;unit\n", "column quantity, value, unit is missing; columns are separated by commas"),
        ("", "column quantity, value, unit is missing"),
        ("quantity,value,unit\n", "either day or date"),
        ("day,date,quantity,value,unit\n", "either day or date"),
        ("day,quantity,value,unit,Value\n", "column value is there more than once"),
    ],
)
def test_a_bad_header_is_named(table, header, message):
    with pytest.raises(InputError, match=message):
        load_table(table("", header))


@pytest.mark.parametrize(
    ("column", "value", "entry", "message"),
    [
        ("standard_deviation", "1", "-0.1", "column standard_deviation: .* must be a number >= 0, got '-0.1'"),
        ("standard_deviation", "1", "small", "column standard_deviation: .* must be a number >= 0"),
        ("standard_deviation", "<1", "0.1", "column standard_deviation: the value is a limit"),
        ("below_detection", "1", "maybe", "column below_detection: give yes or no"),
        ("below_detection", ">1", "yes", "column below_detection: 'yes' contradicts"),
        ("below_detection", "<1", "no", "column below_detection: 'no' contradicts"),
    ],
)
def test_bad_optional_columns_are_named(table, column, value, entry, message):
    with pytest.raises(InputError, match=f"PC_001.csv line 2, {message}"):
        load_table(table(f"0,psa,{value},ng/mL,{entry}\n", f"day,quantity,value,unit,{column}\n"))


@pytest.mark.parametrize("header", [HEADER, HEADER.replace("day", "date")])
@pytest.mark.parametrize("date", ["03/12/1987", "1987-13-03"])
def test_a_bad_date_is_not_told(table, header, date):
    with pytest.raises(InputError, match="line 2, column da(y|te)") as error:
        load_table(table(f"{date},psa,1,ng/mL\n", header))
    assert "1987" not in str(error.value)


def test_treatment_by_date_needs_measurements_by_date(table, tmp_path):
    given = tmp_path / "treatment.csv"
    given.write_text("date,modality,dose,unit,drug\n2031-02-01,radiotherapy,2,Gy,\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"treatment.csv line 2: .* measurements, by date"):
        load_table(table("0,psa,1,ng/mL\n"), treatment_file=given)


def test_an_operation_needs_scans(table, tmp_path):
    given = tmp_path / "treatment.csv"
    given.write_text("day,modality,dose,unit,drug\n5,surgery,,,\n", encoding="utf-8")
    with pytest.raises(InputError, match="surgery on day 5 needs the scan after it"):
        load_table(table("0,psa,1,ng/mL\n"), treatment_file=given)


@pytest.mark.parametrize(("name", "message"), [(None, "patient.path is not set"), ("none.csv", "does not exist")])
def test_a_table_that_is_not_there(tmp_path, name, message):
    with pytest.raises(InputError, match=message):
        load_table(name and tmp_path / name)


def test_a_binary_table_is_refused(tmp_path):
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="'binary.csv' cannot be read; give a CSV in UTF-8"):
        load_table(tmp_path / "binary.csv")


def test_the_example_of_the_docs(tmp_path):
    sizes, treatment, patients = re.findall(r"```csv\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    for name, text in (("LUNG_007.csv", sizes), ("LUNG_007_treatment.csv", treatment)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    course = load_table(tmp_path / "LUNG_007.csv", treatment_file=tmp_path / "LUNG_007_treatment.csv")
    days, sizes_mm = course.measurements["sum_of_diameters_mm"]
    np.testing.assert_array_equal(days, np.arange(8) * 42)
    np.testing.assert_allclose(sizes_mm, [84, 71, 62, 58, 56, 45, 42, 44])
    np.testing.assert_allclose(course.regimen.treatments[0].times, [182, 184, 186])
    assert 0.04 < course.reading_error["sum_of_diameters_mm"] < 0.06
    assert patients.splitlines()[0] == "patient,path,treatment_file"
