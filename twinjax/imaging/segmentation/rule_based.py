"""Segmentation by rules on what healthy tissue cannot explain."""

from collections.abc import Mapping

import numpy as np
from scipy import ndimage

from twinjax.imaging import labels
from twinjax.imaging.segmentation.segmenter import AbstractSegmenter, check_images

# Voxels that the healthy-tissue regression is fitted on, and its rounds of leaving out what does not fit.
FIT_VOXELS, FIT_ROUNDS = 30_000, 12


class RuleBasedSegmenter(AbstractSegmenter):
    """Enhancing tumour, necrosis and oedema from T1, T1CE, T2 and FLAIR, without training data.

    In healthy brain T1CE and FLAIR follow from T1 and T2: white matter, grey matter and fluid are three points,
    which an affine map fits. The map is fitted by trimmed least squares, its coefficients quadratic in position,
    so that receive fields drop out. Where T1CE is brighter than it predicts, tissue enhances; where FLAIR is,
    there is oedema. A region ends where its signal has fallen to half. Necrosis is what enhancing tissue
    encloses. The method is this project's own; it knows nothing of vessels, haemorrhage or old resections.

    **Arguments:**

    - `minimum_contrast`: brightening below this fraction of the brain's intensity range (5th to 95th
      percentile) is no tumour.
    - `minimum_volume_mm3`: smaller regions are no tumour.
    """

    channels = ("T1", "T1CE", "T2", "FLAIR")

    def __init__(self, minimum_contrast: float = 0.35, minimum_volume_mm3: float = 100.0):
        self.minimum_contrast = minimum_contrast
        self.minimum_volume_mm3 = minimum_volume_mm3

    def segment(self, images: Mapping[str, np.ndarray], affine: np.ndarray, brain_mask: np.ndarray) -> np.ndarray:
        check_images(images, self.channels, brain_mask)
        brain = np.asarray(brain_mask, dtype=bool)
        segmentation = np.zeros(brain.shape, dtype=np.int8)
        if brain.sum() < 1000:
            return segmentation
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        smallest = self.minimum_volume_mm3 / np.prod(spacing)
        predictors = [np.asarray(images[name], dtype=np.float32) for name in ("T1", "T2")]
        oedema = self._bright(_unexplained(images["FLAIR"], predictors, brain), images["FLAIR"], brain, smallest)
        enhancing = self._bright(_unexplained(images["T1CE"], predictors, brain), images["T1CE"], brain, smallest)
        # Vessels and meninges enhance as well, but lie in no oedema.
        if oedema.any():
            enhancing = _touching(enhancing, ndimage.binary_dilation(oedema, iterations=2))
        core = _filled(enhancing, spacing) & brain
        whole = np.asarray(ndimage.binary_opening(oedema), dtype=bool) | core
        whole = _touching(whole, core) if core.any() else _largest(whole)
        whole = np.asarray(ndimage.binary_fill_holes(whole)) & brain
        segmentation[whole] = labels.OEDEMA
        segmentation[core] = labels.NECROTIC
        segmentation[core & enhancing] = labels.ENHANCING
        return segmentation

    def _bright(self, excess: np.ndarray, image: np.ndarray, brain: np.ndarray, smallest: float) -> np.ndarray:
        """Regions whose `excess` is above half of its level inside them; a noise voxel is no region."""
        low, high = np.percentile(image[brain], (5, 95))
        floor = max(self.minimum_contrast * (high - low), 5 * _deviation(excess[brain]))
        seeds = _at_least(excess > floor, smallest)
        if not seeds.any():
            return seeds
        level = np.median(excess[seeds])
        return _at_least((excess > 0.5 * level) & brain, smallest)


def _unexplained(image: np.ndarray, predictors: list[np.ndarray], brain: np.ndarray) -> np.ndarray:
    """`image` minus what `predictors` say of it in most of the brain, lightly smoothed; 0 outside."""
    position = [np.linspace(-1, 1, n, dtype=np.float32) for n in brain.shape]
    inside = np.nonzero(brain)
    x, y, z = (axis[index] for axis, index in zip(position, inside, strict=True))
    field = np.stack([np.ones_like(x), x, y, z, x * x, y * y, z * z, x * y, x * z, y * z], axis=1)
    values = [np.ones_like(x), *(p[brain] / max(float(np.abs(p[brain]).max()), 1e-12) for p in predictors)]
    target = np.asarray(image, dtype=np.float32)[brain]
    chosen = slice(None, None, max(1, len(target) // FIT_VOXELS))
    design = np.concatenate([value[chosen, None] * field[chosen] for value in values], axis=1)
    # Tumour is among the brightest quarter: left out at first, it is not taken for healthy tissue. Nor is it by
    # coefficients without position, which come first.
    kept = target[chosen] <= np.percentile(target[chosen], 75)
    coefficients = np.zeros(design.shape[1], dtype=np.float32)
    for round_ in range(FIT_ROUNDS):
        columns = slice(None, None, field.shape[1] if round_ < FIT_ROUNDS // 2 else 1)
        rows = design[kept, columns].astype(float)
        # The normal equations are small and well scaled; lstsq also takes a constant image.
        solution = np.linalg.lstsq(rows.T @ rows, rows.T @ target[chosen][kept], rcond=1e-12)[0]
        coefficients[columns] = solution
        residual = target[chosen] - design @ coefficients
        kept = np.abs(residual) < 2.5 * max(_deviation(residual[kept]), 1e-12)
    excess = np.zeros(brain.shape, dtype=np.float32)
    parts = zip(values, coefficients.reshape(len(values), -1), strict=True)
    excess[brain] = target - sum(value * (field @ c) for value, c in parts)
    return ndimage.gaussian_filter(excess, 0.6)


def _deviation(values: np.ndarray) -> float:
    """Standard deviation of a normal distribution with the same median absolute deviation."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def _components(region: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    components, _ = ndimage.label(region)  # pyright: ignore
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    return components, sizes


def _at_least(region: np.ndarray, voxels: float) -> np.ndarray:
    components, sizes = _components(region)
    return (sizes >= max(voxels, 1))[components]


def _largest(region: np.ndarray) -> np.ndarray:
    components, sizes = _components(region)
    return region & (components == np.argmax(sizes))


def _touching(region: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The components of `region` that share a voxel with `other`."""
    components, sizes = _components(region)
    touched = np.zeros(len(sizes), dtype=bool)
    touched[components[region & other]] = True
    touched[0] = False
    return touched[components]


def _filled(rim: np.ndarray, spacing: np.ndarray, gap_mm: float = 4.0) -> np.ndarray:
    """`rim` and what it encloses in space or in a plane, gaps up to `gap_mm` bridged."""
    reach = max(1, round(gap_mm / 2 / float(spacing.min())))
    closed = ndimage.binary_closing(np.pad(rim, reach), iterations=reach)
    filled = np.asarray(ndimage.binary_fill_holes(closed))
    for axis in range(3):
        planes = np.moveaxis(closed, axis, 0)
        filled |= np.moveaxis(np.stack([np.asarray(ndimage.binary_fill_holes(plane)) for plane in planes]), 0, axis)
    return filled[(slice(reach, -reach),) * 3]
