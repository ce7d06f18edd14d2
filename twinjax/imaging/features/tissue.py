"""White matter, grey matter and fluid from the patient's own T1, with the template as a soft prior."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from twinjax.core.errors import InputError, MissingDependencyError
from twinjax.imaging.scan import Scan

# So much of each class is held possible anywhere: the template is an average, and its registration is linear.
FLOOR = 0.05
# The mixture is fitted to at most so many voxels.
SAMPLES = 50_000


class TissueFractions(NamedTuple):
    """White matter, grey matter and fluid, each (X, Y, Z) float32; they add up to 1 in the brain, outside all are 0."""

    white_matter: np.ndarray
    grey_matter: np.ndarray
    fluid: np.ndarray


def tissue_from_scan(scan: Scan, modality: str = "T1", *, blur_mm: float = 3.0) -> TissueFractions:
    """The tissue of each voxel of the brain by its intensity: a mixture of three Gaussians of one width (scikit-learn).

    posterior ∝ likelihood of the class × prior, as in Ashburner and Friston 2005 (NeuroImage 26:839), with the
    template held fixed: the prior is the scan's `white_matter` and `grey_matter`, with the rest of the brain as fluid,
    blurred by a Gaussian of `blur_mm` for what registration leaves, and a floor of 5 % for every class (both our own
    choice); without them the weights of the mixture. On T1, with or without contrast agent, fluid is darkest and white
    matter brightest, and so the classes are named.

    Voxels of a tumour or a cavity are neither fitted nor classified: they keep the template's fractions. What
    comes out are probabilities of a class; in a voxel of two tissues they are steeper than its fractions.

    On the template moved by a smooth field of 3.5 mm (root mean square), with noise of 3 % of white matter, the Dice
    scores of white matter, grey matter and fluid are 0.92, 0.90 and 0.77, those of the template alone 0.82, 0.84 and
    0.63; with 6 % of noise 0.89, 0.86 and 0.69. A template that fits to the voxel is better than either.

    **Assumes** a T1 without receive field (N4 first) and without skull in `brain_mask`. **Returns**
    `TissueFractions`; `dataclasses.replace(scan, white_matter=..., grey_matter=...)` puts them to use. Raises
    `InputError` without the modality, a brain mask, or, for a scan with tumour, the template's fractions;
    `MissingDependencyError` without scikit-learn.
    """
    try:
        from sklearn.mixture import GaussianMixture
    except ImportError as error:
        raise MissingDependencyError("tissue classes need scikit-learn: pip install 'twinjax[imaging]'") from error
    image = scan.image(modality)
    if scan.brain_mask is None or np.count_nonzero(scan.brain_mask) < 100:
        raise InputError("tissue classes need a brain mask of at least 100 voxels; add brain_mask to the scan")
    brain = np.asarray(scan.brain_mask, bool)
    lesion = np.zeros(brain.shape, bool) if scan.segmentation is None else brain & (scan.segmentation != 0)
    template = _template(scan, brain)
    if template is None and lesion.any():
        raise InputError("a scan with tumour needs white_matter and grey_matter of the template for the tumour itself")
    healthy = brain & ~lesion
    values = image[healthy].astype(float)[:, None]
    if np.ptp(values) == 0:
        raise InputError(f"{modality} is constant in the brain; check the image and the brain mask")
    sample = values[np.random.default_rng(0).permutation(len(values))[:SAMPLES]]
    prior = None if template is None else _blurred(template, brain, blur_mm / scan.spacing)[healthy] + FLOOR
    # Fluid, grey, white. Noise is common to all classes; with a variance of its own each, a small class can take over.
    start = np.quantile(sample, [0.1, 0.4, 0.8])
    if template is not None:
        start = np.sort(template[healthy].T @ values[:, 0] / template[healthy].sum(axis=0))
    mixture = GaussianMixture(3, covariance_type="tied", means_init=start[:, None], random_state=0).fit(sample)
    order = np.argsort(np.ravel(mixture.means_))  # pyright: ignore
    posterior = mixture.predict_proba(values)[:, order]
    if prior is not None:
        # The mixture's own weights give way to the template, voxel by voxel.
        posterior = posterior / np.asarray(mixture.weights_)[order] * prior
        posterior /= posterior.sum(axis=1, keepdims=True)
    fractions = np.zeros((*brain.shape, 3), np.float32)
    fractions[healthy] = posterior
    if template is not None:
        fractions[lesion] = template[lesion]
    return TissueFractions(white_matter=fractions[..., 2], grey_matter=fractions[..., 1], fluid=fractions[..., 0])


def _template(scan: Scan, brain: np.ndarray) -> np.ndarray | None:
    """(X, Y, Z, 3): fluid, grey, white by the scan's fractions, which add up to 1 in the brain."""
    if scan.white_matter is None or scan.grey_matter is None:
        return None
    white, grey = np.clip(scan.white_matter, 0, 1), np.clip(scan.grey_matter, 0, 1)
    total = np.maximum(white + grey, 1.0)
    return np.stack([np.clip(1 - white - grey, 0, 1), grey / total, white / total], axis=-1) * brain[..., None]


def _blurred(template: np.ndarray, brain: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """The template averaged over the part of the brain that the Gaussian sees."""
    weight = ndimage.gaussian_filter(brain.astype(float), widths)
    return ndimage.gaussian_filter(template, (*widths, 0)) / np.maximum(weight, 1e-6)[..., None]
