"""A small synthetic head with a tumour, on an oblique anisotropic grid."""

from pathlib import Path

import numpy as np

from twinjax.imaging import labels, write_nifti

SIGNALS = {
    # (background, fluid, grey, white, oedema, enhancing, necrosis)
    "T1": (0, 180, 560, 800, 610, 540, 330),
    "T1CE": (0, 180, 590, 800, 620, 1350, 320),
    "T2": (0, 1150, 560, 400, 850, 700, 950),
    "FLAIR": (0, 110, 520, 420, 950, 760, 450),
    "ADC": (0, 3.0e-3, 0.85e-3, 0.75e-3, 1.5e-3, 1.0e-3, 2.2e-3),
}
ANGLE = np.deg2rad(9)
ROTATION = np.array([[1, 0, 0], [0, np.cos(ANGLE), -np.sin(ANGLE)], [0, np.sin(ANGLE), np.cos(ANGLE)]])


def grid(shape=(40, 40, 28), voxel_mm=(1.5, 1.5, 2.0)) -> tuple[np.ndarray, tuple[int, ...]]:
    """Affine and shape of a tilted grid about the origin."""
    affine = np.eye(4)
    affine[:3, :3] = ROTATION * np.asarray(voxel_mm)
    affine[:3, 3] = -affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    return affine, shape


def anatomy(affine: np.ndarray, shape: tuple[int, ...], core_mm: float = 7.0, moved=None) -> tuple[np.ndarray, ...]:
    """Tissue index into `SIGNALS` and internal labels on a grid; `core_mm` 0 is a healthy brain."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")).reshape(3, -1)
    place = affine if moved is None else np.linalg.inv(moved) @ affine
    x = (place @ np.vstack([index, np.ones(index.shape[1])]))[:3].reshape(3, *shape)
    radius = np.sqrt((x[0] / 23) ** 2 + (x[1] / 26) ** 2 + (x[2] / 22) ** 2)
    tissue = np.select([radius < 0.75, radius < 0.93, radius < 1.0], [3, 2, 1], 0)
    # Ventricles: two slabs of different size, so that no rotation maps the head onto itself.
    tissue[(np.abs(x[0] + 3) < 3) & (np.abs(x[1] - 4) < 9) & (np.abs(x[2]) < 5)] = 1
    distance = np.sqrt((x[0] - 9) ** 2 + (x[1] + 5) ** 2 + (x[2] - 1) ** 2)
    segmentation = np.zeros(shape, np.int8)
    if core_mm:
        segmentation[(distance < core_mm + 4) & (radius < 0.93) & (tissue > 1)] = labels.OEDEMA
        segmentation[distance < core_mm] = labels.ENHANCING
        segmentation[distance < core_mm - 3.5] = labels.NECROTIC
    for label, kind in ((labels.OEDEMA, 4), (labels.ENHANCING, 5), (labels.NECROTIC, 6)):
        tissue[segmentation == label] = kind
    return tissue, segmentation


def images(affine, shape, *, names=tuple(SIGNALS), seed=0, noise=0.02, **kwargs) -> dict[str, np.ndarray]:
    """Noisy images with receive fields, zero outside the head; ADC in mm²/s without either."""
    rng = np.random.default_rng(seed)
    tissue, _ = anatomy(affine, shape, **kwargs)
    ramp = np.linspace(-1, 1, shape[0])[:, None, None]
    found = {}
    for name in names:
        signal = np.asarray(SIGNALS[name])[tissue]
        if name != "ADC":
            field = np.exp(rng.normal(0, 0.1) * ramp + rng.normal(0, 0.05) * ramp**2)
            signal = np.abs(signal * field + noise * 800 * rng.standard_normal(shape)) * (tissue > 0)
        found[name] = signal.astype(np.float32)
    return found


def write_visit(folder: Path, *, names=tuple(SIGNALS), mask=True, tissue=True, geometry=None, **kwargs) -> Path:
    """A raw visit folder; FLAIR and ADC on thicker slices than T1."""
    folder.mkdir(parents=True, exist_ok=True)
    fine = geometry or grid()
    coarse = grid((40, 40, 19), (1.5, 1.5, 3.0)) if geometry is None else geometry
    for name in names:
        on = coarse if name in ("FLAIR", "ADC") else fine
        write_nifti(folder / f"{name}.nii.gz", images(*on, names=(name,), **kwargs)[name], on[0])
    kind, _ = anatomy(*fine, **{k: v for k, v in kwargs.items() if k in ("core_mm", "moved")})
    if mask:
        write_nifti(folder / "brain_mask.nii.gz", kind > 0, fine[0])
    if tissue:
        write_nifti(folder / "white_matter.nii.gz", (kind >= 3).astype(np.float32), fine[0])
        write_nifti(folder / "grey_matter.nii.gz", (kind == 2).astype(np.float32), fine[0])
    return folder


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))
