"""Random synthetic brain scans with tumours, for training and testing a segmentation network. None is of a patient.

The anatomy is the ICBM152 template under a random affine and a random smooth deformation. A tumour is a bumpy ellipsoid
in the brain with an enhancing rim, mostly a necrotic core, and oedema that keeps to white matter. Signals are those of
`twinjax.patient.synthesis` times random factors, with texture, vessels that enhance, a receive field, blur of thick
slices and noise, each random. The ranges are our own choice.
"""

from functools import cache

import numpy as np
from monai.transforms.compose import Compose
from monai.transforms.intensity.array import (
    RandAdjustContrast,
    RandBiasField,
    RandGaussianSmooth,
    RandRicianNoise,
)
from monai.transforms.spatial.array import Rand3DElastic
from scipy import ndimage
from scipy.special import expit

from twinjax.imaging import Scan, brain_template, labels
from twinjax.patient.synthesis import SIGNALS, smooth_texture

MODALITIES = ("T1", "T1CE", "T2", "FLAIR")
VOXEL_MM = 2.0
TUMOR_FREE = 0.15
# Of the core (mm): the mean radius and, less, the thickness of the enhancing rim; oedema reaches beyond the core.
CORE_MM, RIM_MM, OEDEMA_MM = (8.0, 22.0), (4.0, 9.0), (4.0, 20.0)
# Deviations of the logarithm of a tissue's signal, and of the texture in brain and tumour.
CONTRAST, TISSUE_TEXTURE, TUMOR_TEXTURE = 0.08, 0.03, 0.08
# Half-width (mm) of the transition between tissues: partial volume.
EDGE_MM = 0.6


def generate(seed: int, *, tumor_free: bool | None = None) -> Scan:
    """A scan at `VOXEL_MM` with the four modalities, `segmentation` and `brain_mask`; equal seeds give equal scans.

    `tumor_free` None leaves it to chance, at the rate `TUMOR_FREE`.
    """
    rng = np.random.default_rng([seed, 2026])
    chance = rng.random() < TUMOR_FREE
    tissue, affine = anatomy(rng)
    white, grey, brain = tissue
    mask = brain >= 0.5
    # Drawn in any case, so that the anatomy and noise of a seed do not depend on `tumor_free`.
    weights = tumor(white, grey, mask, rng)
    if chance if tumor_free is None else tumor_free:
        weights = {name: np.zeros_like(white) for name in weights}
    segmentation = np.zeros(mask.shape, np.int8)
    for name, label in (("oedema", labels.OEDEMA), ("enhancing", labels.ENHANCING), ("necrosis", labels.NECROTIC)):
        segmentation[weights[name] >= 0.5] = label
    texture = smooth_texture(mask.shape, rng, width=1.0)
    tubes = vessels(mask.shape, rng)
    images = {}
    for modality in MODALITIES:
        of = {name: value * np.exp(rng.normal(0, CONTRAST)) for name, value in SIGNALS[modality].items()}
        signal = white * of["white"] + grey * of["grey"] + np.maximum(brain - white - grey, 0) * of["csf"]
        if modality == "T1CE":
            signal += tubes * (of["enhancing"] - signal) * rng.uniform(0.2, 0.9)
        amount = np.full(mask.shape, TISSUE_TEXTURE, np.float32)
        for name, weight in weights.items():
            signal += weight * (of[name] - signal)
            amount += weight * (TUMOR_TEXTURE - amount)
        images[modality] = scanner(signal * (1 + amount * texture), rng) * mask
    return Scan(affine, images, segmentation * mask, mask)


def anatomy(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(3, X, Y, Z) float32 fractions of white matter, grey matter and brain in a random head, and the affine."""
    head, affine = template()
    warp = Rand3DElastic(
        sigma_range=(5.0, 7.0),
        magnitude_range=(50.0, 250.0),
        prob=1.0,
        rotate_range=(0.2, 0.2, 0.2),
        shear_range=(0.05,) * 6,
        translate_range=(4, 4, 4),
        scale_range=(0.12, 0.12, 0.12),
        padding_mode="zeros",
    )
    moved = np.asarray(seeded(warp, rng)(head), np.float32)
    return cropped(moved, affine, moved[2] >= 0.5)


@cache
def template() -> tuple[np.ndarray, np.ndarray]:
    """Fractions of the undeformed head, cropped to the brain with a margin for its deformation, and the affine."""
    head = brain_template(VOXEL_MM)
    tissue = np.stack([np.asarray(head.white_matter), np.asarray(head.grey_matter), np.asarray(head.brain_mask)])
    return cropped(tissue.astype(np.float32), head.affine, tissue[2] > 0, margin=8)


def cropped(arrays: np.ndarray, affine: np.ndarray, mask: np.ndarray, margin: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """`arrays` (..., X, Y, Z) in the box around `mask`, `margin` voxels wider, and the affine of the box."""
    found = np.argwhere(mask)
    lower = np.maximum(found.min(axis=0) - margin, 0)
    upper = found.max(axis=0) + 1 + margin
    shift = np.eye(4)
    shift[:3, 3] = lower
    return arrays[..., *(slice(a, b) for a, b in zip(lower, upper, strict=True))], affine @ shift


def tumor(white: np.ndarray, grey: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Weights in [0, 1] of oedema, enhancing and necrosis, each laid over the one before."""
    depth = VOXEL_MM * np.asarray(ndimage.distance_transform_edt(mask))
    candidates = np.argwhere((white > 0.5) & (depth > 8))
    centre = candidates[rng.integers(len(candidates))]
    radius, rim, reach = (rng.uniform(*limits) for limits in (CORE_MM, RIM_MM, OEDEMA_MM))
    core = distance(mask.shape, centre, rng) - radius
    inside = core + np.minimum(rim, 0.7 * radius) + bumps(mask.shape, rng, 1.5)
    # Water follows white matter and leaves grey matter nearly alone.
    outside = core - reach + bumps(mask.shape, rng, 3.0) + 0.8 * reach * np.clip(grey - white, 0, 1)
    solid = np.clip(white + grey, 0, 1)
    within = expit(-core / EDGE_MM) * mask
    return {
        "oedema": np.maximum(expit(-outside / EDGE_MM) * solid * mask, within),
        "enhancing": within,
        # A rim of one voxel at least, wherever the bumps fall.
        "necrosis": expit(-inside / EDGE_MM) * ndimage.binary_erosion(within >= 0.5),
    }


def distance(shape: tuple[int, ...], centre: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Distance (mm) from the centre of a bumpy ellipsoid, in which equal distances lie on its shells."""
    axes = np.linalg.qr(rng.normal(size=(3, 3)))[0] * np.exp(rng.normal(0, 0.2, 3))
    index = np.indices(shape, dtype=np.float32).reshape(3, -1) - centre[:, None]
    radii = np.linalg.norm(axes.astype(np.float32).T @ index, axis=0).reshape(shape)
    return VOXEL_MM * radii * np.exp(bumps(shape, rng, 0.2))


def bumps(shape: tuple[int, ...], rng: np.random.Generator, deviation: float) -> np.ndarray:
    return deviation * smooth_texture(shape, rng, width=4.0)


def vessels(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Weights in [0, 1] of curved tubes: where two smooth fields are zero at once."""
    near = np.hypot(*(smooth_texture(shape, rng, width=6.0) for _ in range(2)))
    return expit((0.06 - near) / 0.015)


def scanner(signal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The image of a signal: blur, receive field, contrast curve and noise."""
    blur = (0.0, 0.6)
    steps = Compose(
        [
            RandGaussianSmooth(blur, blur, blur, prob=0.7),
            RandBiasField(degree=3, coeff_range=(-0.12, 0.12), prob=1.0),
            RandAdjustContrast(prob=0.7, gamma=(0.8, 1.25)),
            RandRicianNoise(prob=1.0, std=0.05, relative=True, sample_std=True),
        ]
    )
    image = np.asarray(seeded(steps, rng)(signal[None].astype(np.float32))[0], np.float32)
    return np.maximum(image, 1e-3)


def seeded(transform, rng: np.random.Generator):
    return transform.set_random_state(seed=int(rng.integers(2**31)))
