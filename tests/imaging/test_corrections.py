"""What is corrected on the way: receive fields, images of one visit that do not lie on each other, skulls."""

import numpy as np
import pytest
from phantom import anatomy, grid, images, write_visit
from scipy import ndimage

from twinjax.imaging import ImagingPipeline, ThresholdSegmenter, brain_template, labels, write_nifti
from twinjax.imaging.anatomy import BrainAnatomy
from twinjax.imaging.preprocessing import without_bias_field

MODALITIES = ["T1", "T1CE", "T2", "FLAIR"]


def test_a_receive_field_is_taken_out():
    affine, shape = grid((48, 48, 32))
    tissue, _ = anatomy(affine, shape)
    head, white = tissue > 0, tissue == 3
    clean = images(affine, shape, names=("T1",), noise=0.01)["T1"]
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    field = np.exp(0.8 * axes[0] - 0.6 * axes[1] ** 2)
    corrected = without_bias_field(clean * field, head)

    def spread(image):
        return image[white].std() / image[white].mean()

    assert spread(clean * field) > 0.15
    assert spread(corrected) < 0.5 * spread(clean * field)
    assert corrected[head].mean() == pytest.approx((clean * field)[head].mean(), rel=1e-4)


def test_images_of_one_visit_are_laid_on_each_other(tmp_path):
    """T2 was taken after the head had turned by six degrees and moved by 3 mm."""
    moved, turn = np.eye(4), np.deg2rad(6)
    moved[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    moved[:3, 3] = [1.5, -2.5, 1.0]
    folder = write_visit(tmp_path / "moved" / "day_0000")
    affine, shape = grid()
    write_nifti(folder / "T2.nii.gz", images(affine, shape, names=("T2",), moved=moved)["T2"], affine)
    write_visit(tmp_path / "still" / "day_0000")
    found = {
        align: ImagingPipeline(MODALITIES, registration="none", align_within_visit=align).process(tmp_path / "moved")
        for align in ("none", "rigid")
    }
    reference = ImagingPipeline(MODALITIES, registration="none").process(tmp_path / "still")

    def contrast(scan):
        """T2 of the fluid over that of the tissue around it, where T1 has them."""
        tissue, _ = anatomy(scan.affine, scan.shape)
        return scan.image("T2")[tissue == 1].mean() / scan.image("T2")[tissue == 2].mean()

    apart, aligned, true = (contrast(p["scan_baseline"]) - 1 for p in (*found.values(), reference))
    # The head is small and its fluid 3 mm thin: what registration leaves, about a millimetre, costs some contrast.
    assert aligned - apart > 0.5 * (true - apart) > 0.1
    steps = found["rigid"].record.visit().steps
    assert "rigid motion of T2 onto T1" in steps and "rigid motion of FLAIR onto T1" not in steps


@pytest.mark.slow
def test_the_skull_is_taken_off():
    """The ICBM152 brain in shells of fluid, bone and scalp of our own making."""
    template = brain_template(2.0)
    brain = template.brain_mask
    depth = 2 * ndimage.distance_transform_edt(~brain)
    shells = [(depth > 0) & (depth <= 4), (depth > 4) & (depth <= 9), (depth > 9) & (depth <= 15)]
    head = np.select(shells, [60.0, 30.0, 700.0], 800 * template.image("T1"))
    head = np.abs(head + 20 * np.random.default_rng(0).standard_normal(head.shape)).astype(np.float32)
    found = BrainAnatomy(skull="strip").organ({"T1": head}, template.affine)
    assert 2 * (found & brain).sum() / (found.sum() + brain.sum()) > 0.94


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_the_brightest_region_is_grown(noise):
    """A ball with a bright core in an organ with a bright vessel: the ball alone, core and rim."""
    axes = np.meshgrid(*[np.arange(40) - 19.5] * 3, indexing="ij")
    distance = np.sqrt(sum(axis**2 for axis in axes))
    vessel = (np.abs(axes[0] - 14) < 0.6) & (np.abs(axes[1]) < 0.6)
    image = np.select([distance < 6, distance < 9, vessel], [1.0, 0.5, 1.0], 0.1)
    image = image + noise * np.random.default_rng(0).standard_normal(image.shape)
    organ = distance < 19
    found = ThresholdSegmenter("T1CE").segment({"T1CE": image}, np.eye(4), organ)
    for region, truth in ((found > 0, distance < 9), (found == labels.ENHANCING, distance < 6)):
        assert 2 * (region & truth).sum() / (region.sum() + truth.sum()) > 0.95
    assert not found[vessel].any()


def test_no_tumour_where_nothing_is_bright():
    organ = np.ones((20, 20, 20), bool)
    assert not ThresholdSegmenter("T2").segment({"T2": np.full(organ.shape, 3.0)}, np.eye(4), organ).any()
    speck = np.zeros(organ.shape)
    speck[9:12, 9:12, 9:12] = 1.0
    assert not ThresholdSegmenter("T2").segment({"T2": speck}, np.eye(4), organ).any()
    assert ThresholdSegmenter("T2", minimum_volume_mm3=5).segment({"T2": speck}, np.eye(4), organ).any()
