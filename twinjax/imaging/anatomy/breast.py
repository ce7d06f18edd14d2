"""The breast: fat and gland, and where contrast medium comes to."""

from typing import Literal

import numpy as np

from twinjax.core.errors import InputError, MissingDependencyError
from twinjax.imaging.anatomy.anatomy import AbstractAnatomy, foreground, relative_to_mean

# Of voxels for the two classes; more say nothing new.
SAMPLE = 50_000


class BreastAnatomy(AbstractAnatomy):
    """Adipose and fibroglandular tissue, the two classes of brightness in the first image (a Gaussian mixture), and
    `drug_distribution`, where contrast medium comes to (`DCE`, its initial area over the mean in the breast), as in
    Jarrett et al. 2018 (Phys Med Biol 63:105015).

    **Arguments:** `fat`: whether fat is `"bright"` (T1 without fat suppression) or `"dark"` in that image.
    """

    maps = ("adipose", "fibroglandular", "drug_distribution")

    def __init__(self, fat: Literal["bright", "dark"] = "bright"):
        if fat not in ("bright", "dark"):
            raise InputError(f"anatomy.fat must be 'bright' or 'dark', got '{fat}'")
        self.fat = fat

    def organ(self, images, affine):
        return foreground([image for name, image in images.items() if name != "DCE"])

    def tissue(self, images, affine, organ):
        try:
            from sklearn.mixture import GaussianMixture
        except ImportError as error:
            raise MissingDependencyError("tissue classes need scikit-learn: pip install 'twinjax[imaging]'") from error
        image = next(image for name, image in images.items() if name != "DCE")
        inside = image[organ].reshape(-1, 1)
        sample = inside[np.random.default_rng(0).permutation(len(inside))[:SAMPLE]]
        mixture = GaussianMixture(2, random_state=0).fit(sample)
        bright = int(np.argmax([float(sample[mixture.predict(sample) == k].mean()) for k in (0, 1)]))
        adipose = np.zeros(image.shape, np.float32)
        adipose[organ] = mixture.predict_proba(inside)[:, bright if self.fat == "bright" else 1 - bright]
        maps = {"adipose": adipose, "fibroglandular": organ - adipose}
        if "DCE" in images:
            maps["drug_distribution"] = relative_to_mean(images["DCE"], organ)
        return {name: np.asarray(array, np.float32) for name, array in maps.items()}
