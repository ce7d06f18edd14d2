"""`AbstractSegmenter`: what every segmentation backend does."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np

from twinjax.core.errors import InputError


class AbstractSegmenter(ABC):
    """Labels the tumour in the images of one visit.

    **Fields:** `channels`, the modalities that `segment` needs.
    """

    channels: tuple[str, ...]

    @abstractmethod
    def segment(self, images: Mapping[str, np.ndarray], affine: np.ndarray, brain_mask: np.ndarray) -> np.ndarray:
        """Label every voxel.

        **Arguments:** `images`, modality to (X, Y, Z) array in any linear intensity scale, and `"segmentation"`
        where the visit has such a file; `affine` (4, 4), voxel index to RAS mm; `brain_mask` (X, Y, Z) bool.

        **Returns** (X, Y, Z) int8 in the internal convention of `twinjax.imaging.labels`, all 0 where no tumour
        is found. Raises `InputError` for missing images or shapes that differ.
        """


def check_images(images: Mapping[str, np.ndarray], channels: tuple[str, ...], brain_mask: np.ndarray) -> None:
    """`InputError` unless every channel is there, finite and of the shape of `brain_mask`."""
    missing = [name for name in channels if name not in images]
    if missing:
        raise InputError(f"segmentation needs {', '.join(missing)}; found {', '.join(images) or 'none'}")
    for name in channels:
        if images[name].shape != brain_mask.shape:
            raise InputError(f"{name} has shape {images[name].shape}, the brain mask {brain_mask.shape}; resample it")
        if not np.isfinite(images[name]).all():
            raise InputError(f"{name} has NaN or infinite voxels; repair it before segmentation")
