"""A tumour that one image shows brighter than the organ around it: a threshold and region growing, without weights."""

from collections.abc import Mapping

import numpy as np
from scipy import ndimage

from twinjax.core.errors import InputError
from twinjax.imaging import labels
from twinjax.imaging.segmentation.segmenter import AbstractSegmenter, check_images


class ThresholdSegmenter(AbstractSegmenter):
    """The region of an organ that grows from its brightest place, in one image.

    Seeds are voxels above `seed` of the way from the organ's median to its 99.9th percentile; from the seed with the
    largest region of its own, all connected voxels above `edge` of that way are taken, smoothed by an opening and a
    closing. `core` of the way parts the core (labelled enhancing) from the rest (labelled oedema). With
    `lower`, `edge` is that value in the unit of the image instead (`CT`: -300 HU for a nodule in the lung; `PET`: a
    fixed SUV).

    **Arguments:** `modality`; `seed`, `core`, `edge`, ascending from edge, in (0, 1); `lower`, in the unit of the
    image, or None; `minimum_volume_mm3`, less is no tumour. Our own choices: PET's 41 % of the largest uptake
    (Boellaard et al. 2015, Eur J Nucl Med Mol Imaging 42:328) is `edge` 0.41 where the organ's uptake is near zero.
    """

    def __init__(
        self,
        modality: str,
        *,
        seed: float = 0.7,
        core: float = 0.5,
        edge: float = 0.35,
        lower: float | None = None,
        minimum_volume_mm3: float = 100.0,
    ):
        if not 0 < edge <= core <= seed < 1:
            raise InputError(f"threshold: give 0 < edge <= core <= seed < 1, got {edge}, {core} and {seed}")
        if not minimum_volume_mm3 >= 0:
            raise InputError(f"threshold: minimum_volume_mm3 must not be negative, got {minimum_volume_mm3}")
        self.channels = (modality,)
        self.seed, self.core, self.edge, self.lower = seed, core, edge, lower
        self.minimum_volume_mm3 = minimum_volume_mm3

    def segment(self, images: Mapping[str, np.ndarray], affine: np.ndarray, brain_mask: np.ndarray) -> np.ndarray:
        check_images(images, self.channels, brain_mask)
        image, organ = np.asarray(images[self.channels[0]], float), np.asarray(brain_mask, bool)
        found = np.zeros(image.shape, np.int8)
        if not organ.any():
            return found
        median, top = np.percentile(image[organ], [50, 99.9])
        if not top > median:
            return found
        height = (image - median) / (top - median)
        within = organ & (height > self.edge if self.lower is None else image > self.lower)
        # Single voxels of noise and threads to vessels are no tumour.
        within = ndimage.binary_opening(within)
        regions, count = ndimage.label(within)  # pyright: ignore
        seeded = np.bincount(regions[within & (height > self.seed)], minlength=count + 1)
        seeded[0] = 0
        if not seeded.any():
            return found
        tumor = ndimage.binary_closing(regions == int(seeded.argmax()), iterations=2) & organ
        tumor = np.asarray(ndimage.binary_fill_holes(tumor))
        if tumor.sum() * abs(np.linalg.det(affine[:3, :3])) < self.minimum_volume_mm3:
            return found
        found[tumor] = labels.OEDEMA
        found[tumor & (height > self.core)] = labels.ENHANCING
        return found
