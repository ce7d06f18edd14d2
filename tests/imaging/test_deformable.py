"""Deformable registration: a known deformation comes back, tumours keep their volume, and results go home."""

import json

import numpy as np
import pytest
from phantom import dice
from scipy import ndimage

from twinjax.core.errors import InputError
from twinjax.domain import resample
from twinjax.imaging import (
    ExistingMaskSegmenter,
    ImagingPipeline,
    ImagingRecord,
    brain_template,
    labels,
    read_nifti,
    write_nifti,
)
from twinjax.imaging.deformable import deform
from twinjax.imaging.deformation import Deformation, jacobian_determinant
from twinjax.imaging.placement import Placement, resample_placed

VOXEL = 3.0
# Of the tumour at the first and the second visit, mm; and where it is.
RADII, CENTRE = (10.0, 16.0), np.array([-30.0, -20.0, 25.0])
TURN = np.eye(4)
TURN[:2, :2] = [[np.cos(0.08), -np.sin(0.08)], [np.sin(0.08), np.cos(0.08)]]
TURN[:3, 3] = [3.0, -4.0, 2.5]


def preprocessing():
    """Without the resampling to 1 mm, which would cost time here."""
    from monai.transforms import Compose, EnsureChannelFirst, LoadImage

    return Compose([LoadImage(image_only=True), EnsureChannelFirst()])


def points_of(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return affine[:3, :3] @ np.indices(shape).reshape(3, -1) + affine[:3, 3:]


def smooth_deformation(seed: int) -> Deformation:
    """Of a head, by up to 9 mm, as smooth as noise that was blurred by 24 mm."""
    template = brain_template(VOXEL)
    affine = template.affine.copy()
    rng = np.random.default_rng(seed)
    noise = (rng.standard_normal(template.shape) for _ in range(3))
    field = np.stack([ndimage.gaussian_filter(n, 24 / VOXEL) for n in noise], axis=-1)
    return Deformation.create(field * 9.0 / np.linalg.norm(field, axis=-1).max(), affine)


def write_head(folder, affine, shape, to_template: Placement, radius: float, seed: int, names=("T1",)) -> None:
    """The template's T1 (and its negative as T2) with a ball of tumour, where `to_template` leads; and the masks."""
    folder.mkdir(parents=True)
    template = brain_template(VOXEL)
    t1 = np.asarray(template.image("T1")) / template.image("T1").max()
    place = to_template.points(points_of(affine, shape)).reshape(3, *shape)
    tumor = np.linalg.norm(place - CENTRE[:, None, None, None], axis=0) < radius
    head = resample_placed(t1, template.affine, affine, shape, to_template)
    mask = head > 0.1
    rng = np.random.default_rng(seed)
    for name in names:
        image = np.where(tumor, 1.3, head if name == "T1" else 1.2 - head)
        image = np.maximum(image + 0.03 * rng.standard_normal(shape), 1e-3) * (mask | tumor)
        write_nifti(folder / f"{name}.nii.gz", image, affine)
    maps = {
        "brain_mask": mask | tumor,
        "segmentation": tumor * labels.ENHANCING,
        "white_matter": head * (head <= 1),
        "grey_matter": np.zeros(shape, np.float32),
    }
    for name, array in maps.items():
        write_nifti(folder / f"{name}.nii.gz", array, affine)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """`(raw, output, processed, truth)`: a head with a growing tumour that is bent and turned at the second visit, on a
    grid of its own; `truth` leads from the space of the first visit to that of the second."""
    raw, output = tmp_path_factory.mktemp("raw"), tmp_path_factory.mktemp("processed") / "p"
    template = brain_template(VOXEL)
    bend = smooth_deformation(0)
    write_head(raw / "day_0000", template.affine, template.shape, Placement((bend,)), RADII[0], 1)
    turned = TURN @ template.affine @ np.diag([0.95, 1.1, 1.15, 1.0])
    shape = (68, 72, 56)
    write_head(raw / "day_0030", turned, shape, Placement((np.linalg.inv(TURN),)), RADII[1], 2)
    pipeline = ImagingPipeline(
        ["T1"], preprocessing(), segmentation_model=ExistingMaskSegmenter(), registration="deformable"
    )
    return raw, output, pipeline.process(raw, output), Placement((bend, TURN))


@pytest.mark.thorough
def test_a_known_deformation_is_recovered(folders):
    """Within 0.8 mm in the mean, where the head was bent by 2 and the tumour is not near."""
    _, _, processed, truth = folders
    first = processed["scan_baseline"]
    points = points_of(first.affine, first.shape)[:, first.brain_mask.ravel()][:, ::13]
    points = points[:, np.linalg.norm(truth.steps[0](points) - CENTRE[:, None], axis=0) > 30]
    found = processed.record.visit(30).placements["T1"]
    left = np.linalg.norm(found.points(points) - truth.points(points), axis=0)
    assert np.linalg.norm(truth.steps[0](points) - points, axis=0).mean() > 1.9
    assert left.mean() < 0.8 and np.percentile(left, 95) < 1.6
    # There and back, between the nodes of both fields.
    assert np.abs(found.inverted().points(found.points(points)) - points).max() < 0.15


@pytest.mark.thorough
def test_a_growing_tumour_is_not_registered_away(folders):
    _, _, processed, _ = folders
    step = processed.record.visit(30).placements["T1"].steps[0]
    first = processed["scan_baseline"]
    grid = step.affine, step.displacement.shape[:3]
    inside = resample(ndimage.binary_erosion(first.whole_tumor).astype(np.float32), first.affine, *grid) > 0.9
    assert inside.sum() > 30
    np.testing.assert_allclose(jacobian_determinant(step.displacement, step.affine)[inside], 1.0, atol=0.02)
    volume = processed["scan_followup"].whole_tumor.sum() * VOXEL**3
    assert volume == pytest.approx(4 / 3 * np.pi * RADII[1] ** 3, rel=0.05)


@pytest.mark.thorough
def test_deformable_lays_tissue_on_the_baseline_better_than_rigid(folders):
    raw, _, processed, _ = folders
    options = {"preprocessing": preprocessing(), "segmentation_model": ExistingMaskSegmenter()}
    rigid = ImagingPipeline(["T1"], **options).process(raw)
    first = processed["scan_baseline"]
    free, stiff = (
        np.abs(p["scan_followup"].image("T1") - first.image("T1"))[first.brain_mask & ~first.whole_tumor].mean()
        for p in (processed, rigid)
    )
    assert free < 0.8 * stiff


@pytest.mark.thorough
def test_masks_of_a_bent_visit_go_back_to_its_file(folders):
    raw, output, processed, _ = folders
    record, scan = ImagingRecord.load(output), processed["scan_followup"]
    for name, mask in (("segmentation", scan.segmentation), ("brain_mask", scan.brain_mask)):
        given = read_nifti(raw / "day_0030" / f"{name}.nii.gz")
        back, affine = record.restored(mask, "T1", day=30)
        np.testing.assert_array_equal(affine, given.affine)
        assert dice(back > 0, given.data > 0) > {"segmentation": 0.98, "brain_mask": 0.99}[name]


@pytest.mark.thorough
def test_the_deformation_is_recorded_with_its_inverse(folders):
    _, output, processed, _ = folders
    step = processed.record.visit(30).steps[-3]
    assert step.startswith("rigid motion and deformation by up to ") and "Jacobian determinant" in step
    files = json.loads((output / "imaging.json").read_text())["visits"][1]["originals"]["T1"]["placement"][0]
    assert files == {"deformation": "deformation_00.nii.gz", "inverse": "inverse_deformation_00.nii.gz"}
    assert sorted(p.name for p in output.glob("*deformation*")) == sorted(files.values())
    points = np.array([[10.0, -8.0], [5.0, 12.0], [-6.0, 33.0]])
    saved, found = (r.visit(30).placements["T1"] for r in (ImagingRecord.load(output), processed.record))
    np.testing.assert_allclose(saved.points(points), found.points(points), atol=1e-4)
    np.testing.assert_allclose(saved.inverted().points(points), found.inverted().points(points), atol=1e-4)


@pytest.mark.slow
def test_images_of_one_visit_bend_onto_each_other(tmp_path):
    """T2 was taken of a bent head, in another contrast: half of the bend is found, and masks go back into its file."""
    template, bend = brain_template(VOXEL), Placement((smooth_deformation(3),))
    # A slab through the tumour, for the sake of time.
    slab = template.affine @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 20], [0, 0, 0, 1.0]])
    shape = (*template.shape[:2], 28)
    write_head(tmp_path / "p", slab, shape, Placement(), RADII[0], 1, names=("T1", "T2"))
    write_head(tmp_path / "bent", slab, shape, bend, RADII[0], 1, names=("T2",))
    (tmp_path / "bent" / "T2.nii.gz").replace(tmp_path / "p" / "T2.nii.gz")
    pipeline = ImagingPipeline(
        ["T1", "T2"],
        preprocessing(),
        segmentation_model=ExistingMaskSegmenter(),
        align_within_visit="deformable",
    )
    processed = pipeline.process(tmp_path / "p")
    scan, found = processed["scan_baseline"], processed.record.visit().placements["T2"]
    points = points_of(scan.affine, scan.shape)[:, scan.brain_mask.ravel()][:, ::13]
    there = bend.inverted().points(points)
    left, before = (np.linalg.norm(at - there, axis=0).mean() for at in (found.points(points), points))
    assert before > 1.3 and left < 0.65 * before
    back = processed.record.restored(scan.brain_mask, "T2")[0]
    assert dice(back, read_nifti(tmp_path / "bent" / "brain_mask.nii.gz").data > 0) > 0.98


def test_folding_is_refused():
    field = np.zeros((8, 8, 8, 3))
    field[4:, ..., 0] = -7.0
    with pytest.raises(InputError, match=r"folds tissue \(lowest Jacobian determinant -0\.17\).*set reg.* to rigid"):
        Deformation.create(field, np.diag([3.0, 3.0, 3.0, 1.0]))


@pytest.mark.parametrize("stretch", [-0.6, 1.8])
def test_steep_deformations_are_inverted(stretch):
    """Stretched to 2.8 times or squeezed to 0.4 along one axis, where a plain iteration would swing or crawl."""
    place = 3.0 * np.arange(24.0)
    field = np.zeros((24, 4, 4, 3))
    field[..., 0] = stretch * np.clip(place - 30.0, 0, 18.0)[:, None, None]
    found = Deformation.create(field, np.diag([3.0, 3.0, 3.0, 1.0]))
    points = np.array([[10.0, 33.0, 41.0, 60.0], [5.0] * 4, [5.0] * 4])
    np.testing.assert_allclose(found.inverted()(found(points)), points, atol=0.05)


def test_too_little_tissue_to_register_by():
    image = np.pad(np.ones((8, 8, 8), np.float32), 4)
    with pytest.raises(InputError, match="leave too little of the organ to register by; use rigid"):
        deform(image, image, np.diag([2.0, 2.0, 2.0, 1.0]), organ=image > 0, tumor=image > 0)


def test_registration_is_named():
    with pytest.raises(InputError, match="align_within_visit must be one of none, rigid, deformable, got 'affine'"):
        ImagingPipeline(["T1"], align_within_visit="affine")
