"""nnU-Net (Isensee et al. 2021, Nat Methods 18:203) with the user's trained model folder."""

import importlib.util
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from twinjax.core.errors import InputError, MissingDependencyError
from twinjax.imaging.labels import CONVENTIONS, to_internal
from twinjax.imaging.raw_folder import ALIASES
from twinjax.imaging.segmentation.segmenter import AbstractSegmenter, check_images

# plans.json names the class to build: any other name would let a model folder import what it likes.
NETWORKS = tuple(
    f"dynamic_network_architectures.architectures.{name}" for name in ("unet.PlainConvUNet", "unet.ResidualEncoderUNet")
)


class NnUNetSegmenter(AbstractSegmenter):
    """A trained nnU-Net v2 model, run on the CPU or a GPU.

    **Arguments:**

    - `model_folder`: `.../Dataset137_BraTS2021/nnUNetTrainer__nnUNetPlans__3d_fullres`, with `plans.json`,
      `dataset.json` (whose `channel_names` say which modalities go in, in which order) and
      `fold_N/checkpoint_final.pth`.
    - `convention`: labels of its training data, a name of `twinjax.imaging.labels`.
    - `folds`: which folds are averaged. `device`: of torch.
    - `orientation`: of the voxel axes in the training data; LPS for BraTS files.

    Raises `MissingDependencyError` without the package or the model, `InputError` for a model folder that is
    incomplete, holds pickled code or names an unknown architecture.
    """

    channels: tuple[str, ...]

    def __init__(
        self,
        model_folder: str | Path | None = None,
        convention: str = "brats2023",
        folds: Sequence[int] = (0,),
        device: str = "cpu",
        orientation: str = "LPS",
    ):
        if importlib.util.find_spec("nnunetv2") is None:
            raise MissingDependencyError(
                "segmentation 'nnunet_brain_tumor' needs nnU-Net: pip install 'twinjax[nnunet]', then set "
                "segmentation.model_folder to a trained model; or use segmentation rule_based"
            )
        if model_folder is None or not Path(model_folder).is_dir():
            raise MissingDependencyError(
                f"nnU-Net has no model ('{model_folder}'): none comes with twinjax. Set segmentation.model_folder to "
                "a trained folder (Dataset137_BraTS2021/nnUNetTrainer__nnUNetPlans__3d_fullres)"
            )
        if convention not in CONVENTIONS:
            raise InputError(f"convention '{convention}' is unknown; choose one of {', '.join(CONVENTIONS)}")
        if not re.fullmatch(r"[LR][AP][SI]", orientation):
            raise InputError(f"orientation must be three letters such as LPS or RAS, got '{orientation}'")
        self.folder, self.convention, self.orientation = Path(model_folder), convention, orientation
        self.dataset, self.plans = (_read_json(self.folder / name) for name in ("dataset.json", "plans.json"))
        self.channels = _channels(self.dataset)
        self.predictor = self._load(folds, device)

    def _load(self, folds: Sequence[int], device: str):
        import nnunetv2.training.nnUNetTrainer.nnUNetTrainer as trainer  # pyright: ignore
        import torch
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor  # pyright: ignore
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager  # pyright: ignore

        checkpoints = []
        for fold in folds:
            path = self.folder / f"fold_{int(fold)}" / "checkpoint_final.pth"
            if not path.is_file():
                raise InputError(f"fold_{fold}/checkpoint_final.pth is missing in '{self.folder.name}'; correct folds")
            try:
                # weights_only: nnU-Net's own loader would run whatever the file contains.
                checkpoints.append(torch.load(path, map_location="cpu", weights_only=True))
            except Exception as error:
                raise InputError(f"fold_{fold}/{path.name} holds pickled objects; save plain tensors") from error
        if not checkpoints:
            raise InputError("folds is empty; name at least one")
        first = checkpoints[0]
        plans = PlansManager(self.plans)
        configuration = plans.get_configuration(first["init_args"]["configuration"])
        architecture = configuration.network_arch_class_name
        if architecture not in NETWORKS:
            raise InputError(f"plans.json: network '{architecture}' is not one of {', '.join(NETWORKS)}")
        allowed = {"conv_op", "norm_op", "dropout_op", "nonlin"}
        kwargs = configuration.network_arch_init_kwargs
        named = {key: kwargs.get(key) for key in configuration.network_arch_init_kwargs_req_import}
        if not set(named) <= allowed or not all(v is None or str(v).startswith("torch.nn.") for v in named.values()):
            raise InputError(f"plans.json names parts outside torch.nn: {named}")
        network = trainer.nnUNetTrainer.build_network_architecture(
            architecture,
            kwargs,
            configuration.network_arch_init_kwargs_req_import,
            len(self.channels),
            plans.get_label_manager(self.dataset).num_segmentation_heads,
            enable_deep_supervision=False,
        )
        weights = [checkpoint["network_weights"] for checkpoint in checkpoints]
        network.load_state_dict(weights[0])
        predictor = nnUNetPredictor(device=torch.device(device), allow_tqdm=False)
        mirroring = first.get("inference_allowed_mirroring_axes")
        predictor.manual_initialization(
            network, plans, configuration, weights, self.dataset, "nnUNetTrainer", mirroring
        )
        return predictor

    def segment(self, images: Mapping[str, np.ndarray], affine: np.ndarray, brain_mask: np.ndarray) -> np.ndarray:
        check_images(images, self.channels, brain_mask)
        here = nib.orientations.io_orientation(affine)
        there = nib.orientations.axcodes2ornt(self.orientation)
        turn, back = (nib.orientations.ornt_transform(*pair) for pair in ((here, there), (there, here)))
        # nnU-Net takes (channel, Z, Y, X), fresh arrays and fresh properties on each call.
        stack = np.stack([nib.orientations.apply_orientation(images[name], turn).T for name in self.channels])
        spacing = np.linalg.norm(affine @ nib.orientations.inv_ornt_aff(turn, brain_mask.shape), axis=0)[:3]
        found = self.predictor.predict_single_npy_array(
            np.array(stack, dtype=np.float32), {"spacing": spacing[::-1].tolist()}, None, None, False
        )
        return to_internal(nib.orientations.apply_orientation(np.asarray(found).T, back) * brain_mask, self.convention)


def _read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path.name} is missing or broken in the model folder; copy all of it") from error


def _channels(dataset: Mapping) -> tuple[str, ...]:
    """Modalities in the order of `channel_names`, by any alias of `twinjax.imaging.raw_folder`."""
    names = dataset.get("channel_names", {})
    channels = []
    for index in sorted(names, key=int):
        name = str(names[index]).lower().replace("-", "_")
        known = [modality for modality, aliases in ALIASES.items() if name in aliases]
        if not known:
            raise InputError(f"dataset.json: channel '{names[index]}' is unknown; name it T1, T1CE, T2 or FLAIR")
        channels.append(known[0])
    if not channels:
        raise InputError("dataset.json has no channel_names; copy the file of the trained model")
    return tuple(channels)
