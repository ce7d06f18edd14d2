"""Segmenters on a small synthetic head, and every refusal."""

import json
import pickle

import numpy as np
import pytest
from phantom import anatomy, dice, grid, images

from twinjax.core.config import load_named
from twinjax.core.errors import InputError, MissingDependencyError
from twinjax.imaging import ExistingMaskSegmenter, NnUNetSegmenter, RuleBasedSegmenter, SegResNetSegmenter, labels
from twinjax.imaging.segmentation.network import NetworkDescription
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


def random_network(outputs, filters=16, channels=4):
    import torch
    from monai.networks.nets.segresnet import SegResNet

    torch.manual_seed(0)
    return SegResNet(
        blocks_down=(1, 2, 2, 4),
        blocks_up=(1, 1, 1),
        init_filters=filters,
        in_channels=channels,
        out_channels=outputs,
    ).eval()


@pytest.fixture(scope="module")
def network():
    return random_network(4)


def save_weights(network, path, settings=SETTINGS):
    import torch
    from safetensors.torch import save_file

    if path.suffix == ".safetensors":
        save_file(network.state_dict(), path)
    else:
        torch.save(network.state_dict(), path)
    path.with_suffix(".json").write_text(json.dumps(settings))
    return path


def noisy_brain():
    """Noise in a box of brain, and what the network gets of it, 0 outside."""
    import torch
    from monai.transforms.intensity.array import NormalizeIntensity

    rng = np.random.default_rng(0)
    brain = np.zeros((32, 32, 32), bool)
    brain[4:28, 4:28, 4:28] = True
    scans = {name: (rng.gamma(2.0, 100.0, brain.shape) * brain).astype(np.float32) for name in SETTINGS["channels"]}
    stack = NormalizeIntensity(nonzero=True, channel_wise=True)(np.stack([scans[n] for n in SETTINGS["channels"]]))
    return scans, brain, torch.as_tensor(np.asarray(stack))[None]


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_segresnet_is_the_network_of_the_weights(tmp_path, network, suffix):
    import torch

    segmenter = SegResNetSegmenter(save_weights(network, tmp_path / f"net{suffix}"), window=32)
    scans, brain, stack = noisy_brain()
    found = segmenter.segment(scans, np.eye(4), brain)
    with torch.inference_mode():
        classes = network(stack)[0].argmax(0).numpy()
    # MSD: 1 is oedema, 2 non-enhancing, 3 enhancing.
    expected = np.asarray([labels.BACKGROUND, labels.OEDEMA, labels.NECROTIC, labels.ENHANCING])[classes] * brain
    assert (found == expected).mean() > 0.999
    with pytest.raises(InputError, match="needs T1CE"):
        segmenter.segment({"T1": scans["T1"], "T2": scans["T2"], "FLAIR": scans["FLAIR"]}, np.eye(4), brain)


@pytest.mark.parametrize("regions", [["core", "whole_tumor", "enhancing"], ["enhancing", "core", "whole_tumor"]])
def test_overlapping_regions_of_a_bundle_become_labels(tmp_path, regions):
    import torch

    network = random_network(3, filters=8)
    scans, brain, stack = noisy_brain()
    with torch.inference_mode():
        # Half of the voxels in each region, so that all combinations occur.
        network.conv_final[2].conv.bias -= network(stack)[0, :, 4:28, 4:28, 4:28].flatten(1).median(dim=1).values
        probabilities = dict(zip(regions, torch.sigmoid(network(stack))[0].numpy(), strict=True))
    settings = {name: value for name, value in SETTINGS.items() if name != "convention"}
    settings |= {"head": "sigmoid", "regions": regions, "init_filters": 8, "dropout": 0.2}
    path = save_weights(network, tmp_path / "model.pt", {})
    found = SegResNetSegmenter(path, description=settings, window=32).segment(scans, np.eye(4), brain)
    core, whole, enhancing = (probabilities[name] > 0.5 for name in ("core", "whole_tumor", "enhancing"))
    # As the bundle itself: enhancing before core before whole tumour.
    expected = np.where(enhancing, labels.ENHANCING, np.where(core, labels.NECROTIC, whole * labels.OEDEMA)) * brain
    assert set(np.unique(expected)) == {labels.BACKGROUND, *labels.WHOLE_TUMOR}
    assert (found == expected).mean() > 0.999


@pytest.mark.parametrize("axes", ["LPS", "RAS", "PIR"])
def test_images_are_turned_and_resampled_to_the_network_and_labels_back(tmp_path, network, axes):
    import nibabel as nib

    settings = SETTINGS | {"orientation": "LPS", "voxel_mm": 2.0}
    segmenter = SegResNetSegmenter(save_weights(network, tmp_path / "net.pth", settings), window=32, progress=False)
    size = (48, 40, 32)
    turn = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(axes))
    affine = nib.orientations.inv_ornt_aff(turn, size)
    brain = nib.orientations.apply_orientation(np.ones(size, bool), turn)
    rng = np.random.default_rng(0)
    scans = {name: rng.gamma(2.0, 100.0, brain.shape).astype(np.float32) for name in SETTINGS["channels"]}
    seen = []

    def right_half_enhances(window):
        seen.append(tuple(window.shape[2:]))
        logits = window.new_zeros((1, 4, *window.shape[2:]))
        # Of 24 voxels from right to left, the first 12; the window is padded to 32 by 4 on both sides.
        logits[:, 3, :16] = 1.0
        return logits

    segmenter.network = right_half_enhances
    found = segmenter.segment(scans, affine, brain)
    assert seen == [(32, 32, 32)]
    expected = np.zeros(size, np.int8)
    expected[24:] = labels.ENHANCING
    assert found.shape == brain.shape
    # The boundary lies between two voxels of the network, one voxel of the image on either side of it.
    assert (found == nib.orientations.apply_orientation(expected, turn)).mean() > 0.97


def test_a_brain_without_signal_has_no_tumour(tmp_path, network):
    segmenter = SegResNetSegmenter(save_weights(network, tmp_path / "net.pth"))
    empty = {name: np.zeros((20, 20, 20), np.float32) for name in SETTINGS["channels"]}
    assert not segmenter.segment(empty, np.eye(4), np.ones((20, 20, 20), bool)).any()


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
    for network in (random_network(4, channels=1), random_network(3)):
        with pytest.raises(InputError, match="does not fit SegResNet with 16 filters, .* 4 outputs: it has"):
            SegResNetSegmenter(save_weights(network, tmp_path / "net.safetensors"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": ["T1", "T2", "FLAIR"]}, "channels must be"),
        ({"channels": ["T1", "T1", "T2", "FLAIR"]}, "channels must be"),
        ({"normalization": "minmax"}, "normalization must be"),
        ({"head": "tanh"}, "head must be"),
        ({"convention": "ours"}, "softmax head needs a convention"),
        ({"head": "sigmoid"}, "sigmoid head needs the regions"),
        ({"init_filters": 12}, "multiple of 8"),
        ({"init_filters": 8}, "it has 16 filters, 4 channels and 4 outputs"),
        ({"dropout": 1.0}, "dropout"),
        ({"voxel_mm": 0}, "voxel_mm"),
        ({"voxel_mm": "fine"}, "net.json: could not convert"),
        ({"orientation": "LPX"}, "orientation"),
        ({"chanels": []}, "chanels unknown"),
        (None, "beside the weights"),
    ],
)
def test_the_json_beside_the_weights_is_checked(tmp_path, network, change, message):
    path = save_weights(network, tmp_path / "net.safetensors", SETTINGS | (change or {}))
    if change is None:
        path.with_suffix(".json").unlink()
    with pytest.raises(InputError, match=message):
        SegResNetSegmenter(path)


@pytest.mark.parametrize(
    "change", [{"channels": ["T1", "T1CE", "T2", "FLAIR"]}, {"voxel_mm": 1.0}, {"orientation": "LPS"}]
)
def test_weights_remember_their_description(tmp_path, change):
    path = tmp_path / "net.safetensors"
    description = NetworkDescription.create(SETTINGS | {"init_filters": 8, "voxel_mm": 2}, "test")
    description.save(random_network(4, filters=8), path)
    assert SegResNetSegmenter(path).description == description
    path.with_suffix(".json").write_text(json.dumps(json.loads(path.with_suffix(".json").read_text()) | change))
    with pytest.raises(InputError, match=f"was trained with {next(iter(change))}"):
        SegResNetSegmenter(path)


@pytest.mark.parametrize("options", [{"window": 60}, {"window": 8}, {"overlap": 1.0}, {"overlap": -0.1}])
def test_windows_that_the_network_cannot_take_are_refused(tmp_path, network, options):
    with pytest.raises(InputError, match=f"{next(iter(options))} must"):
        SegResNetSegmenter(save_weights(network, tmp_path / "net.pth"), **options)


def test_missing_weights_and_models_say_what_to_do(tmp_path):
    with pytest.raises(MissingDependencyError, match="set segmentation.weights"):
        SegResNetSegmenter(tmp_path / "none.safetensors")
    with pytest.raises(MissingDependencyError, match="twinjax\\[nnunet\\]|segmentation.model_folder"):
        NnUNetSegmenter(tmp_path / "none")


def test_nnunet_channels_are_read_in_the_order_of_training():
    names = {"10": "T2", "1": "T1ce", "0": "FLAIR", "2": "t1n"}
    assert _channels({"channel_names": names}) == ("FLAIR", "T1CE", "T1", "T2")
    for wrong in ({"channel_names": {"0": "X-ray"}}, {}):
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
