"""Dose painting: the dose of each voxel that leaves the fewest cells, of a bounded integral dose."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from twinjax.core.errors import InputError

# The multiplier of the integral dose is known to this share of itself.
TOLERANCE = 1e-12


class PaintedDose(NamedTuple):
    """A dose per voxel, and how far from the best it may be.

    **Fields:** `dose` (voxels,), one of the levels each; `multiplier`, cells that one more unit of integral dose would
    kill; `gap`, by how many cells the best plan of these levels can at most be better.
    """

    dose: Float[np.ndarray, " voxels"]
    multiplier: float
    gap: float


def surviving_cells(
    cells: Float[np.ndarray, "draws voxels"], survival: Float[np.ndarray, "draws levels"]
) -> Float[np.ndarray, "voxels levels"]:
    """The expected number of cells that each voxel keeps under each level of dose, over the draws."""
    return cells.T @ survival / len(cells)


def paint(
    left: Float[np.ndarray, "voxels levels"],
    levels: Float[np.ndarray, " levels"],
    budget: float,
    least: Float[np.ndarray, " voxels"],
    largest: Float[np.ndarray, " voxels"],
) -> PaintedDose:
    """The dose of each voxel, of ascending `levels`, that leaves the fewest cells while the sum stays within `budget`.

    `left` is `surviving_cells`. For a multiplier of the integral dose the problem falls apart into voxels, and what
    minimises cells + multiplier dose in each is best for the integral dose that comes of it, convex or not (Everett
    1963, Oper Res 11:399, theorem 1). The multiplier is found by bisection; of voxels for which two levels are then
    equally good as many take the higher as fit. What is left over is less than one such step, and `gap` bounds it by
    weak duality. Linear-quadratic survival is convex in the dose where n (alpha + 2 beta d)² >= 2 beta, which a draw
    of little alpha in few fractions does not meet: hence no Newton.

    **Arguments:** `least` and `largest` dose of each voxel. Raises `InputError` where a voxel has no level between
    them, or their least doses alone are more than `budget`.
    """
    allowed = (levels >= least[:, None]) & (levels <= largest[:, None])
    if not allowed.any(axis=1).all():
        raise InputError("a voxel has no dose between the least and the largest that are allowed it")
    left = np.where(allowed, left, np.inf)

    def at(multiplier: float) -> np.ndarray:
        return levels[np.argmin(left + multiplier * levels, axis=1)]

    # By so much at most does a step change the cells: nothing is worth its dose.
    low, high = 0.0, 2 * float(left[allowed].max(initial=1e-300)) / float(np.diff(levels).min(initial=1.0))
    lowest = at(high)
    if lowest.sum() > budget * (1 + TOLERANCE):
        raise InputError(
            f"the least doses sum to {lowest.sum():.6g}, more than the integral dose of {budget:.6g}: lower least_dose"
        )
    dose = at(low)
    if dose.sum() <= budget:
        return PaintedDose(dose, 0.0, 0.0)
    while low < (middle := (low + high) / 2) < high and high - low > TOLERANCE * high:
        low, high = (middle, high) if at(middle).sum() > budget else (low, middle)
    dose, more = at(high), at(low)
    dose = np.where(np.cumsum(more - dose) <= budget - dose.sum(), more, dose)
    bound = (left + high * levels).min(axis=1).sum() - high * budget
    reached = left[np.arange(len(left)), np.searchsorted(levels, dose)].sum()
    return PaintedDose(dose, high, max(0.0, float(reached - bound)))
