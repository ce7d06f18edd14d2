"""`Sampling`: what the voxels of a scan show of a field, where they are larger than those of the field."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from twinjax.core.errors import InputError
from twinjax.core.products import contracted
from twinjax.domain.domain import Domain
from twinjax.domain.resample import overlap

# Of a voxel: affines in files are float32.
ROUNDING = 1e-3
# Of a voxel: all of it.
WHOLE = 1 - ROUNDING


class Sampling(eqx.Module):
    """Means of a field over larger voxels, by one matrix an axis.

    **Fields:** `factors`, an axis each, (voxels of the scan, voxels of the field); `spacing` of the scan's voxels, mm
    (static).
    """

    factors: tuple[Float[Array, "_ _"], ...]
    spacing: tuple[float, ...] = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(factor.shape[0] for factor in self.factors)

    def __call__(self, field: Float[Array, "*grid"]) -> Float[Array, "*shape"]:
        for factor in self.factors:
            # The axis that was first becomes the last, so that all come back in order.
            field = contracted(field, factor.astype(field.dtype), axes=(0, 1))
        return field

    def cropped(self, lower: tuple[int, ...], upper: tuple[int, ...], index: np.ndarray) -> "Sampling":
        """Of the field in a box; `InputError` where a voxel of `index` (flattened) is not wholly in it."""
        factors = [np.asarray(f)[:, a:b] for f, a, b in zip(self.factors, lower, upper, strict=True)]
        whole = [factor.sum(axis=1) > WHOLE for factor in factors]
        place = np.unravel_index(index, self.shape)
        if not all(inside[i].all() for inside, i in zip(whole, place, strict=True)):
            raise InputError(f"data lie outside the box from {lower} to {upper}; enlarge it")
        return Sampling(tuple(map(jnp.asarray, factors)), self.spacing)

    @property
    def used(self) -> tuple[slice, ...]:
        """The voxels of the scan, an axis each, that hold something of the field."""
        rows = [np.flatnonzero(np.asarray(factor).any(axis=1)) for factor in self.factors]
        return tuple(slice(int(some[0]), int(some[-1]) + 1) for some in rows)

    def filled(self, shape: tuple[int, ...]) -> "Sampling":
        """The same of a field on a larger grid, of `shape`, by the `used` voxels and some that see nothing.

        They have that shape too, as there are no more of the larger voxels.
        """
        factors = []
        for factor, rows, n in zip(self.factors, self.used, shape, strict=True):
            factors.append(np.zeros((n, n)))
            factors[-1][: rows.stop - rows.start, : factor.shape[1]] = np.asarray(factor)[rows]
        return Sampling(tuple(map(jnp.asarray, factors)), self.spacing)


def seen_on(domain: Domain, affine: np.ndarray, shape: tuple[int, ...]) -> tuple[Domain, Sampling | None]:
    """The grid on which a scan (`affine`, `shape`) and a field of `domain` are compared, and how the field comes to it.

    Along each axis it is the coarser of the two grids: neither is interpolated, only averaged. A thick slice so shows a
    front as wide as it is thick, and not as wide as the tumour has it. Its mask holds the voxels that are all tissue.
    The domain itself, and None, where no voxel of the scan is the larger, or the axes of the two are not parallel.
    """
    if domain.affine is None or len(shape) != len(domain.shape):
        return domain, None
    mapping = np.linalg.inv(domain.affine) @ affine
    step, start = np.diag(mapping)[:3].copy(), mapping[:3, 3].copy()
    oblique = np.abs(mapping[:3, :3] - np.diag(step)).max() * max(shape) > ROUNDING
    larger = step > 1 + ROUNDING
    if oblique or (step <= 0).any() or not larger.any():
        return domain, None
    # Along an axis on which the scan is the finer, the voxels of the field stay.
    step, start = np.where(larger, step, 1.0), np.where(larger, start, 0.0)
    counts = [int(n) if big else m for n, m, big in zip(shape, domain.shape, larger, strict=True)]
    factors = [overlap(*axis) for axis in zip(step, start, counts, domain.shape, strict=True)]
    spacing = tuple(float(h * s) for h, s in zip(domain.spacing, step, strict=True))
    sampling = Sampling(tuple(map(jnp.asarray, factors)), spacing)
    zoom = np.diag([*step, 1.0])
    zoom[:3, 3] = start
    mask = np.asarray(sampling(domain.mask.astype(float))) > WHOLE
    return Domain(mask, spacing, affine=domain.affine @ zoom), sampling
