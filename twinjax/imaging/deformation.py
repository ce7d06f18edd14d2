"""`Deformation`: a smooth map of patient space onto itself, and back."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from twinjax.core.errors import InputError

# Of the inverse: rounds at most, and what may be left (mm) where the map is followed there and back.
_ROUNDS, _TOLERANCE_MM = 200, 0.05


@dataclass(frozen=True, eq=False)
class Deformation:
    """x → x + u(x), mm, with its inverse; beyond the grid the outermost values hold.

    **Fields:** `displacement` and `inverse_displacement` (X, Y, Z, 3) float32, mm; `affine` (4, 4) of their grid,
    which lies along the axes of patient space.
    """

    displacement: np.ndarray
    inverse_displacement: np.ndarray
    affine: np.ndarray

    @classmethod
    def create(cls, displacement: np.ndarray, affine: np.ndarray) -> "Deformation":
        """With the inverse, on a grid that is wider by the largest displacement.

        Raises `InputError` where tissue would be folded, which no tissue is.
        """
        lowest = float(jacobian_determinant(displacement, affine).min())
        if lowest <= 0:
            raise InputError(
                f"the deformable registration folds tissue (lowest Jacobian determinant {lowest:.2f}); check that both "
                "images show the same organ, or set registration to rigid"
            )
        # What is moved out of the grid must find its way back.
        reach = np.ceil(np.abs(displacement).max(axis=(0, 1, 2)) / np.diag(affine)[:3]).astype(int) + 1
        wider = affine.copy()
        wider[:3, 3] -= reach * np.diag(affine)[:3]
        displacement = np.pad(displacement, [*((n, n) for n in reach), (0, 0)], mode="edge")
        return cls(displacement.astype(np.float32), _inverse(displacement, wider), wider)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Where points (3, N), RAS mm, come to lie."""
        return points + _at(self.displacement, self.affine, points)

    def inverted(self) -> "Deformation":
        return Deformation(self.inverse_displacement, self.displacement, self.affine)

    def __str__(self) -> str:
        determinant = jacobian_determinant(self.displacement, self.affine)
        largest = np.linalg.norm(self.displacement, axis=-1).max()
        return (
            f"deformation by up to {largest:.1f} mm, Jacobian determinant {determinant.min():.2f} to "
            f"{determinant.max():.2f}"
        )


def jacobian_determinant(displacement: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """(X, Y, Z) volume after the map over that before, by central differences of (X, Y, Z, 3) `displacement`."""
    spacing = np.diag(affine)[:3]
    gradient = np.stack([np.gradient(displacement, h, axis=axis) for axis, h in enumerate(spacing)], axis=-1)
    return np.linalg.det(gradient + np.eye(3))


def _at(displacement: np.ndarray, affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    index = (points - affine[:3, 3:]) / np.diag(affine)[:3, None]
    return np.stack([ndimage.map_coordinates(displacement[..., k], index, order=1, mode="nearest") for k in range(3)])


def _inverse(displacement: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """v with v(y) = -u(y + v(y)), by iteration (Chen et al. 2008, Med Phys 35:81).

    SimpleITK's inverses are zero at the border of the grid, where a cropped organ still moves.
    """
    shape = displacement.shape[:3]
    points = np.indices(shape).reshape(3, -1) * np.diag(affine)[:3, None] + affine[:3, 3:]
    found, share, before = np.zeros_like(points), 1.0, np.inf
    for _ in range(_ROUNDS):
        change = -_at(displacement, affine, points + found) - found
        moved = float(np.abs(change).max())
        if moved < _TOLERANCE_MM / 10:
            break
        # Whole steps swing where u grows by more than a millimetre a millimetre; half ones do not up to three.
        share = 0.5 if moved > 0.9 * before else share
        found, before = found + share * change, moved
    left = float(np.linalg.norm(found + _at(displacement, affine, points + found), axis=0).max())
    if left > _TOLERANCE_MM:
        raise InputError(f"the deformation cannot be inverted ({left:.2f} mm are left); set registration to rigid")
    return found.T.reshape(*shape, 3).astype(np.float32)
