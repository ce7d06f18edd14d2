"""Enhanced multi-frame files: the same images as from a file a slice, and the same refusals."""

import json
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from dicom_series import OBLIQUE, PET_HEADER, SHAPE, affine_of, change, stored_voxels, write_enhanced, write_series
from highdicom.legacy import (
    LegacyConvertedEnhancedCTImage,
    LegacyConvertedEnhancedMRImage,
    LegacyConvertedEnhancedPETImage,
)
from pydicom.encaps import encapsulate
from pydicom.uid import (
    EnhancedCTImageStorage,
    EnhancedPETImageStorage,
    JPEGLossless,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    RLELossless,
    generate_uid,
)

from twinjax.core.errors import InputError
from twinjax.imaging import read_nifti
from twinjax.imaging.dicom import (
    DicomRules,
    body_weight_suv_factor,
    convert_dicom,
    read_rtstruct,
    read_seg,
    read_source,
    write_rtdose,
    write_rtstruct,
    write_seg,
)

SCALED = [
    {"PixelValueTransformationSequence": {"RescaleSlope": 0.5 + 0.25 * k, "RescaleIntercept": -3 * k}}
    for k in range(SHAPE[2])
]
PET = {
    "RadiopharmaceuticalCodeSequence": {"CodeValue": "C-B1031", "CodeMeaning": "Fluoroethyl tyrosine F^18^"},
    "RadionuclideTotalDose": 200,
    "RadionuclideHalfLife": 6586.2,
    "RadiopharmaceuticalStartDateTime": "20240301100000",
}
UNITS = {
    "RealWorldValueSlope": 2.5,
    "RealWorldValueIntercept": 0.0,
    "MeasurementUnitsCodeSequence": {"CodeValue": "Bq/ml", "CodingSchemeDesignator": "UCUM", "CodeMeaning": "Bq/ml"},
}


def converted(folder: Path, output: Path, name="T1", **options):
    convert_dicom(folder, output, **options)
    return read_nifti(output / "day_0000" / f"{name}.nii.gz", axes=options.pop("axes", 3))


def write_pet(path: Path, **header) -> Path:
    values = {
        "DecayCorrected": "YES",
        "AttenuationCorrected": "YES",
        "DecayCorrectionDateTime": "20240301110000",
        "PatientWeight": 70,
        "RadiopharmaceuticalInformationSequence": PET,
    }
    shared = {"RealWorldValueMappingSequence": UNITS}
    return write_enhanced(
        path,
        sop_class=EnhancedPETImageStorage,
        modality="PT",
        description="brain",
        **({"shared": shared} | values | header),
    )


def test_frames_become_a_volume_in_place(tmp_path):
    """Oblique, shuffled, each frame with a slope of its own; highdicom reads the same geometry."""
    path = write_enhanced(tmp_path / "dicom" / "deep" / "e", frames=SCALED)
    image = converted(tmp_path / "dicom", tmp_path / "out")
    slopes = np.array([0.5 + 0.25 * k for k in range(SHAPE[2])])
    np.testing.assert_allclose(image.data, stored_voxels() * slopes - 3 * np.arange(SHAPE[2]), rtol=1e-6)
    np.testing.assert_allclose(image.affine, affine_of(), atol=1e-5)
    peer = highdicom.imread(path).get_volume(apply_real_world_transform=False, apply_modality_transform=False)
    ours = np.diag([-1, -1, 1, 1]) @ image.affine
    theirs = np.asarray(peer.affine)[:, [2, 1, 0, 3]]
    if theirs[:3, 2] @ ours[:3, 2] < 0:
        theirs[:3, 3] += (SHAPE[2] - 1) * theirs[:3, 2]
        theirs[:3, 2] *= -1
    np.testing.assert_allclose(theirs, ours, atol=1e-4)


def test_a_compressed_file(tmp_path):
    path = write_enhanced(tmp_path / "dicom" / "e")
    dataset = pydicom.dcmread(path)
    dataset.compress(RLELossless)
    dataset.save_as(path)
    np.testing.assert_array_equal(converted(tmp_path / "dicom", tmp_path / "out").data, stored_voxels())


def test_rules_see_echo_time_contrast_and_kind(tmp_path):
    shared = {
        "MREchoSequence": {"EffectiveEchoTime": 90.0},
        "MRImageFrameTypeSequence": {"FrameType": ["DERIVED", "MIP"]},
    }
    write_enhanced(tmp_path / "a" / "e", shared=shared)
    rules = [{"name": "long", "echo_time_ms": [80, 100]}]
    assert converted(tmp_path / "a", tmp_path / "out", "long", rules=DicomRules(rules)).data.shape == SHAPE
    with pytest.raises(InputError, match="no series matches a rule"):
        convert_dicom(tmp_path / "a", tmp_path / "none", rules=DicomRules(rules, exclude=r"\bmip\b"))
    agent = {"ContrastBolusAgentSequence": {"CodeValue": "C-B0322", "CodeMeaning": "Gadolinium"}}
    write_enhanced(tmp_path / "b" / "e", **agent)
    assert converted(tmp_path / "b", tmp_path / "contrast", "T1CE").data.shape == SHAPE


def test_time_points_of_one_file(tmp_path):
    voxels = stored_voxels((*SHAPE, 3), 4)
    write_enhanced(tmp_path / "dicom" / "e", voxels, description="DCE")
    convert_dicom(tmp_path / "dicom", tmp_path / "out")
    image = read_nifti(tmp_path / "out" / "day_0000" / "DCE.nii.gz", axes=4)
    np.testing.assert_array_equal(image.data, voxels)
    times = json.loads((tmp_path / "out" / "day_0000" / "DCE.json").read_text())["acquisition_times_s"]
    assert times == [0.0, 5.0, 10.0]


def test_hounsfield_units_of_enhanced_ct(tmp_path):
    shared = {"PixelValueTransformationSequence": {"RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU"}}
    write_enhanced(tmp_path / "dicom" / "e", sop_class=EnhancedCTImageStorage, modality="CT", shared=shared)
    np.testing.assert_array_equal(converted(tmp_path / "dicom", tmp_path / "out", "CT").data, stored_voxels() - 1024.0)


def test_adc_by_real_world_values(tmp_path):
    units = {"CodeValue": "um2/s", "CodingSchemeDesignator": "UCUM", "CodeMeaning": "um2/s"}
    mapping = {"RealWorldValueSlope": 2.0, "RealWorldValueIntercept": 0.0, "MeasurementUnitsCodeSequence": units}
    write_enhanced(tmp_path / "dicom" / "e", description="ADC", shared={"RealWorldValueMappingSequence": mapping})
    image = converted(tmp_path / "dicom", tmp_path / "out", "ADC")
    np.testing.assert_allclose(image.data, stored_voxels() * 2e-6, rtol=1e-5)


@pytest.mark.parametrize("dose", [200, 2e8])
def test_enhanced_pet_becomes_suv(tmp_path, dose):
    """The standard has the dose in MBq; some write Bq."""
    write_pet(tmp_path / "dicom" / "e", RadiopharmaceuticalInformationSequence=PET | {"RadionuclideTotalDose": dose})
    image = converted(tmp_path / "dicom", tmp_path / "out", "FET")
    factor = 2.5 * body_weight_suv_factor(70, 2e8, 6586.2, 3600)
    np.testing.assert_allclose(image.data, stored_voxels() * factor, rtol=1e-5)


@pytest.mark.parametrize(
    ("header", "match"),
    [
        ({"DecayCorrected": "NO"}, "CorrectedImage lacks DECY"),
        ({"DecayCorrectionDateTime": None}, "DecayCorrection '' gives no SUV"),
        ({"DecayCorrectionDateTime": "20240301090000"}, "starts -3600 s after the injection"),
        ({"shared": {}}, "Units '' gives no SUV"),
        (
            {"RadiopharmaceuticalInformationSequence": PET | {"RadionuclideTotalDose": None}},
            "RadionuclideTotalDose is m",
        ),
    ],
)
def test_enhanced_pet_without_what_suv_needs(tmp_path, header, match):
    write_pet(tmp_path / "dicom" / "e", **header)
    refused(tmp_path, match)


@pytest.mark.parametrize(
    ("modality", "kind", "name", "header"),
    [
        ("MR", LegacyConvertedEnhancedMRImage, "T1", {"EchoTime": 3.0}),
        ("CT", LegacyConvertedEnhancedCTImage, "CT", {"RescaleSlope": 1, "RescaleIntercept": -1000}),
        ("PT", LegacyConvertedEnhancedPETImage, "FET", PET_HEADER | {"RescaleSlope": 2.0, "RescaleIntercept": 0}),
    ],
)
def test_converted_files_are_as_what_they_were_made_of(tmp_path, modality, kind, name, header):
    """highdicom makes one enhanced file of a classic series."""
    files = write_series(tmp_path / "classic", modality=modality, **header)
    before = converted(tmp_path / "classic", tmp_path / "before", name)
    datasets = [pydicom.dcmread(file) for file in files]
    for dataset in datasets:
        dataset.ImageType = ["ORIGINAL", "PRIMARY"]
        dataset.ContentDate, dataset.ContentTime, dataset.AcquisitionNumber = "20240301", "090000", 1
        for keyword in ("PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "ReferringPhysicianName"):
            setattr(dataset, keyword, "")
        dataset.Manufacturer = "none"
    made = kind(datasets, generate_uid(), 1, generate_uid(), 1)
    (tmp_path / "enhanced").mkdir()
    made.save_as(tmp_path / "enhanced" / "e.dcm")
    after = converted(tmp_path / "enhanced", tmp_path / "after", name)
    np.testing.assert_allclose(after.data, before.data, rtol=1e-5)
    np.testing.assert_allclose(after.affine, before.affine, atol=1e-5)


@pytest.mark.parametrize(("write", "read"), [(write_seg, read_seg), (write_rtstruct, read_rtstruct)])
def test_masks_are_written_on_the_frames(tmp_path, write, read):
    path = write_enhanced(tmp_path / "dicom" / "e")
    mask = np.zeros(SHAPE, bool)
    mask[3:9, 2:8, 1:5] = True
    mask[4, 4, 2] = False
    made = write(tmp_path / "dicom" / "mask.dcm", {"GTV": mask}, affine_of(), read_source(tmp_path / "dicom"))
    np.testing.assert_array_equal(read(made, affine_of(), SHAPE)["GTV"], mask)
    convert_dicom(tmp_path / "dicom", tmp_path / "out")
    image = read_nifti(tmp_path / "out" / "day_0000" / "segmentation.nii.gz")
    np.testing.assert_array_equal(image.data > 0, mask)
    if write is write_rtstruct:
        positions = pydicom.dcmread(path).PerFrameFunctionalGroupsSequence
        for contour in pydicom.dcmread(made).ROIContourSequence[0].ContourSequence:
            frame = positions[contour.ContourImageSequence[0].ReferencedFrameNumber - 1]
            origin = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
            assert abs((np.array(contour.ContourData[:3], float) - origin) @ OBLIQUE[:, 2]) < 1e-3


def test_a_dose_is_written_on_the_frames(tmp_path):
    write_enhanced(tmp_path / "dicom" / "e")
    source = read_source(tmp_path / "dicom")
    dataset = pydicom.dcmread(write_rtdose(tmp_path / "d.dcm", np.ones(SHAPE), affine_of(), source))
    assert sorted(item.ReferencedFrameNumber for item in dataset.ReferencedImageSequence) == list(range(1, 8))
    np.testing.assert_allclose(dataset.pixel_array * float(dataset.DoseGridScaling), 1.0, rtol=1e-6)


def test_seg_on_several_volumes_of_one_file_is_refused(tmp_path):
    write_enhanced(tmp_path / "dicom" / "e", stored_voxels((*SHAPE, 2)))
    with pytest.raises(InputError, match="a multi-frame file of several volumes; a SEG is written on a single one"):
        write_seg(tmp_path / "x.dcm", {"GTV": np.ones(SHAPE)}, affine_of(), read_source(tmp_path / "dicom"))


def refused(tmp_path, match, rules=None) -> None:
    with pytest.raises(InputError, match=match) as caught:
        convert_dicom(tmp_path / "dicom", tmp_path / "out", rules)
    assert "\n" not in str(caught.value) and not list((tmp_path / "out").glob("*"))


def test_frames_that_are_not_described(tmp_path):
    change(write_enhanced(tmp_path / "dicom" / "e"), NumberOfFrames=8)
    refused(tmp_path, "e has 8 frames and describes 7; export it again")


def test_a_frame_without_a_place(tmp_path):
    write_enhanced(tmp_path / "dicom" / "e", frames=[{}, {}, {}, {"PlanePositionSequence": {}}, {}, {}, {}])
    refused(tmp_path, r"e frame \d: ImagePositionPatient is missing or malformed")


def test_a_file_of_several_orientations(tmp_path):
    other = {"PlaneOrientationSequence": {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}}
    write_enhanced(tmp_path / "dicom" / "e", frames=[{}, {}, {}, other, other, other, other])
    refused(tmp_path, r"mixes orientations \(e frame \d, e frame \d\); split it")


def test_a_file_that_lacks_a_slice(tmp_path):
    places = ((affine_lps() @ [0, 0, k, 1]).tolist() for k in (0, 1, 2, 4, 5, 6, 7))
    gap = [{"PlanePositionSequence": {"ImagePositionPatient": [f"{x:.8g}" for x in place]}} for place in places]
    write_enhanced(tmp_path / "dicom" / "e", frames=gap)
    refused(tmp_path, r"has a gap: e frame \d and e frame \d are 6\.00 mm apart, others 3\.00 mm")


def affine_lps() -> np.ndarray:
    return (np.diag([-1, -1, 1, 1]) @ affine_of())[:3]


def test_several_echoes_in_one_file(tmp_path):
    echoes = [{"MREchoSequence": {"EffectiveEchoTime": 5.0 * t}} for t in (1, 2) for _ in range(7)]
    echoes = [groups | {"TemporalPositionSequence": {}} for groups in echoes]
    write_enhanced(tmp_path / "dicom" / "e", stored_voxels((*SHAPE, 2)), frames=echoes)
    refused(tmp_path, r"e frame \d+ and e frame \d+ show the same slice; .*several echoes or b-values")


def test_a_truncated_file(tmp_path):
    path = write_enhanced(tmp_path / "dicom" / "e")
    path.write_bytes(path.read_bytes()[:-60])
    refused(tmp_path, r"e frame \d is truncated: pixels are missing|e is corrupt or truncated")


def test_absurd_sizes_are_refused_from_the_header(tmp_path):
    write_enhanced(tmp_path / "dicom" / "e", Rows=60_000, Columns=60_000)
    refused(tmp_path, r"claims 25200000000 voxels, the limit is \d+")


def test_other_multi_frame_kinds(tmp_path):
    write_enhanced(tmp_path / "dicom" / "e", sop_class=MultiFrameGrayscaleWordSecondaryCaptureImageStorage)
    refused(tmp_path, "e is multi-frame, and no enhanced CT, MR or PET; export the series as one file a slice")


@pytest.mark.parametrize(
    ("syntax", "match"),
    [
        (JPEGLossless, "cannot be decoded; export it uncompressed, or install pylibjpeg-"),
        (RLELossless, "are corrupt"),
    ],
)
def test_pixels_that_cannot_be_read(tmp_path, syntax, match):
    path = write_enhanced(tmp_path / "dicom" / "e")
    dataset = pydicom.dcmread(path)
    dataset.PixelData = encapsulate([b"\xff\xd8nothing" * 8] * SHAPE[2])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path)
    refused(tmp_path, match)
