"""`Domain`: the voxel grid that a solver sees."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from twinjax.core.errors import InputError
from twinjax.domain.resample import resample


class Domain(eqx.Module):
    """Tissue on a regular grid of one, two or three axes; nothing of files or patients.

    **Fields:**

    - `mask`: voxels where cells may live; the boundary of the mask is a zero-flux wall.
    - `white_matter`, `grey_matter`: tissue fractions in [0, 1]. What is left of the mask
      (cerebrospinal fluid) carries no tumour: `Domain.from_tissue` excludes it.
    - `spacing`: voxel edge lengths in mm, one per axis (static: part of the compiled program).
    - `affine`: (4, 4) voxel index to patient space in mm, or None for a bare grid.

    Raises `InputError` where shapes differ, nothing is tissue, or the affine does not fit the spacing.
    """

    mask: Bool[Array, "*grid"]
    white_matter: Float[Array, "*grid"]
    grey_matter: Float[Array, "*grid"]
    spacing: tuple[float, ...] = eqx.field(static=True)
    affine: np.ndarray | None

    def __init__(self, mask, spacing, *, white_matter=None, grey_matter=None, affine=None):
        mask = np.asarray(mask) > 0
        spacing = tuple(float(h) for h in spacing)
        if not 1 <= mask.ndim <= 3:
            raise InputError(f"a domain mask has one to three axes, got {mask.ndim}")
        if len(spacing) != mask.ndim:
            raise InputError(f"spacing has {len(spacing)} entries for a mask of {mask.ndim} axes; give one per axis")
        if not all(np.isfinite(h) and h > 0 for h in spacing):
            raise InputError(f"spacing must be positive and finite (mm), got {spacing}")
        if not mask.any():
            raise InputError("the domain mask is empty: no voxel is tissue")
        if affine is not None:
            affine = np.asarray(affine, dtype=float)
            if mask.ndim != 3 or affine.shape != (4, 4):
                raise InputError(f"an affine is (4, 4) for a mask of three axes, got {affine.shape} for {mask.ndim}")
            edges = np.linalg.norm(affine[:3, :3], axis=0)
            if not np.allclose(edges, spacing, rtol=1e-3):
                raise InputError(
                    f"spacing {spacing} does not fit the affine, whose voxel edges are {edges.tolist()} mm"
                )
        if white_matter is None and grey_matter is None:
            white_matter = np.ones(mask.shape)
        white_matter = np.zeros(mask.shape) if white_matter is None else np.asarray(white_matter)
        grey_matter = np.zeros(mask.shape) if grey_matter is None else np.asarray(grey_matter)
        for name, tissue in (("white_matter", white_matter), ("grey_matter", grey_matter)):
            if tissue.shape != mask.shape:
                raise InputError(f"{name} has shape {tissue.shape}, the mask {mask.shape}; resample one to the other")
            if not np.isfinite(tissue).all():
                raise InputError(f"{name} has NaN or infinite voxels")
        self.mask = jnp.asarray(mask)
        self.white_matter = jnp.asarray(np.clip(white_matter, 0, 1) * mask, dtype=float)
        self.grey_matter = jnp.asarray(np.clip(grey_matter, 0, 1) * mask, dtype=float)
        self.spacing = spacing
        self.affine = affine

    @classmethod
    def from_tissue(
        cls, white_matter, grey_matter, affine, *, brain_mask=None, tissue_threshold: float = 0.5
    ) -> "Domain":
        """The part of the brain that is at least `tissue_threshold` white plus grey matter: CSF is out."""
        white_matter, grey_matter = np.asarray(white_matter), np.asarray(grey_matter)
        shapes = [np.shape(a) for a in (white_matter, grey_matter, brain_mask) if a is not None]
        if len(set(shapes)) > 1:
            raise InputError(f"the tissue maps and the brain mask differ in shape: {shapes}; resample them to one grid")
        mask = white_matter + grey_matter >= tissue_threshold
        if brain_mask is not None:
            mask &= np.asarray(brain_mask) > 0
        spacing = np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)
        return cls(mask, spacing, white_matter=white_matter, grey_matter=grey_matter, affine=affine)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.mask.shape

    @property
    def voxel_volume(self) -> float:
        """mm³ (mm², mm on grids of two axes, one axis)."""
        return float(np.prod(self.spacing))

    def resampled(self, resolution_mm: float) -> "Domain":
        """The same tissue on an isotropic grid of `resolution_mm`, over the same field of view.

        Fractions are averaged over the new voxels; the mask keeps voxels of which at least half was mask.
        """
        if not (np.isfinite(resolution_mm) and resolution_mm > 0):
            raise InputError(f"resolution_mm must be positive, got {resolution_mm}")
        if np.allclose(self.spacing, resolution_mm, rtol=1e-3):
            return self
        scale = np.asarray([resolution_mm / h for h in self.spacing])
        shape = tuple(max(1, round(n / s)) for n, s in zip(self.shape, scale, strict=True))
        affine = self._or_index_affine()
        axes = len(shape)
        # The two grids share the corner of their first voxel, so the centres shift by half a voxel each.
        zoom = np.eye(4)
        zoom[range(axes), range(axes)] = scale
        zoom[range(axes), 3] = (scale - 1) / 2
        new_affine = affine @ zoom
        white, grey, mask = (
            resample(np.asarray(a, dtype=np.float32), affine, new_affine, shape)
            for a in (self.white_matter, self.grey_matter, self.mask)
        )
        return Domain(
            mask >= 0.5,
            (resolution_mm,) * axes,
            white_matter=white,
            grey_matter=grey,
            affine=None if self.affine is None else new_affine,
        )

    def cropped(self, lower: tuple[int, ...], upper: tuple[int, ...]) -> "Domain":
        """The box of voxels `lower[i] <= index < upper[i]`; its faces become zero-flux walls."""
        if not all(0 <= a < b <= n for a, b, n in zip(lower, upper, self.shape, strict=True)):
            raise InputError(f"the box {tuple(lower)} to {tuple(upper)} does not lie in a grid of {self.shape}")
        box = tuple(slice(a, b) for a, b in zip(lower, upper, strict=True))
        affine = self.affine
        if affine is not None:
            shift = np.eye(4)
            shift[: len(lower), 3] = lower
            affine = affine @ shift
        return Domain(
            np.asarray(self.mask)[box],
            self.spacing,
            white_matter=np.asarray(self.white_matter)[box],
            grey_matter=np.asarray(self.grey_matter)[box],
            affine=affine,
        )

    def box_around(self, region, margin_mm: float) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """`(lower, upper)` of the box that holds `region` (bool, grid shape) with `margin_mm` on every side."""
        region = np.asarray(region)
        if region.shape != self.shape:
            raise InputError(f"the region has shape {region.shape}, the domain {self.shape}")
        if not region.any():
            raise InputError("the region to crop around is empty: is the tumour mask empty?")
        lower, upper = [], []
        for axis, (h, n) in enumerate(zip(self.spacing, self.shape, strict=True)):
            other = tuple(a for a in range(region.ndim) if a != axis)
            indices = np.flatnonzero(region.any(axis=other))
            pad = int(np.ceil(margin_mm / h))
            lower.append(max(0, int(indices[0]) - pad))
            upper.append(min(n, int(indices[-1]) + 1 + pad))
        return tuple(lower), tuple(upper)

    def coordinates(self) -> Float[Array, "axes *grid"]:
        """Positions of the voxel centres in mm: patient space with an affine, `index * spacing` without."""
        index = jnp.stack(jnp.meshgrid(*[jnp.arange(n, dtype=float) for n in self.shape], indexing="ij"))
        if self.affine is None:
            return index * jnp.asarray(self.spacing).reshape((-1,) + (1,) * len(self.shape))
        flat = jnp.asarray(self.affine[:3, :3]) @ index.reshape(3, -1) + jnp.asarray(self.affine[:3, 3:])
        return flat.reshape(index.shape)

    def from_grid(self, array, affine, *, order: int = 1) -> np.ndarray:
        """Bring an (X, Y, Z) array of another grid onto this one (order 0: labels, 1: linear, averaging).

        A bool array stays one: true where at least half of a voxel is.
        """
        array = np.asarray(array)
        found = resample(array, affine, self._or_index_affine(), self.shape, order=order)
        return found >= 0.5 if array.dtype == bool else found

    def to_grid(self, array, affine, shape, *, order: int = 1) -> np.ndarray:
        """Bring a field of this grid onto another grid; zero outside this domain's box."""
        return resample(np.asarray(array), self._or_index_affine(), affine, shape, order=order)

    def _or_index_affine(self) -> np.ndarray:
        if self.affine is not None:
            return self.affine
        return np.diag([*self.spacing, *([1.0] * (4 - len(self.spacing)))])
