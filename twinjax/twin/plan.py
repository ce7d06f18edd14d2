"""Radiotherapy target volumes from a predicted density, at the volume of the standard margin."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from twinjax.core.errors import InputError

# The margin of the standard plan (mm) in PREDICT-GBM (arXiv 2509.13360), whose protocol this is.
STANDARD_MARGIN_MM = 15.0


@dataclass(frozen=True, eq=False)
class TargetPlan:
    """Two targets of equal volume.

    **Fields:** `standard`, the voxels within 15 mm of the core inside the brain; `model`, as many voxels of the
    highest predicted density inside the brain; both (X, Y, Z) bool.
    """

    standard: Bool[np.ndarray, "x y z"]
    model: Bool[np.ndarray, "x y z"]


def standard_plan(core: np.ndarray, brain: np.ndarray, spacing, *, margin_mm: float = STANDARD_MARGIN_MM) -> np.ndarray:
    """Voxels of the brain whose centre lies within `margin_mm` of a core voxel's centre."""
    if not np.any(core):
        raise InputError("the core is empty: there is nothing to plan a margin around")
    distance = np.asarray(ndimage.distance_transform_edt(~np.asarray(core, bool), sampling=spacing))
    return (distance <= margin_mm) & brain


def equal_volume_plan(density: Float[np.ndarray, "x y z"], brain: np.ndarray, standard: np.ndarray) -> TargetPlan:
    """The voxels of highest `density` inside the brain, as many as `standard` has there.

    Voxels of the brain without a density of their own (cerebrospinal fluid, which the model excludes) take that of
    the nearest tissue, as a target volume spans them.
    """
    brain = np.asarray(brain, bool)
    known = (density > 0) & brain
    if not known.any():
        raise InputError("the predicted density is zero everywhere inside the brain")
    filled = np.where(brain, density[nearest_of(known)], -np.inf)
    standard = np.asarray(standard, bool) & brain
    count = int(standard.sum())
    if not count:
        raise InputError("the standard plan is empty inside the brain")
    return TargetPlan(standard, highest(filled, count))


def nearest_of(known: Bool[np.ndarray, "*grid"]) -> tuple[np.ndarray, ...]:
    """Of every voxel the index of the nearest that is `known`: `field[nearest_of(known)]` fills the others."""
    return tuple(np.asarray(ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)))


def highest(values: np.ndarray, count: int) -> np.ndarray:
    """Where the `count` highest `values` are, bool of their shape; of equal ones any."""
    found = np.zeros(values.size, bool)
    found[np.argpartition(values.ravel(), -count)[-count:]] = True
    return found.reshape(values.shape)


def recurrence_coverage(plan: np.ndarray, recurrence: np.ndarray) -> float:
    """Share of the recurrence inside the plan; an empty recurrence is covered by definition of the protocol."""
    recurrence = np.asarray(recurrence, bool)
    return float((plan & recurrence).sum() / recurrence.sum()) if recurrence.any() else 1.0
