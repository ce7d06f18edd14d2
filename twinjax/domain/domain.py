"""`Domain`: the voxel grid that a solver sees."""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from twinjax.core.errors import InputError
from twinjax.core.memory import free_bytes, refuse_if_too_large
from twinjax.core.products import product
from twinjax.domain.resample import resample

# Copies of a map that are there at once while it is resampled.
COPIES = 3
# Maps that are shares of a voxel.
FRACTIONS = ("white_matter", "grey_matter", "adipose", "fibroglandular", "stroma")


class Domain(eqx.Module):
    """Tissue on a regular grid of one, two or three axes; nothing of files or patients.

    **Fields:**

    - `mask`: voxels where cells may live; the boundary of the mask is a zero-flux wall.
    - `maps`: what is known of the tissue, by name, each on the grid and zero outside the mask. Fractions in [0, 1]:
      `white_matter`, `grey_matter`, `adipose`, `fibroglandular`, `stroma`. Relative to their mean over the organ:
      `perfusion` (Ktrans), `drug_distribution`. A model says which it reads.
    - `spacing`: voxel edge lengths in mm, one per axis (static: part of the compiled program).
    - `affine`: (4, 4) voxel index to patient space in mm, or None for a bare grid.

    Raises `InputError` where shapes differ, nothing is tissue, or the affine does not fit the spacing.
    """

    mask: Bool[Array, "*grid"]
    maps: dict[str, Float[Array, "*grid"]]
    spacing: tuple[float, ...] = eqx.field(static=True)
    affine: np.ndarray | None

    def __init__(self, mask, spacing, *, white_matter=None, grey_matter=None, maps=None, affine=None):
        """`white_matter` and `grey_matter` are entries of `maps`, given by name."""
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
        given = {"white_matter": white_matter, "grey_matter": grey_matter}
        maps = dict(maps or {}) | {name: array for name, array in given.items() if array is not None}
        self.mask = jnp.asarray(mask)
        self.maps = {name: _checked_map(name, array, mask) for name, array in maps.items()}
        self.spacing = spacing
        self.affine = affine

    @classmethod
    def from_tissue(
        cls, white_matter, grey_matter, affine, *, brain_mask=None, maps=None, tissue_threshold: float = 0.5
    ) -> "Domain":
        """The part of the brain that is at least `tissue_threshold` white plus grey matter: CSF is out.

        `maps`: what is known besides, on the same grid.
        """
        white_matter, grey_matter = np.asarray(white_matter), np.asarray(grey_matter)
        shapes = [np.shape(a) for a in (white_matter, grey_matter, brain_mask) if a is not None]
        if len(set(shapes)) > 1:
            raise InputError(f"the tissue maps and the brain mask differ in shape: {shapes}; resample them to one grid")
        mask = white_matter + grey_matter >= tissue_threshold
        if brain_mask is not None:
            mask &= np.asarray(brain_mask) > 0
        spacing = np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)
        return cls(mask, spacing, white_matter=white_matter, grey_matter=grey_matter, maps=maps, affine=affine)

    def map(self, name: str) -> Float[Array, "*grid"]:
        """The map of that name; `InputError` where the domain has none."""
        if name not in self.maps:
            known = ", ".join(self.maps) or "none"
            raise InputError(
                f"the domain has no map '{name}' (it has {known}); give Domain(..., maps={{'{name}': ...}})"
            )
        return self.maps[name]

    @property
    def white_matter(self) -> Float[Array, "*grid"]:
        """Fraction of white matter; a domain without white and grey matter is taken as all white matter."""
        if "white_matter" not in self.maps and "grey_matter" not in self.maps:
            return self.mask.astype(float)
        return self.maps.get("white_matter", jnp.zeros(self.shape))

    @property
    def grey_matter(self) -> Float[Array, "*grid"]:
        """Fraction of grey matter; zero where it is not known."""
        return self.maps.get("grey_matter", jnp.zeros(self.shape))

    def open_mask(self, open_tissue: Array | None) -> Bool[Array, "*grid"]:
        """The mask without what was removed: `open_tissue` is 1 where tissue is left, 0 elsewhere, None for all."""
        return self.mask if open_tissue is None else self.mask & (open_tissue > 0.5)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.mask.shape

    @property
    def voxel_volume(self) -> float:
        """mm³ (mm², mm on grids of two axes, one axis)."""
        return float(np.prod(self.spacing))

    def resampled(self, resolution_mm: float) -> "Domain":
        """The same tissue on an isotropic grid of `resolution_mm`, over the same field of view.

        Fractions are averaged over the new voxels; the mask keeps voxels of which at least half was mask. Raises
        `InputError` for a grid that does not fit into memory.
        """
        if not (np.isfinite(resolution_mm) and resolution_mm > 0):
            raise InputError(f"resolution_mm must be positive, got {resolution_mm}")
        if np.allclose(self.spacing, resolution_mm, rtol=1e-3):
            return self
        scale = np.asarray([resolution_mm / h for h in self.spacing])
        shape = tuple(max(1, round(n / s)) for n, s in zip(self.shape, scale, strict=True))
        needed = float(np.prod(shape, dtype=float)) * np.dtype(float).itemsize * (len(self.maps) + COPIES)
        what = f"a grid of {' x '.join(map(str, shape))} voxels of {resolution_mm:g} mm"
        refuse_if_too_large(needed, free_bytes(), what, "take a larger resolution_mm")
        affine = self._or_index_affine()
        axes = len(shape)
        # The two grids share the corner of their first voxel, so the centres shift by half a voxel each.
        zoom = np.eye(4)
        zoom[range(axes), range(axes)] = scale
        zoom[range(axes), 3] = (scale - 1) / 2
        new_affine = affine @ zoom
        mask, *maps = (
            resample(np.asarray(a, dtype=np.float32), affine, new_affine, shape)
            for a in (self.mask, *self.maps.values())
        )
        return Domain(
            mask >= 0.5,
            (resolution_mm,) * axes,
            maps=dict(zip(self.maps, maps, strict=True)),
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
            maps={name: np.asarray(array)[box] for name, array in self.maps.items()},
            affine=affine,
        )

    def cube_about(self, center_mm: Sequence[float] | np.ndarray, *, voxels: int, resolution_mm: float) -> "Domain":
        """The cube of tissue with its middle at `center_mm` (`coordinates`), on a grid of its own; empty where this one
        ends. Raises `InputError` where it holds no tissue.
        """
        affine = np.diag([resolution_mm] * 3 + [1.0])
        affine[:3, 3] = np.asarray(center_mm, float) - (voxels - 1) / 2 * resolution_mm
        grid = Domain(np.ones((voxels,) * 3), (resolution_mm,) * 3, affine=affine)
        own = self._or_index_affine()
        mask = grid.from_grid(np.asarray(self.mask), own)
        maps = {name: grid.from_grid(np.asarray(array), own) for name, array in self.maps.items()}
        return Domain(mask, grid.spacing, maps=maps, affine=affine)

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
        rotated = product(jnp.asarray(self.affine[:3, :3]), index.reshape(3, -1))
        flat = rotated + jnp.asarray(self.affine[:3, 3:])
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


def _checked_map(name: str, array, mask: np.ndarray) -> Array:
    array = np.asarray(array)
    if array.shape != mask.shape:
        raise InputError(f"{name} has shape {array.shape}, the mask {mask.shape}; resample one to the other")
    if not np.isfinite(array).all():
        raise InputError(f"{name} has NaN or infinite voxels")
    inside = array * mask
    return jnp.asarray(np.clip(inside, 0, 1) if name in FRACTIONS else inside, dtype=float)
