"""A segmentation that exists already."""

from collections.abc import Mapping

import numpy as np

from twinjax.core.errors import InputError
from twinjax.imaging.labels import CONVENTIONS, to_internal
from twinjax.imaging.segmentation.segmenter import AbstractSegmenter, check_images


class ExistingMaskSegmenter(AbstractSegmenter):
    """Takes `segmentation.nii.gz` of each visit folder; `convention` is a name of `twinjax.imaging.labels`."""

    channels = ()

    def __init__(self, convention: str = "brats2023"):
        if convention not in CONVENTIONS:
            raise InputError(f"convention '{convention}' is unknown; choose one of {', '.join(CONVENTIONS)}")
        self.convention = convention

    def segment(self, images: Mapping[str, np.ndarray], affine: np.ndarray, brain_mask: np.ndarray) -> np.ndarray:
        if "segmentation" not in images:
            raise InputError("existing_mask needs segmentation.nii.gz in every visit folder; add it")
        check_images(images, ("segmentation",), brain_mask)
        return to_internal(images["segmentation"], self.convention)
