"""Every bad series, and every bad rule for them, ends in one InputError that names it."""

import os
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_series import (
    OBLIQUE,
    ORIGIN,
    PATIENT,
    PET_HEADER,
    SHAPE,
    SPACING,
    change,
    write_series,
)
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, HTJ2KLossless, JPEG2000Lossless

from twinjax.core.errors import InputError
from twinjax.imaging.dicom import (
    DicomRules,
    convert_dicom,
    load_rules,
)

UP = OBLIQUE[:, 2]


def refused(tmp_path, match, rules=None, **options):
    """`convert_dicom` raises one line that matches, and writes nothing."""
    with pytest.raises(InputError, match=match) as caught:
        convert_dicom(tmp_path / "dicom", tmp_path / "out", rules, **options)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").glob("*"))
    return str(caught.value)


def place(slice_: float) -> list[str]:
    return [f"{x:.10g}" for x in ORIGIN + UP * SPACING[2] * slice_]


def test_missing_folder_and_folder_without_dicom(tmp_path):
    refused(tmp_path, "'dicom' does not exist")
    (tmp_path / "dicom").mkdir()
    (tmp_path / "dicom" / "notes.txt").write_text("nothing here")
    refused(tmp_path, "'dicom' has no DICOM files; name the folder")


def test_named_dicom_but_none(tmp_path):
    write_series(tmp_path / "dicom")
    (tmp_path / "dicom" / "broken.dcm").write_bytes(b"\0" * 500)
    refused(tmp_path, r"broken\.dcm is no DICOM file")


def test_output_inside_the_input_or_not_empty(tmp_path):
    write_series(tmp_path / "dicom")
    with pytest.raises(InputError, match="lies in the DICOM folder"):
        convert_dicom(tmp_path / "dicom", tmp_path / "dicom" / "out")
    convert_dicom(tmp_path / "dicom", tmp_path / "out")
    with pytest.raises(InputError, match="'out' is not empty"):
        convert_dicom(tmp_path / "dicom", tmp_path / "out")


@pytest.mark.parametrize("what", ["file", "folder"])
def test_link_out_of_the_folder(tmp_path, what):
    write_series(tmp_path / "dicom")
    other = write_series(tmp_path / "other")[0]
    os.symlink(other if what == "file" else other.parent, tmp_path / "dicom" / "link")
    refused(tmp_path, "link leads out of the DICOM folder; copy it in")


def test_files_of_two_patients(tmp_path):
    write_series(tmp_path / "dicom")
    write_series(tmp_path / "dicom", number=2, PatientID="Q777")
    message = refused(tmp_path, r"series 1 .* and series 2 .* are of different patients")
    assert "Q777" not in message
    assert PATIENT not in message.split()


def test_missing_modality_says_what_was_found(tmp_path):
    write_series(tmp_path / "dicom")
    write_series(tmp_path / "dicom", number=2, description="bold")
    refused(
        tmp_path, r"day_0000: T2, FLAIR missing, found T1; .*series 2 \(MR 'bold'\)", required=["T1", "T2", "FLAIR"]
    )


def test_no_series_with_a_rule(tmp_path):
    write_series(tmp_path / "dicom", description="bold")
    refused(tmp_path, r"no series matches a rule: series 1 \(MR 'bold'\); add a rule")


def test_two_series_of_one_modality(tmp_path):
    write_series(tmp_path / "dicom", number=5)
    write_series(tmp_path / "dicom", number=6, description="T1 again")
    match = r"series 5 \(MR 'T1 mprage'\) and series 6 \(MR 'T1 again'\) of one visit are both T1; set choose: last"
    refused(tmp_path, match)
    rules = load_rules().preceded_by({"name": "leave_out", "series_number": [5]})
    assert convert_dicom(tmp_path / "dicom", tmp_path / "out", rules)[0].series_number == 6


def test_mixed_orientations(tmp_path):
    slices = [{} for _ in range(SHAPE[2])]
    slices[4] = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
    write_series(tmp_path / "dicom", slices=slices)
    refused(tmp_path, r"series 1 .* mixes orientations \(IM\d+_1, IM\d+_1\); split it")


@pytest.mark.parametrize(
    ("header", "what"), [({"Rows": 5, "Columns": 24}, "matrix sizes"), ({"PixelSpacing": [1.4, 1.0]}, "pixel spacings")]
)
def test_mixed_sizes(tmp_path, header, what):
    write_series(tmp_path / "dicom", slices=[{}, {}, header, {}, {}, {}, {}])
    refused(tmp_path, f"mixes {what}")


def test_gap_between_slices(tmp_path):
    files = write_series(tmp_path / "dicom")
    files[3].unlink()
    refused(tmp_path, rf"has a gap: {files[2].name} and {files[4].name} are 6\.00 mm apart, others 3\.00 mm")


def test_rounding_of_places_is_no_gap(tmp_path):
    slices = [{"ImagePositionPatient": [f"{float(x):.2f}" for x in place(k)]} for k in range(SHAPE[2])]
    write_series(tmp_path / "dicom", slices=slices)
    assert len(convert_dicom(tmp_path / "dicom", tmp_path / "out")) == 1


def test_slices_that_shift_sideways_unevenly(tmp_path):
    shifts = [{"ImagePositionPatient": [0, 0.8 * (k > 3), 3 * k]} for k in range(SHAPE[2])]
    files = write_series(tmp_path / "dicom", modality="CT", rotation=np.eye(3), slices=shifts)
    refused(tmp_path, rf"{files[4].name} is shifted sideways against the others by 0\.80 mm; check its position")


def test_slices_that_shift_by_more_than_their_distance(tmp_path):
    shifts = [{"ImagePositionPatient": [0, 4 * k, 3 * k]} for k in range(SHAPE[2])]
    write_series(tmp_path / "dicom", modality="CT", rotation=np.eye(3), slices=shifts)
    refused(tmp_path, "its slices shift sideways by more than their distance; reformat the series")


def test_duplicate_slices(tmp_path):
    files = write_series(tmp_path / "dicom")
    (tmp_path / "dicom" / "copy").write_bytes(files[2].read_bytes())
    refused(tmp_path, rf"copy and {files[2].name} show the same slice; remove one|{files[2].name} and copy show")


def test_time_point_that_lacks_a_slice(tmp_path):
    files = write_series(tmp_path / "dicom", np.zeros((4, 4, 3, 3), np.uint16), description="DCE")
    files[4].unlink()
    rules = DicomRules([{"name": "DCE"}])
    refused(tmp_path, "one of 3 images of its slice, .* of 2; add the lacking files", rules)


@pytest.mark.parametrize("kept", [1, 0])
def test_series_of_one_slice_or_without_pixels(tmp_path, kept):
    files = write_series(tmp_path / "dicom")
    for path in files[1:]:
        path.unlink()
    if kept:
        refused(tmp_path, r"series 1 .* has one slice; a volume needs two or more")
    else:
        change(files[0], Rows=0)
        refused(tmp_path, "has no pixels")


@pytest.mark.parametrize("keep", [140, 400, -1, -50])
def test_truncated_file(tmp_path, keep):
    path = write_series(tmp_path / "dicom")[3]
    path.write_bytes(path.read_bytes()[:keep])
    message = refused(tmp_path, "truncated|missing|no SeriesInstanceUID")
    assert path.name in message


@pytest.mark.parametrize(
    ("syntax", "frame", "match"),
    [
        (JPEG2000Lossless, b"\xff\xd8no jpeg" * 5, "its pixels are corrupt or truncated"),
        (HTJ2KLossless, b"\0" * 64, r"its compression \(High-Throughput JPEG 2000.*\) cannot be decoded; export it un"),
    ],
)
def test_compressed_pixels_that_cannot_be_read(tmp_path, syntax, frame, match):
    path = write_series(tmp_path / "dicom")[3]
    dataset = pydicom.dcmread(path)
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path)
    refused(tmp_path, f"{path.name}: {match}")


def test_deflated_file(tmp_path):
    path = write_series(tmp_path / "dicom")[3]
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(path)
    refused(tmp_path, f"{path.name} is deflated")


def test_absurd_size_is_refused_from_the_header(tmp_path):
    write_series(tmp_path / "dicom", Rows=60_000, Columns=60_000)
    refused(tmp_path, r"series 1 .* claims 25200000000 voxels, the limit is \d+")


@pytest.mark.parametrize(
    ("header", "match"),
    [
        ({"NumberOfFrames": 20}, "is multi-frame, and no enhanced CT, MR or PET"),
        ({"SamplesPerPixel": 3}, "is a colour image"),
        ({"PixelSpacing": None}, "PixelSpacing is missing or malformed"),
        ({"ImagePositionPatient": None}, "ImagePositionPatient is missing or malformed"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "no valid orientation"),
        ({"Rows": None}, "Rows is missing or malformed"),
    ],
)
def test_header_without_what_is_needed(tmp_path, header, match):
    write_series(tmp_path / "dicom", **header)
    refused(tmp_path, match)


def test_visits_without_dates(tmp_path):
    dateless: dict[str, Any] = {"SeriesDate": None, "AcquisitionDate": None, "StudyDate": None}
    write_series(tmp_path / "dicom", **dateless)
    write_series(tmp_path / "dicom", number=2, StudyInstanceUID="1.2.3", **dateless)
    refused(tmp_path, r"series 1 .* has no StudyDate, which tells visits apart")


def nested(**values):
    return PET_HEADER["RadiopharmaceuticalInformationSequence"] | values


@pytest.mark.parametrize(
    ("header", "match"),
    [
        ({"Units": "CNTS"}, "Units 'CNTS' gives no SUV"),
        ({"CorrectedImage": ["ATTN"]}, "CorrectedImage lacks DECY"),
        ({"PatientWeight": None}, "PatientWeight is missing"),
        ({"DecayCorrection": "NONE"}, "DecayCorrection 'NONE'"),
        ({"SeriesTime": None, "AcquisitionTime": None}, "SeriesTime and AcquisitionTime are missing"),
        (
            {"RadiopharmaceuticalInformationSequence": nested(RadiopharmaceuticalStartTime=None)},
            "RadiopharmaceuticalStartTime is missing",
        ),
        (
            {"RadiopharmaceuticalInformationSequence": nested(RadiopharmaceuticalStartDateTime="20240301120000")},
            "starts -3600 s after the injection",
        ),
        ({"RadiopharmaceuticalInformationSequence": nested(RadionuclideTotalDose=0)}, "RadionuclideTotalDose is miss"),
        ({"RadiopharmaceuticalInformationSequence": nested(RadionuclideHalfLife=None)}, "RadionuclideHalfLife is miss"),
    ],
)
def test_pet_without_what_suv_needs(tmp_path, header, match):
    write_series(tmp_path / "dicom", modality="PT", description="FET", **(PET_HEADER | header))
    refused(tmp_path, match)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"series": [{"name": "T1", "modalty": "MR"}]}, "a series rule has 'name' and any of modality"),
        ({"series": [{"modality": "MR"}]}, "a series rule has 'name'"),
        ({"series": [{"name": "../T1"}]}, "rename it"),
        ({"series": [{"name": "T1", "description": "(("}]}, "rule T1: description: .* is no regular expression"),
        ({"series": [{"name": "T1", "echo_time_ms": [9, 1]}]}, "echo_time_ms must be"),
        ({"series": [], "regions": [{"region": "tumor", "name": "x"}]}, "a region rule has 'region'"),
        ({"series": [], "choose": "best"}, "choose must be error, first or last"),
    ],
)
def test_bad_rules(arguments, match):
    with pytest.raises(InputError, match=match):
        DicomRules(**arguments)


def test_bad_rules_file(tmp_path):
    with pytest.raises(InputError, match="dicom 'nowhere' is unknown; choose one of default"):
        load_rules("nowhere")
    with pytest.raises(InputError, match=r"rules\.yaml is no YAML file"):
        load_rules(tmp_path / "rules.yaml")
    (tmp_path / "rules.yaml").write_text("series: []")
    with pytest.raises(InputError, match="must have _target_"):
        load_rules(tmp_path / "rules.yaml")
