"""SegResNet (Myronenko 2018, arXiv:1810.11654) with the user's weights, by MONAI."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from twinjax.core.errors import InputError, MissingDependencyError
from twinjax.imaging.labels import BACKGROUND
from twinjax.imaging.segmentation.network import NetworkDescription
from twinjax.imaging.segmentation.segmenter import AbstractSegmenter, check_images


class SegResNetSegmenter(AbstractSegmenter):
    """A SegResNet of four channels, applied in sliding windows: four classes, or the three regions of a MONAI bundle.

    **Arguments:**

    - `weights`: `.safetensors`, or a torch file (`.pth`, `.pt`) with a plain state dict.
    - `description`: a mapping with the fields of `NetworkDescription`; by default it is read from the JSON file
      of the same name beside the weights.
    - `window` (voxels of the network; None takes that of the description) and `overlap` of the windows, `threads`
      of torch (None leaves them); `progress` shows a bar.

    An image of other voxels or orientation is resampled to those of the network, and its outputs back: a network
    has learned sizes in voxels, and the user's grid is for the tumour model to choose. Only the brain is looked at.

    Raises `MissingDependencyError` without weights or MONAI, `InputError` for weights that are pickled code or do
    not fit their description.
    """

    channels: tuple[str, ...]

    def __init__(
        self,
        weights: str | Path | None = None,
        description: Mapping[str, Any] | None = None,
        window: int | None = None,
        overlap: float = 0.25,
        threads: int | None = None,
        progress: bool = True,
    ):
        if weights is None or not Path(weights).is_file():
            raise MissingDependencyError(
                f"SegResNet has no weights ('{weights}'): none come with twinjax. Train it (docs/segmentation.md) or "
                "get a model, set segmentation.weights to the file, or use segmentation rule_based"
            )
        if not 0 <= overlap < 1:
            raise InputError(f"overlap must lie in [0, 1), got {overlap}")
        path = Path(weights)
        described = (
            NetworkDescription.read(path.with_suffix(".json"))
            if description is None
            else NetworkDescription.create(description, "segmentation.description")
        )
        self.description = described if window is None else replace(described, window=window)
        self.channels = self.description.channels
        self.overlap, self.threads, self.progress = overlap, threads, progress
        self.network = self.description.load(path)

    def segment(self, images: Mapping[str, np.ndarray], affine: np.ndarray, brain_mask: np.ndarray) -> np.ndarray:
        import torch
        from monai.data.meta_tensor import MetaTensor
        from monai.inferers.inferer import SlidingWindowInferer

        check_images(images, self.channels, brain_mask)
        inside = np.asarray(brain_mask, dtype=bool)
        stack = np.stack([np.asarray(images[name], np.float32) * inside for name in self.channels])
        if not stack.any():
            return np.full(inside.shape, BACKGROUND, np.int8)
        preprocessing = network_preprocessing(self.description)
        inferer = SlidingWindowInferer(
            roi_size=(self.description.window,) * 3, overlap=self.overlap, mode="gaussian", progress=self.progress
        )
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads or before)
        try:
            with torch.inference_mode():
                prepared = preprocessing(MetaTensor(torch.from_numpy(stack), affine=torch.as_tensor(affine)))
                logits = inferer(prepared.as_tensor()[None], self.network)
                assert isinstance(logits, torch.Tensor)
                outputs = MetaTensor(logits[0], meta=prepared.meta, applied_operations=prepared.applied_operations)
                return self.description.labels(preprocessing.inverse(outputs).as_tensor(), inside)
        finally:
            torch.set_num_threads(before)


def network_preprocessing(description: NetworkDescription) -> Any:
    """The MONAI `Compose` from a (channels, X, Y, Z) `MetaTensor`, 0 outside the brain, to the network's input.

    Its inverse brings outputs of the network back to the grid of the image.
    """
    from monai.transforms.compose import Compose
    from monai.transforms.croppad.array import CropForeground
    from monai.transforms.intensity.array import NormalizeIntensity
    from monai.transforms.spatial.array import Orientation, Spacing

    return Compose(
        [
            CropForeground(),
            # Before resampling, which gives the rim of the brain values that are no tissue.
            NormalizeIntensity(nonzero=True, channel_wise=True),
            Orientation(axcodes=description.orientation, labels=(("L", "R"), ("P", "A"), ("I", "S"))),
            Spacing(pixdim=(description.voxel_mm,) * 3, mode="bilinear", padding_mode="zeros"),
        ]
    )
