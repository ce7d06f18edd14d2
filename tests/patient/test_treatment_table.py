"""The treatment table: every unit and every bad row."""

import datetime
import logging

import equinox as eqx
import numpy as np
import pytest

from twinjax.core.config import load_named
from twinjax.core.errors import InputError
from twinjax.imaging.scan import Scan
from twinjax.patient import Visit, read_treatment_csv, write_treatment_csv
from twinjax.treatment import Chemotherapy, Radiotherapy, Regimen, Resection

HEADER = "day,modality,dose,unit,drug\n"


@pytest.fixture
def table(tmp_path):
    def write(text: str, header: str = HEADER):
        path = tmp_path / "treatment.csv"
        path.write_text(header + text, encoding="utf-8")
        return path

    return write


def visit(day: float, label: int = 0) -> Visit:
    segmentation = np.zeros((3, 3, 3), np.int8)
    segmentation[1, 1, 1] = 3
    segmentation[0, 0, 0] = label
    return Visit(day, Scan(np.eye(4), {}, segmentation, np.ones((3, 3, 3), bool)))


def test_units_become_gray_and_mg_per_square_metre(table):
    path = table(
        "0,radiotherapy,2,Gy,\n1,radiotherapy,180,cGy,\n1,chemotherapy,75,mg/m2,temozolomide\n"
        "2,Chemotherapy,150,mg,Temozolomide\n3.25,chemotherapy,125,mg/m²,Nab-Paclitaxel\n"
    )
    regimen = read_treatment_csv(path, body_surface_area_m2=2.0)
    radiotherapy, temozolomide, other = regimen.treatments
    assert isinstance(radiotherapy, Radiotherapy)
    np.testing.assert_allclose(radiotherapy.times, [0, 1])
    np.testing.assert_allclose(radiotherapy.doses, [2, 1.8], rtol=1e-6)
    assert isinstance(temozolomide, Chemotherapy) and temozolomide.drug == "temozolomide"
    np.testing.assert_allclose(temozolomide.times, [1, 2])
    np.testing.assert_allclose(temozolomide.doses, [75, 75])
    assert isinstance(other, Chemotherapy) and other.drug == "nab_paclitaxel"
    np.testing.assert_allclose(other.times, [3.25])


@pytest.mark.parametrize(
    ("drug", "dose", "protocol"),
    [
        ("cisplatin", 40, "cisplatin_etoposide_chemoradiation"),
        ("paclitaxel", 80, "weekly_paclitaxel"),
        ("paclitaxel", 50, "carboplatin_paclitaxel_chemoradiation"),
        ("gemcitabine", 800, "gemcitabine"),
        ("temozolomide", 150, "stupp"),
    ],
)
def test_a_drug_kills_as_in_the_protocol_of_its_dose(table, drug, dose, protocol):
    (found,) = read_treatment_csv(table(f"4,chemotherapy,{dose},mg/m2,{drug}\n")).treatments
    like = next(one for one in load_named("treatment", protocol).treatments if one.name == drug)
    expected = Chemotherapy(
        [4.0],
        dose,
        drug=drug,
        sensitivity=like.sensitivity,
        clearance_rate=like.clearance_rate,
        reference_dose=like.reference_dose,
    )
    assert eqx.tree_equal(found, expected)
    # The log kill of a dose, by hand: sensitivity / clearance rate for the reference dose.
    share = dose / float(like.reference_dose)
    assert float(found.exposure(0.0, 1e3)) == pytest.approx(share * float(like.sensitivity / like.clearance_rate))


def test_dates_become_days_since_the_first_visit(table):
    path = table("2024-03-01,radiotherapy,2,Gy,\n2024-03-31,radiotherapy,2,Gy,\n", HEADER.replace("day", "date"))
    regimen = read_treatment_csv(path, baseline_date=datetime.date(2024, 3, 1))
    np.testing.assert_allclose(regimen.treatments[0].times, [0, 30])


def test_an_empty_table_and_a_byte_order_mark_are_fine(table):
    assert read_treatment_csv(table("", "\ufeff" + HEADER)).treatments == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0,radiotherapy,2,gray,\n", "line 2: unit 'gray' is unknown for radiotherapy; use Gy or cGy"),
        ("0,chemotherapy,75,Gy,temozolomide\n", "unit 'Gy' is unknown for chemotherapy; use mg/m2 or mg"),
        ("0,radiotherapy,-2,Gy,\n", "line 2: dose must be a number >= 0, got '-2'"),
        ("0,radiotherapy,nan,Gy,\n", "dose must be a number"),
        ("0,radiotherapy,inf,Gy,\n", "dose must be a number"),
        ("0,radiotherapy,two,Gy,\n", "dose must be a number"),
        ("0,radiotherapy,,Gy,\n", "dose must be a number"),
        ("0,radiotherapy,60,Gy,\n", "60 Gy in one fraction"),
        ("-1,radiotherapy,2,Gy,\n", "line 2: day must be a number >= 0, got '-1'"),
        ("nan,radiotherapy,2,Gy,\n", "day must be a number"),
        (",radiotherapy,2,Gy,\n", "day must be a number"),
        ("0,hyperthermia,2,Gy,\n", "modality 'hyperthermia' is unknown; use one of radiotherapy"),
        ("0,radiotherapy,2,Gy,temozolomide\n", "radiotherapy has no drug"),
        ("0,chemotherapy,75,mg/m2,\n", "needs the name of the drug"),
        ("0,chemotherapy,110,mg/m2,lomustine\n", "line 2: the drug 'lomustine' is unknown; known are carboplatin, cis"),
        ("0,chemotherapy,150,mg,temozolomide\n", "needs body_surface_area_m2"),
        ("0,surgery,2,Gy,\n", "surgery has no dose"),
        ("0,radiotherapy,2,Gy,\n0,radiotherapy,2,Gy,\n", "line 3: the same row stands above"),
        ("0,radiotherapy,2,Gy,\n0,radiotherapy,200,cGy,\n", "line 3: the same row stands above"),
        ("3,radiotherapy,2,Gy,\n1,radiotherapy,2,Gy,\n", "line 3: day 1 comes after day 3; sort the rows"),
        ("0,radiotherapy,2\n", "line 2: the row has not as many fields"),
        ("0,radiotherapy,2,Gy,,,\n", "line 2: the row has not as many fields"),
    ],
)
def test_a_bad_row_is_named_with_its_line(table, text, message):
    with pytest.raises(InputError) as error:
        read_treatment_csv(table(text))
    assert message in str(error.value)
    assert "treatment.csv" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("day,modality,dose,drug\n", "column unit is missing"),
        ("day;modality;dose;unit;drug\n", "separated by commas"),
        ("", "is missing"),
        ("modality,dose,unit,drug\n", "either day or date"),
        ("day,date,modality,dose,unit,drug\n", "either day or date"),
    ],
)
def test_a_bad_header_is_named(table, header, message):
    with pytest.raises(InputError, match=message):
        read_treatment_csv(table("", header))


@pytest.mark.parametrize(
    ("date", "baseline", "message"),
    [
        ("2024-02-28", datetime.date(2024, 3, 1), "2 days before the first visit"),
        ("01.03.2024", datetime.date(2024, 3, 1), "is not an ISO date"),
        ("2024-03-01", None, "need visit folders, or measurements, by date"),
    ],
)
def test_a_bad_date_is_named(table, date, baseline, message):
    path = table(f"{date},radiotherapy,2,Gy,\n", HEADER.replace("day", "date"))
    with pytest.raises(InputError, match=message):
        read_treatment_csv(path, baseline_date=baseline)


@pytest.mark.parametrize("area", [0.0, -1.9, 190.0, float("nan")])
def test_an_impossible_body_surface_area_is_refused(table, area):
    with pytest.raises(InputError, match="body_surface_area_m2 must lie between"):
        read_treatment_csv(table("0,chemotherapy,150,mg,temozolomide\n"), body_surface_area_m2=area)


def test_a_missing_or_binary_table_is_refused(tmp_path):
    with pytest.raises(InputError, match="none.csv"):
        read_treatment_csv(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        read_treatment_csv(tmp_path / "binary.csv")


def test_surgery_takes_the_cavity_of_the_first_visit_after_it(table):
    regimen = read_treatment_csv(table("5,surgery,,,\n"), visits=[visit(0), visit(30, label=4), visit(60)])
    (resection,) = regimen.treatments
    assert isinstance(resection, Resection)
    assert float(resection.times[0]) == 5
    assert np.argwhere(np.asarray(resection.cavity)).tolist() == [[0, 0, 0]]


def test_surgery_on_the_day_of_a_scan_looks_on_to_the_next_one(table):
    regimen = read_treatment_csv(table("0,surgery,,,\n"), visits=[visit(0), visit(30, label=4)])
    assert isinstance(regimen.treatments[0], Resection)


def test_surgery_without_a_cavity_is_left_out_with_a_warning(table, caplog):
    # The cavity of a later operation must not be taken for this one's.
    with caplog.at_level(logging.WARNING):
        regimen = read_treatment_csv(table("5,surgery,,,\n"), visits=[visit(0), visit(30), visit(60, label=4)])
    assert regimen.treatments == ()
    assert "surgery on day 5 is left out" in caplog.text


def test_round_trip(tmp_path):
    cavity = np.zeros((3, 3, 3), bool)
    cavity[0, 0, 0] = True
    regimen = Regimen(
        (
            Radiotherapy(np.asarray([10.0, 11.25, 40.0]), np.asarray([2.0, 1.8, 2.67])),
            Chemotherapy(np.asarray([10.0, 12.5]), np.asarray([75.0, 200.0])),
            Resection(3.0, cavity, np.eye(4)),
        )
    )
    path = tmp_path / "treatment.csv"
    write_treatment_csv(path, regimen)
    again = read_treatment_csv(path, visits=[visit(0), visit(4, label=4)])
    resection, chemotherapy, radiotherapy = again.treatments
    assert isinstance(radiotherapy, Radiotherapy) and isinstance(chemotherapy, Chemotherapy)
    np.testing.assert_allclose(radiotherapy.times, [10, 11.25, 40])
    np.testing.assert_allclose(radiotherapy.doses, [2, 1.8, 2.67], rtol=1e-6)
    np.testing.assert_allclose(chemotherapy.times, [10, 12.5])
    np.testing.assert_allclose(chemotherapy.doses, [75, 200])
    assert isinstance(resection, Resection) and float(resection.times[0]) == 3


def test_what_could_not_be_read_again_is_not_written(tmp_path):
    one = Radiotherapy(np.asarray([1.0]), np.asarray([2.0]))
    with pytest.raises(InputError, match="same dose twice"):
        write_treatment_csv(tmp_path / "treatment.csv", Regimen((one, one)))
    assert not (tmp_path / "treatment.csv").exists()
