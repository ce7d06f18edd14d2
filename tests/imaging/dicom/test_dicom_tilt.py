"""CT of a tilted gantry: slices that shift sideways by equal steps stay what they are, and come to a straight grid."""

import numpy as np
import pydicom
import pytest
from dicom_series import write_series

from twinjax.imaging import ExistingMaskSegmenter, ImagingPipeline, read_nifti, write_nifti
from twinjax.imaging.anatomy import OrganAnatomy
from twinjax.imaging.dicom import (
    convert_dicom,
    read_rtstruct,
    read_seg,
    read_source,
    write_rtdose,
    write_rtstruct,
    write_seg,
)
from twinjax.imaging.grid import straight_grid

SHAPE, SPACING = (40, 36, 16), (1.5, 1.5, 3.0)
# Sideways shift of a slice against the one below, mm: 20 degrees.
SHIFT = 3.0 * np.tan(np.deg2rad(20))
CENTRE, RADIUS = np.array([29.0, 40.0, 22.0]), 13.0


def affine() -> np.ndarray:
    """LPS to RAS of the tilted grid."""
    lps = np.array([[1.5, 0, 0, 0], [0, 1.5, SHIFT, 0], [0, 0, 3.0, 0], [0, 0, 0, 1]])
    return np.diag([-1, -1, 1, 1]) @ lps


def ball(grid: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Voxels in the ball, on any grid (RAS)."""
    index = np.indices(shape).reshape(3, -1)
    place = np.diag([-1, -1, 1]) @ (grid[:3, :3] @ index + grid[:3, 3:])
    return (np.linalg.norm(place - CENTRE[:, None], axis=0) < RADIUS).reshape(shape)


@pytest.fixture
def folder(tmp_path):
    """A tilted CT: a ball of 40 HU in air."""
    voxels = np.where(ball(affine(), SHAPE), 1064, 24).astype(np.uint16)
    slices = [{"ImagePositionPatient": [0, f"{SHIFT * k:.8f}", 3 * k]} for k in range(SHAPE[2])]
    header = {"RescaleSlope": 1, "RescaleIntercept": -1024, "PixelSpacing": [1.5, 1.5]}
    write_series(tmp_path / "dicom", voxels, modality="CT", rotation=np.eye(3), slices=slices, **header)
    return tmp_path / "dicom"


def test_the_shear_is_in_the_affine(folder, tmp_path):
    convert_dicom(folder, tmp_path / "out")
    image = read_nifti(tmp_path / "out" / "day_0000" / "CT.nii.gz")
    np.testing.assert_allclose(image.affine, affine(), atol=1e-5)
    np.testing.assert_array_equal(image.data > 0, ball(affine(), SHAPE))


@pytest.mark.parametrize(("write", "read"), [(write_seg, read_seg), (write_rtstruct, read_rtstruct)])
def test_masks_come_back_from_tilted_slices(folder, tmp_path, write, read):
    mask = ball(affine(), SHAPE)
    path = write(tmp_path / "mask.dcm", {"GTV": mask}, affine(), read_source(folder))
    np.testing.assert_array_equal(read(path, affine(), SHAPE)["GTV"], mask)


def test_the_pipeline_works_on_a_straight_grid_and_goes_back(folder, tmp_path):
    write_rtstruct(folder / "mask.dcm", {"GTV": ball(affine(), SHAPE)}, affine(), read_source(folder))
    convert_dicom(folder, tmp_path / "raw")
    write_nifti(tmp_path / "raw" / "day_0000" / "organ_mask.nii.gz", np.ones(SHAPE, bool), affine())
    pipeline = ImagingPipeline(["CT"], segmentation_model=ExistingMaskSegmenter(), anatomy=OrganAnatomy())
    processed = pipeline.process(tmp_path / "raw")
    scan = processed["scan_baseline"]
    axes = scan.affine[:3, :3]
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-6)
    truth = ball(scan.affine, scan.shape)
    overlap = 2 * (scan.whole_tumor & truth).sum() / (scan.whole_tumor.sum() + truth.sum())
    # Of a ball of 13 mm on slices of 3 mm.
    assert overlap > 0.93
    assert scan.whole_tumor.sum() == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.03)
    assert (scan.image("CT")[truth] > -400).mean() > 0.9
    back, to = processed.record.restored(scan.segmentation, "CT")
    np.testing.assert_allclose(to, affine(), atol=1e-5)
    given = ball(affine(), SHAPE)
    assert 2 * ((back > 0) & given).sum() / ((back > 0).sum() + given.sum()) > 0.99


def test_a_dose_is_written_on_straight_planes(folder, tmp_path):
    place = np.diag([-1, -1, 1]) @ (affine()[:3, :3] @ np.indices(SHAPE).reshape(3, -1) + affine()[:3, 3:])

    def dose_at(points: np.ndarray) -> np.ndarray:
        return 60 * np.exp(-0.5 * ((points - CENTRE[:, None]) ** 2).sum(axis=0) / 12.0**2)

    path = write_rtdose(tmp_path / "dose.dcm", dose_at(place).reshape(SHAPE), affine(), read_source(folder))
    dataset = pydicom.dcmread(path)
    values = dataset.pixel_array * float(dataset.DoseGridScaling)
    plane, row, column = np.nonzero(values > 6)
    steps = [*map(float, dataset.PixelSpacing), float(dataset.GridFrameOffsetVector[1])]
    index = np.stack([column * steps[1], row * steps[0], plane * steps[2]])
    place = np.array(dataset.ImagePositionPatient, float)[:, None] + index
    assert len(plane) > 3000
    np.testing.assert_allclose(values[plane, row, column], dose_at(place), atol=1.5)


def test_a_straight_grid_stays(folder):
    grid = straight_grid(np.diag([-1.0, 2.0, 3.0, 1.0]), (4, 5, 6))
    np.testing.assert_array_equal(grid.affine, np.diag([-1.0, 2.0, 3.0, 1.0]))
    assert grid.shape == (4, 5, 6)
    sheared = straight_grid(affine(), SHAPE)
    corners = np.linalg.inv(sheared.affine) @ affine() @ np.array([[0, 0, 0, 1], [39, 35, 15, 1], [0, 35, 0, 1]]).T
    assert (corners[:3] > -0.51).all() and (np.array(sheared.shape) - 0.49 > corners[:3].T).all()
