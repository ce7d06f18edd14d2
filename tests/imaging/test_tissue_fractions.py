"""Tissue classes of a synthetic brain: the template moved by a smooth field, with noise."""

from dataclasses import replace

import numpy as np
import pytest
from phantom import dice
from scipy import ndimage

from twinjax.core.errors import InputError
from twinjax.imaging import Scan, brain_template, labels
from twinjax.imaging.features import tissue_from_scan

TISSUES = ("fluid", "grey_matter", "white_matter")


@pytest.fixture(scope="module")
def patient():
    """A scan with the unmoved template as its tissue, and the true class of each voxel (index into `TISSUES`)."""
    template, rng = brain_template(2.0), np.random.default_rng(0)
    assert template.white_matter is not None and template.grey_matter is not None
    moves = [ndimage.gaussian_filter(rng.standard_normal(template.shape), 8) for _ in range(3)]
    place = np.indices(template.shape) + np.stack([move / move.std() for move in moves])
    maps = (template.white_matter, template.grey_matter, template.brain_mask.astype(np.float32))
    white, grey, brain = (ndimage.map_coordinates(image, place, order=1) for image in maps)
    brain = brain > 0.5
    fractions = np.stack([np.clip(1 - white - grey, 0, 1), grey, white], axis=-1)
    t1 = (fractions @ [0.35, 0.72, 1.0] + 0.03 * rng.standard_normal(brain.shape)) * brain
    tissue = {"white_matter": template.white_matter, "grey_matter": template.grey_matter}
    return Scan(template.affine, {"T1": t1.astype(np.float32)}, brain_mask=brain, **tissue), fractions.argmax(axis=-1)


def scores(fractions, truth, brain):
    found = np.stack(fractions, axis=-1).argmax(axis=-1)
    return [dice((found == index) & brain, (truth == index) & brain) for index in range(3)]


def test_the_scan_tells_more_than_the_template(patient):
    scan, truth = patient
    tissue = tissue_from_scan(scan)
    found = scores([getattr(tissue, name) for name in TISSUES], truth, scan.brain_mask)
    assert found[1] > 0.88 and found[2] > 0.9 and found[0] > 0.7
    alone = [1 - scan.white_matter - scan.grey_matter, scan.grey_matter, scan.white_matter]
    assert all(np.asarray(found) > np.asarray(scores(alone, truth, scan.brain_mask)) + 0.04)
    total = sum(tissue)
    np.testing.assert_allclose(total[scan.brain_mask], 1, atol=1e-5)
    assert (total[~scan.brain_mask] == 0).all()


def test_without_a_template_the_intensities_alone_decide(patient):
    scan, truth = patient
    tissue = tissue_from_scan(replace(scan, white_matter=None, grey_matter=None))
    found = scores([getattr(tissue, name) for name in TISSUES], truth, scan.brain_mask)
    assert found[1] > 0.85 and found[2] > 0.9


def test_the_tumour_is_left_to_the_template(patient):
    scan, _ = patient
    segmentation = np.zeros(scan.shape, np.int8)
    segmentation[30:45, 50:65, 40:55] = labels.ENHANCING
    bright = np.where(segmentation > 0, 5.0, scan.images["T1"]).astype(np.float32)
    tissue = tissue_from_scan(replace(scan, images={"T1": bright}, segmentation=segmentation))
    inside = (segmentation > 0) & scan.brain_mask
    for name in ("white_matter", "grey_matter"):
        np.testing.assert_allclose(getattr(tissue, name)[inside], getattr(scan, name)[inside], atol=1e-6)
    outside = scan.brain_mask & ~inside
    untouched = tissue_from_scan(scan)
    assert np.abs(tissue.white_matter - untouched.white_matter)[outside].mean() < 0.01
    with pytest.raises(InputError, match="template"):
        tissue_from_scan(replace(scan, segmentation=segmentation, white_matter=None))


def test_tissue_refuses(patient):
    scan, _ = patient
    with pytest.raises(InputError, match="brain mask"):
        tissue_from_scan(replace(scan, brain_mask=None))
    with pytest.raises(InputError, match="constant"):
        tissue_from_scan(replace(scan, images={"T1": np.ones(scan.shape, np.float32)}))
    with pytest.raises(InputError, match="T2"):
        tissue_from_scan(scan, "T2")
