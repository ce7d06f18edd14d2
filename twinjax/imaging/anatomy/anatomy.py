"""`AbstractAnatomy`: what every organ offers to the imaging pipeline."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import ndimage

from twinjax.imaging.scan import Scan

# Of the mean over an organ: a vessel or an artefact must not stand for the tissue around it.
LARGEST_RATIO = 5.0


class AbstractAnatomy(ABC):
    """The organ in which a tumour grows.

    **Fields:** `maps`, the tissue maps that `tissue` gives; files of these names (`white_matter.nii.gz`) replace them.
    """

    maps: tuple[str, ...]

    @abstractmethod
    def organ(self, images: Mapping[str, np.ndarray], affine: np.ndarray) -> np.ndarray:
        """(X, Y, Z) bool: the organ, from its images, where there is no file of its mask.

        Raises `InputError` where images cannot tell.
        """

    @abstractmethod
    def tissue(self, images: Mapping[str, np.ndarray], affine: np.ndarray, organ: np.ndarray) -> dict[str, np.ndarray]:
        """(X, Y, Z) float32 maps by name, as far as the images tell; zero outside `organ`.

        **Arguments:** `images`, modality to (X, Y, Z), on the grid of `affine` (4, 4).
        """

    def refined(self, scan: Scan) -> dict[str, np.ndarray]:
        """Maps that can be told only once the tumour is known, by name; none unless an organ says so."""
        return {}


def foreground(images: Sequence[np.ndarray]) -> np.ndarray:
    """Largest connected region in which any image is above a tenth of its range, holes filled."""
    bright = np.any([image > image.min() + 0.1 * (np.percentile(image, 99) - image.min()) for image in images], axis=0)
    components, count = ndimage.label(bright)  # pyright: ignore
    if count > 1:
        bright = components == 1 + np.argmax(np.bincount(components.ravel())[1:])
    return ndimage.binary_fill_holes(bright)  # pyright: ignore


def relative_to_mean(image: np.ndarray, organ: np.ndarray) -> np.ndarray:
    """`image` (not negative) over its mean in the organ, as `Domain` has perfusion and drug distribution."""
    positive = np.maximum(image, 0) * organ
    mean = float(positive[organ].mean())
    return np.clip(positive / mean if mean > 0 else positive + organ, 0, LARGEST_RATIO).astype(np.float32)
