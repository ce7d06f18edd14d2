"""Through the pipeline and back: an oblique anisotropic scan of a head that has moved."""

import numpy as np
import pytest
from phantom import anatomy, dice, grid, write_visit

from twinjax.core.errors import InputError
from twinjax.imaging import ExistingMaskSegmenter, ImagingPipeline, ImagingRecord, read_nifti, write_nifti

MOVED = np.eye(4)
MOVED[:2, :2] = [[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]]
MOVED[:3, 3] = [2.5, -3.0, 2.0]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """`(raw, output, processed)` of two visits with masks of their own."""
    raw, output = tmp_path_factory.mktemp("raw"), tmp_path_factory.mktemp("processed") / "p"
    for name, moved, geometry in (("day_0000", None, grid()), ("day_0030", MOVED, grid((44, 36, 30), (1.4, 1.6, 1.9)))):
        write_visit(raw / name, geometry=geometry, moved=moved)
        labels = anatomy(*geometry, moved=moved)[1]
        write_nifti(raw / name / "segmentation.nii.gz", labels, geometry[0])
    pipeline = ImagingPipeline(["T1", "T1CE", "T2", "FLAIR"], segmentation_model=ExistingMaskSegmenter())
    return raw, output, pipeline.process(raw, output)


@pytest.mark.parametrize(("day", "name"), [(0.0, "day_0000"), (30.0, "day_0030")])
def test_a_mask_comes_back_to_the_voxels_of_its_file(folders, day, name):
    raw, output, processed = folders
    record = ImagingRecord.load(output)
    given = read_nifti(raw / name / "segmentation.nii.gz")
    scan = dict(processed["visits"])[day]
    restored, affine = record.restored(scan.segmentation, "T1", day=day)
    np.testing.assert_array_equal(affine, given.affine)
    assert restored.shape == given.data.shape
    # The second visit was moved, and moved back.
    assert dice(restored > 0, given.data > 0) > (0.99 if day == 0 else 0.97)
    mask = read_nifti(raw / name / "brain_mask.nii.gz").data > 0
    back, _ = record.restored(scan.brain_mask, "T1", day=day)
    assert dice(back, mask) > 0.99


def test_the_record_tells_what_was_done(folders):
    record = ImagingRecord.load(folders[1])
    first, second = record.visits
    assert (
        first.steps[:2] == ("LoadImage", "EnsureChannelFirst")
        and "segmentation by ExistingMaskSegmenter" in first.steps
    )
    assert "rigid motion onto the baseline" in second.steps and "rigid motion onto the baseline" not in first.steps
    assert set(first.originals) == {"T1", "T1CE", "T2", "FLAIR", "ADC"}
    assert first.placements["T1"].steps == () and second.placements["T1"].matrix is not None


def test_values_come_back_too(folders):
    """A field that is linear in space is the same in every grid."""
    record = ImagingRecord.load(folders[1])
    affine, shape = record.grid
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
    field = 5 + 0.1 * (np.einsum("ij,jxyz->ixyz", affine[:3, :3], index) + affine[:3, 3, None, None, None])[1]
    restored, to = record.restored(field.astype(np.float32), "ADC")
    index = np.stack(np.meshgrid(*map(np.arange, restored.shape), indexing="ij"))
    expected = 5 + 0.1 * (np.einsum("ij,jxyz->ixyz", to[:3, :3], index) + to[:3, 3, None, None, None])[1]
    inside = restored != 0
    assert inside.mean() > 0.3
    middle = tuple(slice(n // 3, 2 * n // 3) for n in restored.shape)
    np.testing.assert_allclose(restored[middle], expected[middle], atol=1e-3)


def test_what_the_record_does_not_have(folders, tmp_path):
    record = ImagingRecord.load(folders[1])
    array = np.zeros(record.grid.shape)
    with pytest.raises(InputError, match="no visit on day 7"):
        record.restored(array, "T1", day=7)
    with pytest.raises(InputError, match="day 0 has no PET; it has ADC, FLAIR, T1"):
        record.restored(array, "PET")
    with pytest.raises(InputError, match="the processed images"):
        record.restored(array[1:], "T1")
    with pytest.raises(InputError, match="imaging.json is missing"):
        ImagingRecord.load(tmp_path)
    (tmp_path / "imaging.json").write_text('{"grid": 3}')
    with pytest.raises(InputError, match="imaging.json is damaged"):
        ImagingRecord.load(tmp_path)
