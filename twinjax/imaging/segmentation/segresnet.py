"""SegResNet (Myronenko 2018, arXiv:1810.11654) with the user's weights, by MONAI."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from twinjax.core.errors import InputError, MissingDependencyError
from twinjax.imaging.labels import CONVENTIONS, NAMES, to_internal
from twinjax.imaging.segmentation.segmenter import AbstractSegmenter, check_images

CLASSES = 4
NORMALIZATION = "nonzero_zscore"


class SegResNetSegmenter(AbstractSegmenter):
    """A SegResNet of four channels and four classes (16 filters, softmax), applied in sliding windows.

    Beside `weights` (`.safetensors`, or `.pth` with a plain state dict) lies a JSON file of the same name that
    says how the network was trained; another channel order or normalisation ruins the result without an error,
    so both are checked here:

        {"channels": ["T1CE", "T1", "T2", "FLAIR"], "normalization": "nonzero_zscore", "convention": "brats2023"}

    `convention` (of `twinjax.imaging.labels`) gives the four classes in ascending order of label.

    **Arguments:** `roi_size` (voxels) and `overlap` of the windows; `threads` of torch (None leaves them).
    Voxels must have the size the network was trained on, 1 mm as a rule. Raises `MissingDependencyError` without
    weights or MONAI, `InputError` for weights that are pickled code, do not fit, or have no JSON.
    """

    channels: tuple[str, ...]

    def __init__(
        self,
        weights: str | Path | None = None,
        roi_size: int = 96,
        overlap: float = 0.25,
        threads: int | None = None,
    ):
        if weights is None or not Path(weights).is_file():
            raise MissingDependencyError(
                f"SegResNet has no weights ('{weights}'): none come with twinjax. Train it or get a "
                "model, set segmentation.weights to the file, or use segmentation rule_based"
            )
        self.weights = Path(weights)
        settings = _read_settings(self.weights.with_suffix(".json"))
        self.channels = tuple(settings["channels"])
        self.convention = settings["convention"]
        self.roi_size, self.overlap, self.threads = roi_size, overlap, threads
        self.network = _load_network(self.weights)

    def segment(self, images: Mapping[str, np.ndarray], affine: np.ndarray, brain_mask: np.ndarray) -> np.ndarray:
        import torch
        from monai.inferers.inferer import SlidingWindowInferer

        check_images(images, self.channels, brain_mask)
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        stack = np.stack([_nonzero_zscore(images[name] * brain_mask) for name in self.channels])
        inferer = SlidingWindowInferer(roi_size=(self.roi_size,) * 3, overlap=self.overlap, mode="gaussian")
        with torch.inference_mode():
            logits = inferer(torch.from_numpy(stack)[None], self.network)
        assert isinstance(logits, torch.Tensor)
        classes = logits[0].argmax(dim=0).numpy()
        values = np.asarray(sorted(CONVENTIONS[self.convention])[:CLASSES])
        return to_internal(values[classes] * brain_mask, self.convention)


def _nonzero_zscore(image: np.ndarray) -> np.ndarray:
    """Zero mean, unit deviation over the nonzero voxels, the others kept 0: NormalizeIntensity(nonzero=True)."""
    image = np.asarray(image, dtype=np.float32)
    inside = image != 0
    if not inside.any():
        return image
    deviation = float(image[inside].std()) or 1.0
    return np.where(inside, (image - image[inside].mean()) / deviation, 0).astype(np.float32)


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        channels, normalization, convention = (settings[k] for k in ("channels", "normalization", "convention"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path.name} beside the weights must name channels, normalization and convention") from error
    if sorted(channels) != sorted({"T1", "T1CE", "T2", "FLAIR"}):
        raise InputError(f"{path.name}: channels must be T1, T1CE, T2, FLAIR in the order of training, got {channels}")
    if normalization != NORMALIZATION:
        raise InputError(f"{path.name}: normalization must be '{NORMALIZATION}', got '{normalization}'; train with it")
    if convention not in CONVENTIONS:
        raise InputError(f"{path.name}: convention must be one of {', '.join(CONVENTIONS)}, got '{convention}'")
    return settings


def _load_network(path: Path):
    try:
        import torch
        from monai.networks.nets.segresnet import SegResNet
        from safetensors.torch import load_file
    except ImportError as error:
        raise MissingDependencyError("SegResNet needs MONAI: pip install 'twinjax[imaging]'") from error
    network = SegResNet(
        blocks_down=(1, 2, 2, 4), blocks_up=(1, 1, 1), init_filters=16, in_channels=4, out_channels=CLASSES
    )
    try:
        # weights_only: an ordinary torch file is a program, and would run.
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(f"{path.name} is no plain weights file; save the state dict as .safetensors") from error
    try:
        network.load_state_dict({name: value.float() for name, value in state.items()})
    except (RuntimeError, AttributeError) as error:
        raise InputError(
            f"{path.name} does not fit SegResNet with 16 filters, 4 channels and {CLASSES} classes "
            f"(background, {', '.join(list(NAMES.values())[:3])}); use weights of that network"
        ) from error
    return network.eval()
