"""Series become images: geometry, units, time, visits and masks."""

import json
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_series import OBLIQUE, PET_HEADER, SHAPE, affine_of, stored_voxels, write_series
from pydicom.uid import RLELossless

from twinjax.core.errors import InputError
from twinjax.imaging import read_nifti
from twinjax.imaging.dicom import (
    DicomRules,
    body_weight_suv_factor,
    convert_dicom,
    is_dicom_folder,
    load_rules,
    read_source,
    write_rtstruct,
    write_seg,
)
from twinjax.imaging.dicom.series import read_series
from twinjax.imaging.raw_folder import find_files, raw_visits


def converted(tmp_path, name="T1", axes=3, **options):
    convert_dicom(tmp_path / "dicom", tmp_path / "out", **options)
    return read_nifti(tmp_path / "out" / "day_0000" / f"{name}.nii.gz", axes=axes)


def test_oblique_series_keeps_affine_and_voxels(tmp_path):
    write_series(tmp_path / "dicom" / "deep" / "er")
    image = converted(tmp_path)
    np.testing.assert_array_equal(image.data, stored_voxels())
    np.testing.assert_allclose(image.affine, affine_of(), atol=1e-5)


def test_affine_leads_to_the_places_that_simpleitk_finds(tmp_path):
    import SimpleITK as sitk

    write_series(tmp_path / "dicom")
    image = converted(tmp_path)
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "dicom"))
    peer = sitk.ReadImage(names)
    for index in ([0, 0, 0], [11, 0, 3], [5, 9, 6]):
        place = np.diag([-1, -1, 1]) @ peer.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose((image.affine @ [*index, 1])[:3], place, atol=1e-3)
        assert image.data[tuple(index)] == peer[index]


@pytest.mark.parametrize("modality", ["MR", "CT"])
def test_rescaling_is_applied_file_by_file(tmp_path, modality):
    slopes = [0.5 + 0.25 * k for k in range(SHAPE[2])]
    slices = [{"RescaleSlope": slope, "RescaleIntercept": -1000} for slope in slopes]
    write_series(tmp_path / "dicom", modality=modality, slices=slices)
    image = converted(tmp_path, name="T1" if modality == "MR" else "CT")
    np.testing.assert_allclose(image.data, stored_voxels() * np.array(slopes) - 1000, rtol=1e-6)


def test_compressed_pixels_are_decoded(tmp_path):
    for path in write_series(tmp_path / "dicom"):
        dataset = pydicom.dcmread(path)
        dataset.compress(RLELossless)
        dataset.save_as(path)
    np.testing.assert_array_equal(converted(tmp_path).data, stored_voxels())


def test_days_count_from_the_first_date(tmp_path):
    for number, date in enumerate(["20240330", "20240228", "20240301"], start=1):
        write_series(tmp_path / "dicom" / date, number=number, date=date, StudyInstanceUID=f"1.2.{number}")
    done = convert_dicom(tmp_path / "dicom", tmp_path / "out")
    assert [(c.series_number, c.day, c.file) for c in done] == [
        (2, 0, "day_0000/T1.nii.gz"),
        (3, 2, "day_0002/T1.nii.gz"),
        (1, 31, "day_0031/T1.nii.gz"),
    ]
    visits = raw_visits(tmp_path / "out")
    assert [visit.day for visit in visits] == [0, 2, 31]
    assert set(find_files(visits[0].folder, tmp_path / "out")) == {"T1"}


def test_series_without_any_date_is_one_visit(tmp_path):
    write_series(tmp_path / "dicom", SeriesDate=None, AcquisitionDate=None, StudyDate=None)
    assert convert_dicom(tmp_path / "dicom", tmp_path / "out")[0].day == 0


@pytest.mark.parametrize(
    ("description", "header", "name"),
    [
        ("AX_T1_post-Gd", {}, "T1CE"),
        ("t1_mprage_sag", {"ContrastBolusAgent": "Gadovist"}, "T1CE"),
        ("T1 pre contrast", {}, "T1"),
        ("POST Ax T1", {}, "T1CE"),
        ("sub-01_T1c", {}, "T1CE"),
        ("vibe_fs", {}, None),
        ("T1 MPRAGE +C", {}, "T1CE"),
        ("t2_tse_tra", {"ContrastBolusAgent": "Gadovist"}, "T2"),
        ("T2 FLAIR", {}, "FLAIR"),
        ("", {"ProtocolName": "t2_space_dark-fluid"}, "FLAIR"),
        ("ep2d_diff_ADC", {}, "ADC"),
        ("t2*_gre", {}, None),
        ("localizer T1", {}, None),
        ("T1 map", {}, None),
        ("T1 something", {"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, None),
    ],
)
def test_default_rules_by_description(tmp_path, description, header, name):
    write_series(tmp_path, description=description, **header)
    rule = load_rules().rule_for(read_series(tmp_path)[0])
    assert (rule.name if rule else None) == name


def test_series_without_a_rule_is_listed_and_left_out(tmp_path):
    write_series(tmp_path / "dicom")
    write_series(tmp_path / "dicom", number=2, description="ep2d_bold")
    done = convert_dicom(tmp_path / "dicom", tmp_path / "out")
    assert [(c.series_number, c.file, c.note) for c in done] == [
        (1, "day_0000/T1.nii.gz", "7 slices"),
        (2, None, "no rule matches"),
    ]


def test_rules_of_the_user_hold_first(tmp_path):
    write_series(tmp_path / "dicom", number=4, EchoTime=90)
    write_series(tmp_path / "dicom", number=5, EchoTime=3)
    rules = load_rules().preceded_by({"name": "T2", "echo_time_ms": [80, 120]})
    done = convert_dicom(tmp_path / "dicom", tmp_path / "out", rules)
    assert [c.file for c in done] == ["day_0000/T2.nii.gz", "day_0000/T1.nii.gz"]
    file = tmp_path / "rules.yaml"
    file.write_text(
        "_target_: twinjax.imaging.dicom.DicomRules\nchoose: first\nseries: [{name: FLAIR, series_number: [4, 5]}]\n"
    )
    done = convert_dicom(tmp_path / "dicom", tmp_path / "two", file)
    assert [(c.series_number, c.file) for c in done] == [(4, "day_0000/FLAIR.nii.gz"), (5, None)]


@pytest.mark.parametrize("choose", ["first", "last"])
def test_one_of_two_series_is_chosen_by_number(tmp_path, choose):
    write_series(tmp_path / "dicom", number=8)
    write_series(tmp_path / "dicom", number=9)
    rules = DicomRules([{"name": "T1"}], choose=choose)
    done = convert_dicom(tmp_path / "dicom", tmp_path / "out", rules)
    assert done[0].series_number == {"first": 8, "last": 9}[choose]
    assert done[1].note == f"series {done[0].series_number} is T1"


@pytest.mark.parametrize(
    ("header", "factor"),
    [
        ({"RescaleType": "10^-6 mm^2/s"}, 1e-6),
        ({"RescaleType": "um2/s"}, 1e-6),
        ({"RescaleType": "1e-3 mm2/s", "RescaleSlope": 0.001, "RescaleIntercept": 0}, 1e-6),
        ({"RescaleType": "mm2/s", "RescaleSlope": 1e-6, "RescaleIntercept": 0}, 1e-6),
    ],
)
def test_adc_in_mm2_per_second(tmp_path, header, factor):
    write_series(tmp_path / "dicom", description="ADC", **header)
    np.testing.assert_allclose(converted(tmp_path, "ADC").data, stored_voxels() * factor, rtol=1e-5)


def test_adc_by_real_world_values(tmp_path):
    unit = {"CodeValue": "um2/s"}
    header: dict[str, Any] = {"RescaleSlope": 4, "RescaleIntercept": 10}
    header["RealWorldValueMappingSequence"] = {
        "RealWorldValueSlope": 2.0,
        "RealWorldValueIntercept": 1.0,
        "MeasurementUnitsCodeSequence": unit,
    }
    write_series(tmp_path / "dicom", description="ADC", **header)
    expected = (2.0 * stored_voxels() + 1) * 1e-6
    np.testing.assert_allclose(converted(tmp_path, "ADC").data, expected, rtol=1e-5, atol=1e-10)


def test_adc_without_a_unit_takes_the_scale_of_its_rule(tmp_path):
    write_series(tmp_path / "dicom", description="ADC")
    with pytest.raises(InputError, match=r"series 1 \(MR 'ADC'\).*without a unit.*set scale: 1e-6"):
        convert_dicom(tmp_path / "dicom", tmp_path / "out")
    image = converted(tmp_path, "ADC", rules=DicomRules([{"name": "ADC", "scale": 1e-6}]))
    np.testing.assert_allclose(image.data, stored_voxels() * 1e-6, rtol=1e-5)


def test_suv_of_uniform_uptake_is_one():
    # A dose spread evenly through 70 kg of water, uncorrected for a half-life since.
    assert body_weight_suv_factor(70, 2e8, 6586.2) * 2e8 / 70e3 == pytest.approx(1)
    assert body_weight_suv_factor(70, 2e8, 6586.2, 6586.2) * 1e8 / 70e3 == pytest.approx(1)


@pytest.mark.parametrize(
    ("header", "elapsed"),
    [
        ({}, 3600),
        ({"SeriesTime": "113000"}, 3600),  # made after the acquisition
        ({"DecayCorrection": "ADMIN"}, 0),
    ],
)
def test_pet_becomes_suv(tmp_path, header: dict[str, Any], elapsed):
    write_series(tmp_path / "dicom", modality="PT", description="FET", **(PET_HEADER | header))
    factor = 70_000 / (2e8 * 2 ** (-elapsed / 6586.2))
    np.testing.assert_allclose(converted(tmp_path, "FET").data, stored_voxels() * factor, rtol=1e-5)


def test_injection_before_midnight(tmp_path):
    times = {"SeriesTime": "003000", "AcquisitionTime": "003000"}
    nested = PET_HEADER["RadiopharmaceuticalInformationSequence"] | {"RadiopharmaceuticalStartTime": "233000"}
    header: dict[str, Any] = PET_HEADER | times | {"RadiopharmaceuticalInformationSequence": nested}
    write_series(tmp_path / "dicom", modality="PT", description="FET", **header)
    factor = 70_000 / (2e8 * 2 ** (-3600 / 6586.2))
    np.testing.assert_allclose(converted(tmp_path, "FET").data, stored_voxels() * factor, rtol=1e-5)


def test_suv_already_there_stays(tmp_path):
    write_series(tmp_path / "dicom", modality="PT", description="PET", Units="GML")
    np.testing.assert_array_equal(converted(tmp_path, "PET").data, stored_voxels())


def test_pet_stays_in_becquerel_where_the_rule_says_so(tmp_path):
    write_series(tmp_path / "dicom", modality="PT", description="PET", Units="CNTS")
    image = converted(tmp_path, "PET", rules=DicomRules([{"name": "PET", "suv": False}]))
    np.testing.assert_array_equal(image.data, stored_voxels())


@pytest.mark.parametrize("clock", ["AcquisitionTime", "TriggerTime", "TemporalPositionIdentifier"])
def test_dynamic_series_becomes_four_axes_and_times(tmp_path, clock):
    voxels = stored_voxels((*SHAPE, 3))
    header: dict[str, Any] = {}
    slices: list[dict[str, Any]] = [{} for _ in range(3 * SHAPE[2])]
    if clock != "AcquisitionTime":
        header = {"AcquisitionTime": "100000", "TemporalResolution": 5000}
        value = (lambda t: 5000 * t) if clock == "TriggerTime" else (lambda t: t + 1)
        slices = [{clock: value(i // SHAPE[2])} for i in range(3 * SHAPE[2])]
    write_series(tmp_path / "dicom", voxels, description="DCE perfusion", slices=slices, **header)
    image = converted(tmp_path, "DCE", axes=4)
    np.testing.assert_array_equal(image.data, voxels)
    np.testing.assert_allclose(image.affine, affine_of(), atol=1e-5)
    times = json.loads((tmp_path / "out" / "day_0000" / "DCE.json").read_text())
    assert times == {"acquisition_times_s": [0.0, 5.0, 10.0]}


def test_dynamic_series_across_midnight(tmp_path):
    slices = [{"AcquisitionDate": "20240301", "AcquisitionTime": "235958"}] * SHAPE[2]
    slices += [{"AcquisitionDate": "20240302", "AcquisitionTime": "000004"}] * SHAPE[2]
    write_series(tmp_path / "dicom", stored_voxels((*SHAPE, 2)), description="DCE", slices=slices)
    convert_dicom(tmp_path / "dicom", tmp_path / "out")
    times = json.loads((tmp_path / "out" / "day_0000" / "DCE.json").read_text())
    assert times["acquisition_times_s"] == [0.0, 6.0]


def regions() -> dict[str, np.ndarray]:
    masks = {name: np.zeros(SHAPE, bool) for name in ("Edema", "GTV enhancing", "non-enhancing necrosis", "eye")}
    masks["Edema"][1:10, 1:9, 1:6] = True
    masks["GTV enhancing"][3:8, 2:8, 2:5] = True
    masks["non-enhancing necrosis"][4:6, 4:6, 3] = True
    masks["eye"][0, 0, 0] = True
    return masks


@pytest.mark.parametrize("write", [write_seg, write_rtstruct])
def test_masks_of_a_visit_become_its_segmentation(tmp_path, write):
    write_series(tmp_path / "dicom")
    write_series(tmp_path / "dicom", number=3, description="T2", rotation=np.eye(3))
    write(tmp_path / "dicom" / "mask.dcm", regions(), affine_of(), read_source(tmp_path / "dicom", 1))
    done = convert_dicom(tmp_path / "dicom", tmp_path / "out")
    image = read_nifti(tmp_path / "out" / "day_0000" / "segmentation.nii.gz")
    masks = list(regions().values())
    expected = np.where(masks[2], 1, np.where(masks[1], 3, np.where(masks[0], 2, 0)))
    np.testing.assert_array_equal(image.data, expected)
    np.testing.assert_allclose(image.affine, affine_of(), atol=1e-5)
    note = next(c.note for c in done if c.file and c.file.endswith("segmentation.nii.gz"))
    assert "'GTV enhancing' as enhancing" in note
    assert "'eye' as nothing" in note


def test_regions_without_a_rule_may_be_drawn_off_the_slices(tmp_path):
    write_series(tmp_path / "dicom")
    path = write_rtstruct(tmp_path / "dicom" / "mask.dcm", regions(), affine_of(), read_source(tmp_path / "dicom"))
    dataset = pydicom.dcmread(path)
    eye = dataset.ROIContourSequence[3].ContourSequence[0]
    eye.ContourData = [1.5 * float(x) if i % 5 else 7 for i, x in enumerate(eye.ContourData)]
    dataset.save_as(path)
    assert convert_dicom(tmp_path / "dicom", tmp_path / "out")[1].file == "day_0000/segmentation.nii.gz"


def test_masks_without_a_known_region_or_series_are_left_out(tmp_path):
    write_series(tmp_path / "dicom")
    eye = {"eye": regions()["eye"]}
    write_seg(tmp_path / "dicom" / "seg.dcm", eye, affine_of(), read_source(tmp_path / "dicom"))
    write_series(tmp_path / "other", FrameOfReferenceUID="1.2.3")
    write_rtstruct(tmp_path / "dicom" / "struct.dcm", regions(), affine_of(), read_source(tmp_path / "other"))
    done = convert_dicom(tmp_path / "dicom", tmp_path / "out")
    notes = {c.modality: c.note for c in done}
    assert notes["SEG"] == "no region rule matches eye"
    assert notes["RTSTRUCT"] == "the series that it was drawn on is not among the images"
    assert not (tmp_path / "out" / "day_0000" / "segmentation.nii.gz").exists()


def test_folder_of_dicom_is_told_from_others(tmp_path):
    assert not is_dicom_folder(tmp_path / "missing")
    (tmp_path / "notes.txt").write_text("x" * 200)
    assert not is_dicom_folder(tmp_path)
    write_series(tmp_path / "a" / "b", rotation=OBLIQUE)
    assert is_dicom_folder(tmp_path)
    (tmp_path / "T1.nii.gz").write_bytes(b"")
    assert not is_dicom_folder(tmp_path)
