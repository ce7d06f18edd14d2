"""Masks and maps written as SEG, RTSTRUCT and RTDOSE, and read back."""

from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_series import FRAME, OBLIQUE, ORIGIN, PATIENT, SHAPE, SPACING, STUDY, affine_of, change, write_series
from pydicom.encaps import encapsulate
from scipy import ndimage
from scipy.spatial.transform import Rotation

from twinjax.core.errors import InputError
from twinjax.domain import resample
from twinjax.imaging.dicom import read_rtstruct, read_seg, read_source, write_rtdose, write_rtstruct, write_seg
from twinjax.imaging.dicom.polygon import fill, outlines

BIG = (48, 40, 10)


def shell(shape=BIG, affine: np.ndarray | None = None) -> np.ndarray:
    """A ball with a hole, an island in the hole, and a second piece; mm in the space of the grid."""
    affine = affine_of() if affine is None else affine
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    points = index @ affine[:3, :3].T + affine[:3, 3]
    first = affine_of()
    centre = (first @ [24, 20, 5, 1])[:3]
    radius = np.linalg.norm(points - centre, axis=-1)
    second = np.linalg.norm(points - (first @ [40, 8, 5, 1])[:3], axis=-1) < 5
    return ((radius < 13) & (radius > 7)) | (radius < 3.2) | second


def dice(one: np.ndarray, two: np.ndarray) -> float:
    return 2 * float((one & two).sum()) / float(one.sum() + two.sum())


@pytest.fixture
def source(tmp_path):
    write_series(tmp_path / "source", np.zeros(BIG, np.uint16))
    return tmp_path / "source"


@pytest.mark.parametrize(("write", "read"), [(write_seg, read_seg), (write_rtstruct, read_rtstruct)])
def test_masks_come_back(tmp_path, source, write, read):
    masks = {"core": shell(), "all": np.ones(BIG, bool), "Œdème": ndimage.binary_dilation(shell())}
    path = write(tmp_path / "mask.dcm", masks, affine_of(), read_source(source))
    found = read(path, affine_of(), BIG)
    assert list(found) == list(masks)
    for name, mask in masks.items():
        np.testing.assert_array_equal(found[name], mask)


@pytest.mark.parametrize(("write", "read"), [(write_seg, read_seg), (write_rtstruct, read_rtstruct)])
def test_masks_of_another_grid_come_back_in_place(tmp_path, source, write, read):
    """A 1 mm grid that is turned against the source: what is written lies where it lay."""
    affine = np.eye(4)
    affine[:3, 3] = (affine_of() @ [24, 20, 5, 1])[:3] - 35
    shape = (70, 70, 70)
    mask = shell(shape, affine)
    path = write(tmp_path / "mask.dcm", {"core": mask}, affine, read_source(source))
    on_source = read(path, affine_of(), BIG)["core"]
    np.testing.assert_array_equal(on_source, resample(mask, affine, affine_of(), BIG, order=0))
    back = read(path, affine, shape)["core"]
    np.testing.assert_allclose(_centre(back, affine), _centre(mask, affine), atol=0.3)
    # An outline cuts the corners of pixels that resampling keeps.
    assert dice(back, resample(on_source, affine_of(), affine, shape, order=0)) > 0.96


def _centre(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    return (affine @ [*np.argwhere(mask).mean(axis=0), 1])[:3]


@pytest.mark.parametrize("write", [write_seg, write_rtstruct, write_rtdose])
def test_written_objects_belong_to_the_patient_and_the_study(tmp_path, source, write):
    content = np.ones(BIG) if write is write_rtdose else {"core": shell()}
    dataset = pydicom.dcmread(write(tmp_path / "x.dcm", content, affine_of(), read_source(source)))
    assert (dataset.PatientID, str(dataset.PatientName)) == (PATIENT, "Doe^Jane")
    assert (dataset.StudyInstanceUID, dataset.SeriesNumber) == (STUDY, 2)
    frame = dataset.get("FrameOfReferenceUID")
    assert frame == FRAME
    files = [pydicom.dcmread(path) for path in source.iterdir()]
    text = str(dataset)
    assert sum(str(file.SOPInstanceUID) in text for file in files) == BIG[2]
    assert dataset.SeriesInstanceUID != files[0].SeriesInstanceUID


@pytest.mark.parametrize("write", [write_seg, write_rtstruct])
def test_names_of_any_alphabet_are_kept(tmp_path, write):
    latin: dict[str, Any] = {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Zoë"}
    write_series(tmp_path / "source", **latin)
    mask = {"Œdème": np.ones(SHAPE, bool)}
    path = write(tmp_path / "x.dcm", mask, affine_of(), read_source(tmp_path / "source"))
    assert str(pydicom.dcmread(path).PatientName) == "Müller^Zoë"
    assert list((read_seg if write is write_seg else read_rtstruct)(path, affine_of(), SHAPE)) == ["Œdème"]


def test_contours_lie_on_the_slices_in_patient_space(tmp_path):
    """One pixel of a slice: its outline, by hand, half a pixel away in both directions."""
    write_series(tmp_path / "source")
    mask = np.zeros(SHAPE, bool)
    mask[4, 3, 2] = True
    dataset = pydicom.dcmread(
        write_rtstruct(tmp_path / "x.dcm", {"one": mask}, affine_of(), read_source(tmp_path / "source"))
    )
    contours = dataset.ROIContourSequence[0].ContourSequence
    assert len(contours) == 1
    points = np.reshape(contours[0].ContourData, (-1, 3)).astype(float)
    steps = np.array([[0.5, 0], [-0.5, 0], [0, 0.5], [0, -0.5]]) * SPACING[:2]
    expected = ORIGIN + OBLIQUE @ (np.array([4, 3, 2]) * SPACING) + steps @ OBLIQUE[:, :2].T
    distance = np.linalg.norm(points[:, None] - expected[None], axis=-1)
    np.testing.assert_allclose(distance.min(axis=0), 0, atol=2e-4)
    slices = {tuple(np.round(pydicom.dcmread(p).ImagePositionPatient, 3)): p for p in (tmp_path / "source").iterdir()}
    place = tuple(np.round(ORIGIN + OBLIQUE[:, 2] * SPACING[2] * 2, 3))
    referenced = contours[0].ContourImageSequence[0].ReferencedSOPInstanceUID
    assert pydicom.dcmread(slices[place]).SOPInstanceUID == referenced


def test_hole_as_a_contour_of_its_own_is_a_hole(tmp_path, source):
    path = write_rtstruct(tmp_path / "x.dcm", {"core": np.ones(BIG, bool)}, affine_of(), read_source(source))
    dataset = pydicom.dcmread(path)
    sequence = dataset.ROIContourSequence[0].ContourSequence
    lps = np.diag([-1, -1, 1, 1]) @ affine_of()
    for slice_ in range(BIG[2]):
        square = np.array([[9.5, 9.5], [20.5, 9.5], [20.5, 30.5], [9.5, 30.5]])
        points = np.column_stack([square, np.full(4, slice_), np.ones(4)]) @ lps.T
        item = pydicom.Dataset()
        item.ContourGeometricType, item.NumberOfContourPoints = "CLOSED_PLANAR", 4
        item.ContourData = [f"{x:.4f}" for x in points[:, :3].ravel()]
        sequence.append(item)
    dataset.save_as(path)
    expected = np.ones(BIG, bool)
    expected[10:21, 10:31] = False
    np.testing.assert_array_equal(read_rtstruct(path, affine_of(), BIG)["core"], expected)


def test_finer_slices_take_the_nearest_plane(tmp_path, source):
    path = write_rtstruct(tmp_path / "x.dcm", {"core": shell()}, affine_of(), read_source(source))
    fine = affine_of() @ np.diag([1, 1, 0.5, 1])
    found = read_rtstruct(path, fine, (*BIG[:2], 2 * BIG[2]))["core"]
    np.testing.assert_array_equal(found[:, :, ::2], shell())


@pytest.mark.parametrize("seed", range(20))
def test_outlines_and_filling_are_inverse(seed):
    mask = np.random.default_rng(seed).random((17, 13)) < 0.3 + 0.02 * seed
    np.testing.assert_array_equal(fill(outlines(mask), mask.shape), mask)


def test_outlines_join_holes_by_a_channel():
    mask = np.ones((9, 9), bool)
    mask[2:4, 2:4] = mask[6, 6] = False
    polygons = outlines(mask)
    assert len(polygons) == 1
    np.testing.assert_array_equal(fill(polygons, mask.shape), mask)


@pytest.mark.parametrize("peak", [62.5, 3e-4, 0.0])
def test_dose_comes_back_within_its_scaling(tmp_path, source, peak):
    values = np.random.default_rng(0).random(BIG) * peak
    path = write_rtdose(tmp_path / "dose.dcm", values, affine_of(), read_source(source), units="RELATIVE")
    dataset = pydicom.dcmread(path)
    scaling = float(dataset.DoseGridScaling)
    found = dataset.pixel_array.astype(float).transpose(2, 1, 0) * scaling
    np.testing.assert_allclose(found, values, atol=scaling + 1e-6 * peak)
    assert scaling < 1e-8 * max(peak, 1)
    assert dataset.DoseUnits == "RELATIVE"


def test_dose_lies_where_it_was(tmp_path, source):
    values = np.random.default_rng(0).random(BIG)
    path = write_rtdose(tmp_path / "dose.dcm", values, affine_of(), read_source(source))
    image = sitk.ReadImage(str(path))
    scaling = float(pydicom.dcmread(path).DoseGridScaling)
    for index in ([0, 0, 0], [47, 3, 9], [20, 39, 4]):
        place = np.diag([-1, -1, 1]) @ image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(place, (affine_of() @ [*index, 1])[:3], atol=1e-3)
        assert image[index] * scaling == pytest.approx(values[tuple(index)], abs=1e-6)


def edited(path, function):
    dataset = pydicom.dcmread(path)
    function(dataset)
    dataset.save_as(path)
    return path


def _move(dataset, change_points):
    item = dataset.ROIContourSequence[0].ContourSequence[3]
    points = np.reshape(item.ContourData, (-1, 3)).astype(float)
    item.ContourData = [f"{x:.4f}" for x in change_points(points).ravel()]


def _tilt(points: np.ndarray) -> np.ndarray:
    return (points - points.mean(axis=0)) @ Rotation.from_euler("x", 20, degrees=True).as_matrix() + points.mean(axis=0)


@pytest.mark.parametrize(
    ("change_points", "match"),
    [
        (
            lambda p: p + 1.2 * OBLIQUE[:, 2],
            r"x\.dcm: 'core' lies on planes 1\.20 to 3\.00 mm apart, no multiples",
        ),
        (lambda p: p + np.outer(np.arange(len(p)) % 2, 2 * OBLIQUE[:, 2]), "points lie .* mm off its plane"),
        (_tilt, "contours of several directions"),
        (lambda p: p * 1e7, "several directions|no multiples|off its plane|check its points"),
    ],
)
def test_contours_off_their_planes_are_refused(tmp_path, source, change_points, match):
    path = write_rtstruct(tmp_path / "x.dcm", {"core": shell()}, affine_of(), read_source(source))
    edited(path, lambda dataset: _move(dataset, change_points))
    with pytest.raises(InputError, match=match):
        read_rtstruct(path, affine_of(), BIG)


def test_broken_structure_sets_are_refused(tmp_path, source):
    path = write_rtstruct(tmp_path / "x.dcm", {"a": shell(), "b": shell()}, affine_of(), read_source(source))
    with pytest.raises(InputError, match=r"x\.dcm is no DICOM SEG"):
        read_seg(path, affine_of(), BIG)
    edited(path, lambda dataset: setattr(dataset.StructureSetROISequence[1], "ROIName", "a"))
    with pytest.raises(InputError, match=r"x\.dcm: two regions have one name"):
        read_rtstruct(path, affine_of(), BIG)
    edited(path, lambda dataset: delattr(dataset, "StructureSetROISequence"))
    with pytest.raises(InputError, match=r"x\.dcm is corrupt or incomplete"):
        read_rtstruct(path, affine_of(), BIG)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(InputError, match=r"x\.dcm is corrupt or truncated"):
        read_rtstruct(path, affine_of(), BIG)


def test_broken_segmentations_are_refused(tmp_path, source):
    path = write_seg(tmp_path / "x.dcm", {"a": shell()}, affine_of(), read_source(source))
    with pytest.raises(InputError, match=r"x\.dcm is no RTSTRUCT"):
        read_rtstruct(path, affine_of(), BIG)
    content = path.read_bytes()
    change(path, Rows=60_000, Columns=60_000)
    with pytest.raises(InputError, match=r"x\.dcm claims \d+ voxels, the limit is"):
        read_seg(path, affine_of(), BIG)
    path.write_bytes(content[:-60])
    with pytest.raises(InputError, match=r"x\.dcm is corrupt, truncated or of no regular grid"):
        read_seg(path, affine_of(), BIG)


def test_source_needs_no_pixels_that_can_be_read(tmp_path, source):
    """Only the geometry of the source is used: its pixels may be compressed in any way."""
    for path in source.iterdir():
        edited(path, lambda dataset: setattr(dataset, "PixelData", encapsulate([b"\0" * 8]) + b"\0" * BIG[0] * BIG[1]))
    assert write_rtdose(tmp_path / "x.dcm", np.ones(BIG), affine_of(), read_source(source)).is_file()


@pytest.mark.parametrize("write", [write_seg, write_rtstruct])
def test_masks_that_cannot_be_written(tmp_path, write):
    write_series(tmp_path / "dicom")
    write_series(tmp_path / "dicom", number=2, description="T2")
    mask = np.ones(SHAPE, bool)
    target = tmp_path / "out.dcm"
    with pytest.raises(InputError, match=r"several image series \(series 1 .*; series 2 .*\); choose one"):
        write(target, {"GTV": mask}, affine_of(), read_source(tmp_path / "dicom"))
    with pytest.raises(InputError, match="no image series of number 7"):
        write(target, {"GTV": mask}, affine_of(), read_source(tmp_path / "dicom", 7))
    with pytest.raises(InputError, match="'GTV' is empty on the source series"):
        write(target, {"GTV": ~mask}, affine_of(), read_source(tmp_path / "dicom", 1))
    with pytest.raises(InputError, match="there is none to write"):
        write(target, {}, affine_of(), read_source(tmp_path / "dicom", 1))
    with pytest.raises(InputError, match=r"GTV: an \(X, Y, Z\) array is written"):
        write(target, {"GTV": mask[0]}, affine_of(), read_source(tmp_path / "dicom", 1))
    assert not target.exists()


@pytest.mark.parametrize(("value", "units"), [(-1.0, "GY"), (np.nan, "GY"), (1.0, "SV")])
def test_maps_that_cannot_be_written(tmp_path, value, units):
    write_series(tmp_path / "dicom")
    with pytest.raises(InputError, match="values: an RTDOSE has no negative|units must be GY or RELATIVE"):
        write_rtdose(
            tmp_path / "x.dcm", np.full(SHAPE, value), affine_of(), read_source(tmp_path / "dicom"), units=units
        )


def test_source_without_frame_of_reference(tmp_path):
    write_series(tmp_path / "dicom", FrameOfReferenceUID=None)
    with pytest.raises(InputError, match=r"series 1 .* has no FrameOfReferenceUID"):
        write_rtdose(tmp_path / "x.dcm", np.ones(SHAPE), affine_of(), read_source(tmp_path / "dicom"))
