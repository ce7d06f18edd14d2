"""Synthetic MRI of a tumour: what a scanner would show of a cell density in a brain.

The images are drawn, not measured: signals are piecewise constants of tissue and tumour, blended by volume
fraction, with texture, a receive field and noise. The brain is stripped of its skull and is not pushed aside by
the tumour.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from scipy.special import expit

from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.imaging import labels

# Signals in arbitrary units, in the order seen in clinical images; they are our own choice.
SIGNALS: Mapping[str, Mapping[str, float]] = {
    "T1": {"csf": 180, "grey": 560, "white": 800, "oedema": 610, "enhancing": 540, "necrosis": 330},
    "T1CE": {"csf": 180, "grey": 590, "white": 800, "oedema": 620, "enhancing": 1350, "necrosis": 320},
    "T2": {"csf": 1150, "grey": 560, "white": 400, "oedema": 850, "enhancing": 700, "necrosis": 950},
    "FLAIR": {"csf": 110, "grey": 520, "white": 420, "oedema": 950, "enhancing": 760, "necrosis": 450},
}
# Apparent diffusion coefficients in mm²/s; in the tumour ADC = water - density (water - cellular), as in the
# observation model of Wu et al. 2022 (Cancer Res 82:3394).
ADC_CSF, ADC_GREY, ADC_WHITE = 3.0e-3, 0.85e-3, 0.75e-3
ADC_WATER, ADC_CELLULAR = 3.0e-3, 0.8e-3

# Voxel edges in mm: thin slices for the T1-weighted images, thick ones for the others, as in clinical protocols.
VOXEL_MM: Mapping[str, tuple[float, float, float]] = {
    "T1": (1.0, 1.0, 1.5),
    "T1CE": (1.0, 1.0, 1.5),
    "T2": (1.0, 1.0, 3.0),
    "FLAIR": (1.0, 1.0, 3.0),
    "ADC": (1.5, 1.5, 3.0),
}
# Half-width of the transition at a visibility threshold, in density: well below a voxel at a glioma's front.
BLUR = 0.02
# Standard deviations: relative tissue and tumour texture, and the coefficients of the log receive field.
TISSUE_TEXTURE, TUMOR_TEXTURE, RECEIVE_FIELD = 0.02, 0.06, 0.08


@dataclass(frozen=True)
class Visibility:
    """Cell densities (fractions of the carrying capacity) from which a region shows.

    **Fields:** `oedema` (bright on FLAIR and T2), `core` (enhancing on T1CE), `necrosis` (dark within the core,
    wherever the density has ever been that high). Raises `InputError` unless 0 < oedema < core < necrosis < 1.
    """

    oedema: float = 0.25
    core: float = 0.6
    necrosis: float = 0.9

    def __post_init__(self):
        if not 0 < self.oedema < self.core < self.necrosis < 1:
            raise InputError(
                "visibility: give 0 < oedema < core < necrosis < 1, "
                f"got oedema {self.oedema}, core {self.core}, necrosis {self.necrosis}"
            )

    @property
    def levels(self) -> dict[str, float]:
        """Region of a `Scan` to the density from which it shows."""
        return {"core": self.core, "whole_tumor": self.oedema}

    def segmentation(self, density: np.ndarray, peak_density: np.ndarray) -> np.ndarray:
        """int8 labels of `twinjax.imaging.labels`; `peak_density` is the highest density up to now."""
        core = density >= self.core
        segmentation = np.where(density >= self.oedema, labels.OEDEMA, labels.BACKGROUND).astype(np.int8)
        segmentation[core] = labels.ENHANCING
        segmentation[core & (peak_density >= self.necrosis)] = labels.NECROTIC
        return segmentation


class SyntheticImage(NamedTuple):
    """`array` (X, Y, Z) on its own grid, `affine` (4, 4) voxel index to patient space (RAS, mm)."""

    array: np.ndarray
    affine: np.ndarray


class SyntheticScan(NamedTuple):
    """One visit: `images` by modality, each on its own grid, and `maps` on the grid of T1.

    Images are float32, whole numbers in arbitrary units, ADC in mm²/s; all are zero outside the brain. `maps` are
    `brain_mask` (uint8), `white_matter` and `grey_matter` (float32 fractions of the healthy brain).
    """

    images: dict[str, SyntheticImage]
    maps: dict[str, SyntheticImage]


def synthesise_scan(
    density: np.ndarray,
    peak_density: np.ndarray,
    domain: Domain,
    head: Domain,
    visibility: Visibility,
    *,
    rng: np.random.Generator,
    texture: np.ndarray,
    extent_mm,
    noise_level: float = 0.03,
) -> SyntheticScan:
    """Scan a tumour: oblique anisotropic grids, partial volume, receive field and Rician noise.

    **Arguments:**

    - `density`, `peak_density`: (X, Y, Z) on `domain`, the density now and the highest until now.
    - `head`: brain mask and tissue of the whole field of view, cerebrospinal fluid included in the mask.
    - `texture`: on the grid of `head`, zero mean and unit variance; the same at every visit of a patient.
    - `extent_mm`: (3,) edges of the imaged box, whose centre is that of `head`.
    - `noise_level`: standard deviation of the noise relative to the signal of white matter; for ADC relative
      to its own value.
    """
    rotation = _rotation(rng)
    shift = rng.uniform(-2.0, 2.0, 3)
    now, peak = (head.from_grid(field, domain.affine) for field in (density, peak_density))
    here = _Tissue(head, now, peak, visibility)
    images, brain = {}, {}
    for modality, voxel_mm in VOXEL_MM.items():
        affine, shape = _grid(head, voxel_mm, extent_mm, rotation, shift)
        if voxel_mm not in brain:
            brain[voxel_mm] = head.to_grid(here.brain, affine, shape, order=0) > 0
        inside = brain[voxel_mm]
        if modality == "ADC":
            signal = head.to_grid(here.adc(), affine, shape)
            measured = signal * (1 + noise_level * rng.standard_normal(shape, dtype=np.float32))
            # Whole µm²/s, as scanners store them.
            image = np.round(np.maximum(measured, 0) * 1e6) * np.float32(1e-6)
        else:
            signal = head.to_grid(here.signal(SIGNALS[modality], texture), affine, shape)
            signal *= _receive_field(shape, rng)
            image = np.round(_rician(signal, noise_level * SIGNALS[modality]["white"], rng))
        images[modality] = SyntheticImage(np.where(inside, image, np.float32(0)), affine)
    t1 = images["T1"]
    # Hundredths are finer than the anatomy is known, and make small files.
    white, grey = (np.round(head.to_grid(f, t1.affine, t1.array.shape), 2) for f in (here.white, here.grey))
    arrays = {"brain_mask": brain[VOXEL_MM["T1"]].astype(np.uint8), "white_matter": white, "grey_matter": grey}
    return SyntheticScan(images, {name: SyntheticImage(array, t1.affine) for name, array in arrays.items()})


def smooth_texture(shape: tuple[int, ...], rng: np.random.Generator, *, width: float = 1.5) -> np.ndarray:
    """Zero-mean, unit-variance Gaussian field (float32), correlated over `width` voxels."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), width)
    return (field - field.mean()) / field.std()


class _Tissue:
    """Volume fractions of the brain and visibility weights of the tumour on the grid of the head."""

    def __init__(self, head: Domain, density: np.ndarray, peak_density: np.ndarray, visibility: Visibility):
        self.brain = np.asarray(head.mask, np.float32)
        self.white, self.grey = np.asarray(head.white_matter, np.float32), np.asarray(head.grey_matter, np.float32)
        self.fluid = np.maximum(self.brain - self.white - self.grey, 0)
        lower, upper = head.box_around(density > visibility.oedema - 8 * BLUR, 0.0)
        self.box = tuple(slice(a, b) for a, b in zip(lower, upper, strict=True))
        self.density = density[self.box]
        self.oedema = expit((self.density - visibility.oedema) / BLUR)
        self.core = expit((self.density - visibility.core) / BLUR)
        self.necrosis = self.core * expit((peak_density[self.box] - visibility.necrosis) / BLUR)
        # Cells live in tissue: fluid that shares a voxel with tumour keeps its own signal.
        self.solid = (self.white + self.grey)[self.box]

    def signal(self, of: Mapping[str, float], texture: np.ndarray) -> np.ndarray:
        solid = self.white * of["white"] + self.grey * of["grey"]
        tumor = solid[self.box]
        for weight, name in ((self.oedema, "oedema"), (self.core, "enhancing"), (self.necrosis, "necrosis")):
            tumor = tumor + weight * (self.solid * of[name] - tumor)
        solid[self.box] = tumor * (1 + TUMOR_TEXTURE * self.oedema * texture[self.box])
        return (solid + self.fluid * of["csf"]) * (1 + TISSUE_TEXTURE * texture)

    def adc(self) -> np.ndarray:
        solid = self.white * ADC_WHITE + self.grey * ADC_GREY
        tumor = self.solid * (ADC_WATER - self.density * (ADC_WATER - ADC_CELLULAR))
        solid[self.box] += self.oedema * (tumor - solid[self.box])
        return solid + self.fluid * ADC_CSF


def _rotation(rng: np.random.Generator) -> np.ndarray:
    """(3, 3) rotation by 8 to 12 degrees about a random axis near the left-right one: a nodding head."""
    axis = np.array([1.0, 0.0, 0.0]) + rng.uniform(-0.4, 0.4, 3)
    x, y, z = axis / np.linalg.norm(axis) * np.deg2rad(rng.uniform(8.0, 12.0))
    angle = np.sqrt(x**2 + y**2 + z**2)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) / angle
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def _grid(head: Domain, voxel_mm, extent_mm, rotation, shift) -> tuple[np.ndarray, tuple[int, ...]]:
    """Affine and shape of a rotated grid of `extent_mm` about the centre of `head`, moved by `shift` (mm)."""
    shape = tuple(int(np.ceil(e / v)) for e, v in zip(extent_mm, voxel_mm, strict=True))
    assert head.affine is not None
    centre = head.affine[:3, :3] @ ((np.asarray(head.shape) - 1) / 2) + head.affine[:3, 3] + shift
    affine = np.eye(4)
    affine[:3, :3] = rotation * np.asarray(voxel_mm)
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    return affine, shape


def _receive_field(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Smooth positive factor: the exponential of a random quadratic in the position."""
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n, dtype=np.float32) for n in shape], indexing="ij", sparse=True)
    a, b, c, d, e, f, g = rng.normal(0, RECEIVE_FIELD, 7).astype(np.float32)
    return np.exp(a * x + b * y + c * z + d * x**2 + e * y**2 + f * z**2 + g * x * y)


def _rician(signal: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """Magnitude of a complex signal with Gaussian noise in both channels (Gudbjartsson and Patz 1995)."""
    real, imaginary = (deviation * rng.standard_normal(signal.shape, dtype=np.float32) for _ in range(2))
    return np.hypot(signal + real, imaginary)
