"""`TargetRecommendation`: targets and a painted dose beside the standard, and how sure that is."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from twinjax.domain import Domain
from twinjax.imaging.scan import Scan
from twinjax.twin.control import tail_weights
from twinjax.twin.draws import levels, mean_and_levels
from twinjax.twin.plan import recurrence_coverage
from twinjax.twin.recommendation import CAVEAT, share_above_zero, without_rounding
from twinjax.twin.target_question import TargetQuestion

# Of the cells: a target that holds less more is no reason to change one.
NEGLIGIBLE_SHARE = 1e-3


@dataclass(frozen=True, eq=False)
class TargetRecommendation:
    """Target volumes and doses, and what draws that they were not made for show of them.

    **Fields:** `question`; `decision_day`; `planning`, the scan; `domain`, the grid of what follows; `targets`,
    `"standard"`, `"mean"` (of the largest expected share of the cells) and `"tail"` (of the largest in the worst draws)
    to (*grid) bool; `doses`, the same, evenly irradiated, and `"painted"` to (*grid) Gy over all fractions; `covered`,
    target to (draws,) the share of the cells inside; `surviving`, dose to (draws,) the share of all cells that survive
    it; `gaps`, by what share of the cells another `"tail"` target or `"painted"` dose can at most do better on the
    draws that these were made for; `sensitivity`, parameter to the rank correlation with what `"mean"` covers more than
    the standard; `doubts`; `recurrences`, what was segmented later (its name) to target to the share of it inside.
    """

    question: TargetQuestion
    decision_day: float
    planning: Scan
    domain: Domain
    targets: dict[str, Bool[np.ndarray, "*grid"]]
    doses: dict[str, Float[np.ndarray, "*grid"]]
    covered: dict[str, np.ndarray]
    surviving: dict[str, np.ndarray]
    gaps: dict[str, float]
    sensitivity: dict[str, float]
    doubts: list[str]
    recurrences: Mapping[str, dict[str, float]] | None = None

    def on_scan(self, field: np.ndarray) -> np.ndarray:
        """A target (bool) or a dose on the grid of the scan."""
        found = self.domain.to_grid(field.astype(np.float32), self.planning.affine, self.planning.shape)
        return found >= 0.5 if field.dtype == bool else found

    def scored(self, later: Mapping[str, np.ndarray]) -> "TargetRecommendation":
        """With the share inside each target of what was segmented later: name to (X, Y, Z) bool on the scan's grid."""
        targets = {name: self.on_scan(target) for name, target in self.targets.items()}
        shares = {
            region: {name: recurrence_coverage(target, mask) for name, target in targets.items()}
            for region, mask in later.items()
            if mask.any()
        }
        return replace(self, recurrences=shares)

    @property
    def better(self) -> bool:
        """Whether the target of the largest expected share covers more than the standard, by 0.1 % of the cells.

        On draws that it was not made for.
        """
        return bool(self.gained("mean").mean() > NEGLIGIBLE_SHARE)

    def gained(self, target: str) -> np.ndarray:
        """(draws,) by what share of the cells a target covers more than the standard."""
        return without_rounding(self.covered[target] - self.covered["standard"])

    def log_ratio(self, dose: str) -> np.ndarray:
        """(draws,) logarithm of the cells that survive a dose over those that survive the standard."""
        return without_rounding(np.log(self.surviving[dose]) - np.log(self.surviving["standard"]))

    def in_tail(self, target: str) -> float:
        """The mean covered share over the worst draws."""
        found = self.covered[target]
        return float(tail_weights(-found, self.question.tail) @ found)

    def volume_mm3(self, target: str) -> float:
        return float(self.targets[target].sum() * self.domain.voxel_volume)

    def integral_dose(self, dose: str) -> float:
        """Gy times mm³."""
        return float(self.doses[dose].sum() * self.domain.voxel_volume)

    def evidence(self, level: float = 0.9) -> dict[str, Any]:
        """What is expected of targets and doses against the standard, draw by draw, and what that rests on."""
        other_targets = [name for name in self.targets if name != "standard"]
        other_doses = [name for name in self.doses if name != "standard"]
        return {
            "better": self.better,
            "cells": self.question.cells,
            "draws": len(self.covered["standard"]),
            "volume_mm3": {name: self.volume_mm3(name) for name in self.targets},
            "covered": {name: mean_and_levels(draws, level) for name, draws in self.covered.items()},
            "covered_in_tail": {name: self.in_tail(name) for name in self.targets},
            "covered_gained": {name: mean_and_levels(self.gained(name), level) for name in other_targets},
            "probability_more_covered": {name: share_above_zero(self.gained(name)) for name in other_targets},
            "surviving": {name: mean_and_levels(draws, level) for name, draws in self.surviving.items()},
            "surviving_ratio": {
                name: {key: float(np.exp(value)) for key, value in levels(self.log_ratio(name), level).items()}
                for name in other_doses
            },
            "expected_surviving_ratio": {
                name: float(self.surviving[name].mean() / self.surviving["standard"].mean()) for name in other_doses
            },
            "probability_fewer": {name: share_above_zero(-self.log_ratio(name)) for name in other_doses},
            "integral_dose_gy_mm3": {name: self.integral_dose(name) for name in self.doses},
            "largest_dose_gy": {name: float(dose.max()) for name, dose in self.doses.items()},
            "gaps": self.gaps,
            "sensitivity": self.sensitivity,
            "recurrence_covered": [{"region": region, **shares} for region, shares in (self.recurrences or {}).items()],
            "doubts": self.doubts,
            "caveat": CAVEAT,
        }

    def rows(self, level: float = 0.9) -> list[dict[str, Any]]:
        """One row per target and dose, for CSV: covered and surviving shares with their intervals."""
        found = self.evidence(level)
        rows = []
        for name in self.doses:
            row: dict[str, Any] = {"plan": name}
            if name in self.targets:
                row["volume_mm3"] = self.volume_mm3(name)
                row |= {f"covered_{key}": value for key, value in found["covered"][name].items()}
                row["covered_in_tail"] = self.in_tail(name)
            row |= {f"surviving_{key}": value for key, value in found["surviving"][name].items()}
            row |= {"integral_dose_gy_mm3": self.integral_dose(name), "largest_dose_gy": float(self.doses[name].max())}
            rows.append(row)
        return rows
