"""Segmenters on a small synthetic head, and every refusal."""

import json
import pickle

import numpy as np
import pytest
from phantom import anatomy, dice, grid, images

from twinjax.core.config import load_named
from twinjax.core.errors import InputError, MissingDependencyError
from twinjax.imaging import ExistingMaskSegmenter, NnUNetSegmenter, RuleBasedSegmenter, SegResNetSegmenter, labels
from twinjax.imaging.segmentation.nnunet import _channels

GRID = grid((48, 48, 40), (1.2, 1.2, 1.4))
SETTINGS = {
    "channels": ["T1CE", "T1", "T2", "FLAIR"],
    "normalization": "nonzero_zscore",
    "convention": "msd",
    "orientation": "RAS",
}


def head(**kwargs):
    tissue, truth = anatomy(*GRID, **{k: v for k, v in kwargs.items() if k == "core_mm"})
    return images(*GRID, **kwargs), tissue > 0, truth


@pytest.mark.parametrize(("seed", "noise"), [(0, 0.02), (1, 0.04)])
def test_rules_find_core_necrosis_and_oedema(seed, noise):
    scans, brain, truth = head(seed=seed, noise=noise)
    found = RuleBasedSegmenter().segment(scans, GRID[0], brain)
    assert found.dtype == np.int8
    assert dice(found > 0, truth > 0) > 0.9
    assert dice(np.isin(found, labels.CORE), np.isin(truth, labels.CORE)) > 0.9
    assert dice(found == labels.NECROTIC, truth == labels.NECROTIC) > 0.8


def test_rules_do_not_depend_on_the_intensity_scale():
    scans, brain, _ = head()
    rescaled = {name: (3.7 * image - 500).astype(np.float32) for name, image in scans.items()}
    same = RuleBasedSegmenter().segment(rescaled, GRID[0], brain) == RuleBasedSegmenter().segment(scans, GRID[0], brain)
    assert same.mean() > 0.999


def test_rules_find_nothing_in_a_healthy_head():
    scans, brain, _ = head(core_mm=0, noise=0.04)
    assert not RuleBasedSegmenter().segment(scans, GRID[0], brain).any()


def test_rules_find_nothing_in_constant_images():
    brain = np.ones((24, 24, 24), bool)
    flat = {name: np.full(brain.shape, 5.0, np.float32) for name in RuleBasedSegmenter.channels}
    assert not RuleBasedSegmenter().segment(flat, np.eye(4), brain).any()


def test_missing_channel_wrong_shape_and_nan_are_refused():
    scans, brain, _ = head()
    segmenter = RuleBasedSegmenter()
    with pytest.raises(InputError, match="needs FLAIR; found T1, T1CE, T2"):
        segmenter.segment({name: scans[name] for name in ("T1", "T1CE", "T2")}, GRID[0], brain)
    with pytest.raises(InputError, match="T2 has shape"):
        segmenter.segment(scans | {"T2": scans["T2"][1:]}, GRID[0], brain)
    broken = scans["T1"].copy()
    broken[20, 20, 20] = np.nan
    with pytest.raises(InputError, match="T1 has NaN"):
        segmenter.segment(scans | {"T1": broken}, GRID[0], brain)


def test_existing_mask_is_mapped_by_its_convention():
    stored = np.array([0, 1, 2, 4], np.int16).reshape(4, 1, 1)
    brain = np.ones(stored.shape, bool)
    found = ExistingMaskSegmenter("brats2018").segment({"segmentation": stored}, np.eye(4), brain)
    assert found.ravel().tolist() == [0, labels.NECROTIC, labels.OEDEMA, labels.ENHANCING]
    with pytest.raises(InputError, match="labels \\[4\\] do not belong"):
        ExistingMaskSegmenter("msd").segment({"segmentation": stored}, np.eye(4), brain)
    with pytest.raises(InputError, match="segmentation.nii.gz"):
        ExistingMaskSegmenter().segment({}, np.eye(4), brain)
    with pytest.raises(InputError, match="brats2099"):
        ExistingMaskSegmenter("brats2099")


@pytest.fixture(scope="module")
def network():
    import torch
    from monai.networks.nets.segresnet import SegResNet

    torch.manual_seed(0)
    return SegResNet(blocks_down=(1, 2, 2, 4), blocks_up=(1, 1, 1), init_filters=16, in_channels=4, out_channels=4)


def save_weights(network, path, settings=SETTINGS):
    import torch
    from safetensors.torch import save_file

    if path.suffix == ".safetensors":
        save_file(network.state_dict(), path)
    else:
        torch.save(network.state_dict(), path)
    path.with_suffix(".json").write_text(json.dumps(settings))
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_segresnet_is_the_network_of_the_weights(tmp_path, network, suffix):
    import torch
    from monai.transforms.intensity.array import NormalizeIntensity

    segmenter = SegResNetSegmenter(save_weights(network, tmp_path / f"net{suffix}"), roi_size=32)
    rng = np.random.default_rng(0)
    brain = np.zeros((32, 32, 32), bool)
    brain[4:28, 4:28, 4:28] = True
    scans = {name: (rng.gamma(2.0, 100.0, brain.shape) * brain).astype(np.float32) for name in SETTINGS["channels"]}
    found = segmenter.segment(scans, np.eye(4), brain)
    stack = NormalizeIntensity(nonzero=True, channel_wise=True)(np.stack([scans[n] for n in SETTINGS["channels"]]))
    with torch.inference_mode():
        classes = network.eval()(torch.as_tensor(np.asarray(stack))[None])[0].argmax(0).numpy()
    # MSD: 1 is oedema, 2 non-enhancing, 3 enhancing.
    expected = np.asarray([labels.BACKGROUND, labels.OEDEMA, labels.NECROTIC, labels.ENHANCING])[classes] * brain
    assert (found == expected).mean() > 0.999
    with pytest.raises(InputError, match="needs T1CE"):
        segmenter.segment({"T1": scans["T1"], "T2": scans["T2"], "FLAIR": scans["FLAIR"]}, np.eye(4), brain)


class Payload:
    """Would write a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_pickled_weights_are_refused_and_not_run(tmp_path):
    import torch

    for name, save in (("torch", torch.save), ("plain", lambda o, p: p.write_bytes(pickle.dumps(o)))):
        path, target = tmp_path / f"{name}.pth", tmp_path / f"ran_{name}"
        save({"weight": Payload(target)}, path)
        path.with_suffix(".json").write_text(json.dumps(SETTINGS))
        with pytest.raises(InputError, match=f"{name}.pth is no plain weights file"):
            SegResNetSegmenter(path)
        assert not target.exists()


def test_weights_of_another_network_are_refused(tmp_path):
    from monai.networks.nets.segresnet import SegResNet

    other = SegResNet(blocks_down=(1, 2, 2, 4), blocks_up=(1, 1, 1), init_filters=16, in_channels=1, out_channels=4)
    with pytest.raises(InputError, match="does not fit SegResNet"):
        SegResNetSegmenter(save_weights(other, tmp_path / "net.safetensors"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": ["T1", "T2", "FLAIR"]}, "channels must be"),
        ({"normalization": "minmax"}, "normalization must be"),
        ({"convention": "ours"}, "convention must be"),
        (None, "beside the weights"),
    ],
)
def test_the_json_beside_the_weights_is_checked(tmp_path, network, change, message):
    path = save_weights(network, tmp_path / "net.safetensors", SETTINGS | (change or {}))
    if change is None:
        path.with_suffix(".json").unlink()
    with pytest.raises(InputError, match=message):
        SegResNetSegmenter(path)


def test_missing_weights_and_models_say_what_to_do(tmp_path):
    with pytest.raises(MissingDependencyError, match="set segmentation.weights"):
        SegResNetSegmenter(tmp_path / "none.safetensors")
    with pytest.raises(MissingDependencyError, match="twinjax\\[nnunet\\]|segmentation.model_folder"):
        NnUNetSegmenter(tmp_path / "none")


def test_nnunet_channels_are_read_in_the_order_of_training():
    names = {"10": "T2", "1": "T1ce", "0": "FLAIR", "2": "t1n"}
    assert _channels({"channel_names": names}) == ("FLAIR", "T1CE", "T1", "T2")
    for wrong in ({"channel_names": {"0": "CT"}}, {}):
        with pytest.raises(InputError, match="dataset.json"):
            _channels(wrong)


@pytest.mark.parametrize(
    ("name", "kind"), [("rule_based", RuleBasedSegmenter), ("existing_mask", ExistingMaskSegmenter)]
)
def test_named_segmenters_load(name, kind):
    assert isinstance(load_named("segmentation", name), kind)


@pytest.mark.parametrize("name", ["segresnet", "monai_bundle", "nnunet_brain_tumor"])
def test_named_networks_need_what_does_not_ship(name):
    with pytest.raises(MissingDependencyError, match="segmentation"):
        load_named("segmentation", name)
