"""`Placement`: where the points of one space lie in another, by rigid motions and deformations."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from twinjax.domain import resample
from twinjax.imaging.deformation import Deformation

# Voxels whose places are computed at once.
_SLAB = 2**21


class Placement(NamedTuple):
    """**Fields:** `steps`, applied in their order: matrices (4, 4) of motions, RAS mm, and `Deformation`s."""

    steps: tuple[np.ndarray | Deformation, ...] = ()

    @property
    def matrix(self) -> np.ndarray | None:
        """The (4, 4) motion that all steps make together; None where one of them is a deformation."""
        product = np.eye(4)
        for step in self.steps:
            if isinstance(step, Deformation):
                return None
            product = step @ product
        return product

    def inverted(self) -> "Placement":
        reverse = reversed(self.steps)
        return Placement(tuple(s.inverted() if isinstance(s, Deformation) else np.linalg.inv(s) for s in reverse))

    def __str__(self) -> str:
        # The last step is the first to be taken when an image is laid on the other.
        return " and ".join(str(s) if isinstance(s, Deformation) else "rigid motion" for s in reversed(self.steps))

    def points(self, points: np.ndarray) -> np.ndarray:
        """Where points (3, N) come to lie."""
        for step in self.steps:
            points = step(points) if isinstance(step, Deformation) else step[:3, :3] @ points + step[:3, 3:]
        return points


def resample_placed(
    array: np.ndarray,
    affine: np.ndarray,
    target_affine: np.ndarray,
    target_shape: tuple[int, ...],
    placement: Placement,
    *,
    order: int = 1,
) -> np.ndarray:
    """`resample`, `placement` leading from the points of the target's space to those of the array's.

    Motions alone are `resample`'s own. With a deformation, voxels of the target that are larger than those of the
    array are means over points in them (order 1).
    """
    matrix = placement.matrix
    if matrix is not None:
        return resample(array, np.linalg.inv(matrix) @ affine, target_affine, target_shape, order=order)
    fine, edges = np.linalg.norm(affine[:3, :3], axis=0).min(), np.linalg.norm(target_affine[:3, :3], axis=0)
    parts = np.maximum(np.round(edges / fine), 1).astype(int) if order == 1 else np.ones(3, int)
    offsets = np.stack(np.meshgrid(*((np.arange(n) + 0.5) / n - 0.5 for n in parts), indexing="ij")).reshape(3, -1)
    to_index = np.linalg.inv(affine)
    values = np.asarray(array, np.float32 if order == 1 else None)
    found = np.zeros(target_shape, values.dtype)
    rows = max(1, _SLAB // int(np.prod(target_shape[1:])))
    for start in range(0, target_shape[0], rows):
        stop = min(start + rows, target_shape[0])
        index = np.indices((stop - start, *target_shape[1:])).reshape(3, -1) + np.array([[start], [0], [0]])
        total = np.zeros(index.shape[1], values.dtype)
        for offset in offsets.T:
            place = placement.points(target_affine[:3, :3] @ (index + offset[:, None]) + target_affine[:3, 3:])
            voxel = to_index[:3, :3] @ place + to_index[:3, 3:]
            inside = np.all((voxel > -0.5) & (voxel < np.array(values.shape)[:, None] - 0.5), axis=0)
            sampled = ndimage.map_coordinates(values, voxel, order=order, mode="nearest")
            total += np.where(inside, sampled, 0).astype(values.dtype)
        if order == 1:
            total /= offsets.shape[1]
        found[start:stop] = total.reshape(stop - start, *target_shape[1:])
    return found
