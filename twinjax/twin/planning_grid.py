"""The anatomy that a target is planned on, on the grid of a model."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.imaging.scan import Scan
from twinjax.twin.adjustable import is_not_negative
from twinjax.twin.plan import standard_plan


@dataclass(frozen=True, eq=False)
class OrganAtRisk:
    """An organ, (X, Y, Z) bool on the grid of the scan, and the largest dose (Gy a fraction) that it may have."""

    mask: Bool[np.ndarray, "x y z"]
    largest_dose: float


@dataclass(frozen=True, eq=False)
class PlanningGrid:
    """The organ, the core and the standard target on the grid of a model.

    **Fields:** `domain`; `organ`, `core`, `standard` and `at_risk` (*grid) bool, the latter three within the organ;
    `largest_at_risk`, Gy a fraction; infinite without an organ at risk.
    """

    domain: Domain
    organ: Bool[np.ndarray, "*grid"]
    core: Bool[np.ndarray, "*grid"]
    standard: Bool[np.ndarray, "*grid"]
    at_risk: Bool[np.ndarray, "*grid"]
    largest_at_risk: float

    @classmethod
    def of(cls, domain: Domain, scan: Scan, margin_mm: float, at_risk: OrganAtRisk | None) -> "PlanningGrid":
        """From the scan that is planned on. Raises `InputError` without an organ, or without a core in it."""
        organ = np.ones(scan.shape, bool) if scan.brain_mask is None else np.asarray(scan.brain_mask, bool)
        if not organ.any():
            raise InputError("the mask of the organ (brain_mask) is empty: there is nowhere to plan a target")
        core = scan.core & organ
        standard = standard_plan(core, organ, scan.spacing, margin_mm=margin_mm)
        tissue = np.asarray(domain.mask)
        inside = tissue if scan.brain_mask is None else domain.from_grid(organ, scan.affine) | tissue
        near, seen = (domain.from_grid(mask, scan.affine) & inside for mask in (standard, core))
        if not near.any():
            raise InputError("no voxel of the model's grid is within margin_mm of the core: is the scan the patient's?")
        risk, largest = np.zeros(domain.shape, bool), np.inf
        if at_risk is not None:
            if np.shape(at_risk.mask) != scan.shape:
                raise InputError(f"at_risk has the shape {np.shape(at_risk.mask)}, the scan {scan.shape}")
            if not is_not_negative(at_risk.largest_dose):
                raise InputError(f"at_risk: largest_dose must be Gy a fraction, got {at_risk.largest_dose}")
            # A voxel that holds any of the organ is at risk.
            risk = (domain.from_grid(at_risk.mask.astype(np.float32), scan.affine) > 0) & inside
            largest = at_risk.largest_dose
        return cls(domain, inside, seen & near, near, risk, largest)

    def cropped(self, lower: tuple[int, ...], upper: tuple[int, ...]) -> "PlanningGrid":
        cut = tuple(slice(a, b) for a, b in zip(lower, upper, strict=True))
        masks = (self.organ[cut], self.core[cut], self.standard[cut], self.at_risk[cut])
        return PlanningGrid(self.domain.cropped(lower, upper), *masks, self.largest_at_risk)

    def on_grid(self, values: np.ndarray) -> np.ndarray:
        """Values of the organ's voxels on the grid, zero elsewhere."""
        found = np.zeros(self.organ.shape, values.dtype)
        found[self.organ] = values
        return found

    def count(self, volume_mm3: float | None) -> int:
        """How many voxels a target has; `InputError` where the organ has fewer, or the core alone more."""
        if volume_mm3 is None:
            return int(self.standard.sum())
        size, count = self.domain.voxel_volume, round(volume_mm3 / self.domain.voxel_volume)
        if not max(1, self.core.sum()) <= count <= self.organ.sum():
            raise InputError(
                f"volume_mm3={volume_mm3:g}: choose one of at least the core's {self.core.sum() * size:.6g} mm³ and at "
                f"most the {self.organ.sum() * size:.6g} mm³ of the organ around the tumour"
            )
        return count
