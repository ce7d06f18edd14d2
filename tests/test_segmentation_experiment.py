"""The generator and the training of `experiments/segmentation`, in small."""

import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from twinjax.imaging import SegResNetSegmenter, labels

pytestmark = pytest.mark.thorough

FOLDER = Path(__file__).parent.parent / "experiments" / "segmentation"


@pytest.fixture(scope="module", autouse=True)
def modules():
    """The experiment's modules, which find each other by plain names."""
    pytest.importorskip("monai")
    sys.path.insert(0, str(FOLDER))
    yield
    sys.path.remove(str(FOLDER))
    for name in ("generate", "train", "evaluate"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def scan(modules):
    from generate import generate

    return generate(3, tumor_free=False)


def test_generated_scans_follow_from_their_seed(scan):
    from generate import generate

    same, other = generate(3, tumor_free=False), generate(4, tumor_free=False)
    assert (same.segmentation == scan.segmentation).all()
    assert all((same.images[name] == image).all() for name, image in scan.images.items())
    assert same.shape != other.shape or (same.segmentation != other.segmentation).any()


def test_a_scan_without_tumour_has_none_and_the_same_brain(scan):
    from generate import generate

    healthy = generate(3, tumor_free=True)
    assert not healthy.segmentation.any()
    assert (healthy.brain_mask == scan.brain_mask).all()
    far = ~ndimage.binary_dilation(scan.segmentation > 0, iterations=6) & scan.brain_mask
    # A tumour changes the scale of the contrast curve, not the order of the healthy tissue.
    assert np.corrcoef(healthy.images["FLAIR"][far], scan.images["FLAIR"][far])[0, 1] > 0.8


@pytest.mark.parametrize("seed", [3, 5, 8])
def test_necrosis_lies_in_enhancing_tumour_in_the_brain(seed):
    from generate import generate

    scan = generate(seed, tumor_free=False)
    found = scan.segmentation
    assert set(np.unique(found)) == {0, *labels.WHOLE_TUMOR}
    around = ndimage.binary_dilation(found == labels.NECROTIC) & (found != labels.NECROTIC)
    assert (found[around] == labels.ENHANCING).all()
    assert scan.brain_mask[found > 0].all()
    # Enhancing tumour is bright on T1CE, oedema on FLAIR.
    healthy = scan.brain_mask & (found == 0)
    assert np.median(scan.images["T1CE"][found == labels.ENHANCING]) > np.median(scan.images["T1CE"][healthy])
    assert np.median(scan.images["FLAIR"][found == labels.OEDEMA]) > np.median(scan.images["FLAIR"][healthy])


def test_another_process_generates_the_scans_of_a_run(scan):
    import train

    with train.generating(range(3, 5)) as scans:
        first, *others = scans.at(0)
        assert len(others) == 1 and scans.processor_seconds > 0
    labels_of, images = np.asarray(first["label"])[0], np.asarray(first["image"])
    assert labels_of.shape == images.shape[1:] and images.dtype == np.float16
    here = train.generated(3)
    np.testing.assert_array_equal(here.label[0], labels_of)
    np.testing.assert_array_equal(here.image, images)


def test_scans_come_one_by_one_as_training_goes_on():
    import train

    one = train.Generated(np.zeros((4, 2, 2, 2), np.float16), np.zeros((1, 2, 2, 2), np.int8), 1.0)
    scans = train.Scans(iter([one] * 20), 20)
    after = [0, train.STEPS_PER_SCAN - 1, train.STEPS_PER_SCAN, 10_000]
    assert [len(scans.at(step)) for step in after] == [*[train.FIRST_SCANS] * 2, train.FIRST_SCANS + 1, 20]


def test_training_lowers_the_loss_resumes_and_its_weights_segment(scan, tmp_path, monkeypatch):
    import train

    options = {"patients": 1, "steps": 20, "crop": 24, "seed": 0}
    monkeypatch.setattr(train, "generate", lambda seed: scan)
    # In this process, which has the scan already.
    monkeypatch.setattr(
        train, "generating", lambda seeds: nullcontext(train.Scans(map(train.generated, seeds), len(seeds)))
    )
    monkeypatch.setattr(train, "CHECKPOINT_EVERY", 5)
    # The same two places again and again: elsewhere the loss is another, whatever was learned.
    draw = train.crops
    monkeypatch.setattr(train, "crops", lambda scans, size, seed: draw(scans, size, [0, seed[1] % 2]))
    losses = train.train(tmp_path / "whole", **options).losses
    assert len(losses) == options["steps"]
    assert np.mean(losses[-6:]) < 0.9 * np.mean(losses[:6])

    drawn = []

    def stopped_once(scans, size, seed):
        drawn.append(seed[1])
        if drawn.count(13) == 1 and seed[1] == 13:
            raise KeyboardInterrupt
        return draw(scans, size, [0, seed[1] % 2])

    monkeypatch.setattr(train, "crops", stopped_once)
    with pytest.raises(KeyboardInterrupt):
        train.train(tmp_path / "parts", **options)
    np.testing.assert_allclose(train.train(tmp_path / "parts", **options).losses, losses, rtol=0.02)
    assert drawn == [*range(14), *range(10, 20)]
    # What is done is not done again, and other settings are no continuation.
    assert train.train(tmp_path / "parts", **options).losses == pytest.approx(losses, rel=0.02)
    assert len(drawn) == 24
    with pytest.raises(SystemExit, match="multiple of 8"):
        train.train(tmp_path / "small", **options | {"crop": 16})
    with pytest.raises(SystemExit, match="other settings"):
        train.train(tmp_path / "parts", **options | {"crop": 32})

    segmenter = SegResNetSegmenter(tmp_path / "whole" / "model.safetensors", window=64, progress=False)
    assert segmenter.description == replace(train.DESCRIPTION, window=64)
    found = segmenter.segment(scan.images, scan.affine, scan.brain_mask)
    assert found.shape == scan.shape
    assert set(np.unique(found)) <= {0, *labels.WHOLE_TUMOR}


def test_scores_of_known_labels(scan):
    from evaluate import evaluate, summary

    class Truth:
        def segment(self, images, affine, brain_mask):
            return scan.segmentation

    class Nothing:
        def segment(self, images, affine, brain_mask):
            return np.zeros_like(scan.segmentation)

    perfect, missed = (summary(evaluate(segmenter(), [scan])[0]) for segmenter in (Truth, Nothing))
    assert all(perfect[name]["lowest_dice"] == 1 for name in labels.REGIONS)
    assert all(missed[name]["mean_dice"] == 0 for name in labels.REGIONS)
