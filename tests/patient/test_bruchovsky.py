"""The trial of intermittent androgen suppression: both public forms, their faults, and the treatment that they tell."""

import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.patient import load_bruchovsky, load_bruchovsky_trial

HEADER = "patient_id,day,psa_ng_ml,testosterone_nmol_l,cycle,on_treatment\n"
# Made up.
ROWS = [
    "10,20.0,12.0,1,1",
    "40,1.0,0.5,1,1",
    "70,2.0,8.0,1,0",
    "100,9.0,12.0,1,1",
    "130,0.5,0.4,2,1",
    "160,3.0,9.0,2,0",
]


@pytest.fixture
def table(tmp_path):
    (tmp_path / "prostate").mkdir()
    text = HEADER + "".join(f"P1,{row}\n" for row in ROWS)
    (tmp_path / "prostate" / "intermittent_adt.csv").write_text(text)
    return tmp_path


def test_a_patient_of_the_table(table):
    course = load_bruchovsky(table, patient_id="P1")
    days, psa = course.measurements["psa_ng_ml"]
    np.testing.assert_allclose(days, [0, 30, 60, 90, 120, 150])
    np.testing.assert_allclose(psa, [20, 1, 2, 9, 0.5, 3])
    levels = [float(course.regimen.levels(day)["androgen_deprivation"]) for day in (0, 59.9, 60, 89.9, 90, 149, 150)]
    assert levels == [1, 1, 0, 0, 1, 1, 0]
    assert course.source == "real"
    np.testing.assert_array_equal(load_bruchovsky_trial(table)[0].cycles, [1, 1, 1, 1, 2, 2])


def test_the_text_files_are_mended(table):
    folder = table / "texts"
    folder.mkdir()
    lines = [f"1.00,{row}" for row in ROWS]
    # What the public files hold: a lost first field and a stray letter.
    lines[1] = "00," + ROWS[1]
    lines[2] = "1.00,70s,2.0,8.0,1,0"
    (folder / "patient1.txt").write_text("\n".join(lines) + "\n")
    (folder / "patient200.txt").write_text("\n".join(lines[:3]) + "\n")
    courses = load_bruchovsky_trial(table, "texts")
    assert [entry.course.patient_id for entry in courses] == ["P1"]
    expected = load_bruchovsky(table, patient_id="P1")
    for name, series in expected.measurements.items():
        np.testing.assert_allclose(courses[0].course.measurements[name], series)


def test_limits_and_missing_values_of_the_table(table):
    rows = ["10,20.0,,1,1", "40,<0.1,0.5,1,1", "70,NA,8.0,1,0"]
    text = HEADER + "".join(f"P1,{row}\n" for row in rows)
    (table / "prostate" / "intermittent_adt.csv").write_text(text)
    (entry,) = load_bruchovsky_trial(table)
    np.testing.assert_allclose(entry.course.measurements["psa_ng_ml"], [[0, 30], [20, 0.1]])
    np.testing.assert_array_equal(entry.course.sides["psa_ng_ml"], [0, -1])
    np.testing.assert_allclose(entry.course.measurements["testosterone_nmol_l"], [[30, 60], [0.5, 8]])
    np.testing.assert_array_equal(entry.cycles, [1, 1])
    (table / "prostate" / "intermittent_adt.csv").write_text(HEADER + "P1,10,low,12.0,1,1\n")
    with pytest.raises(InputError, match="intermittent_adt.csv row 2, psa_ng_ml: 'low' is no value"):
        load_bruchovsky(table, patient_id="P1")


def test_what_is_missing_is_named(table, tmp_path):
    with pytest.raises(InputError, match="'P9' is not in the trial's data; choose one of P1"):
        load_bruchovsky(table, patient_id="P9")
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="neither intermittent_adt.csv nor"):
        load_bruchovsky(table, "none", patient_id="P1")
    (table / "prostate" / "intermittent_adt.csv").write_text(HEADER.replace("cycle,", "") + "P1,0,1,1,1\n")
    with pytest.raises(InputError, match="lacks the columns cycle"):
        load_bruchovsky(table, patient_id="P1")
    (table / "prostate" / "intermittent_adt.csv").write_text(HEADER + "P1,0,x,1,1,1\n")
    with pytest.raises(InputError, match="row 2, psa_ng_ml: 'x' is no value"):
        load_bruchovsky(table, patient_id="P1")


def test_the_real_trial(data_folder):
    trial = load_bruchovsky_trial(data_folder)
    assert len(trial) >= 30
    for course, cycles in trial:
        days, psa = course.measurements["psa_ng_ml"]
        assert days.size == psa.size == cycles.size
        assert cycles.max() >= 2
        assert float(course.regimen.treatments[0].times[0]) == 0
    baselines = [course.measurements["testosterone_nmol_l"][1][0] for course, _ in trial]
    assert 10 < np.median(baselines) < 16
