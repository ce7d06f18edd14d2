"""Where to irradiate: target volumes and a dose of each voxel, under the posterior of the density."""

from collections.abc import Mapping
from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from twinjax.core.errors import InputError
from twinjax.imaging.scan import Scan
from twinjax.model import AbstractSpatialModel
from twinjax.twin.ahead import Ahead
from twinjax.twin.dose_painting import PaintedDose, paint, surviving_cells
from twinjax.twin.plan import nearest_of
from twinjax.twin.planning_grid import PlanningGrid
from twinjax.twin.recommendation import rank_correlations
from twinjax.twin.solution import visibility_threshold
from twinjax.twin.target_question import TargetQuestion
from twinjax.twin.target_recommendation import TargetRecommendation
from twinjax.twin.target_volume import covered, most_expected, most_in_tail

SEEN_REGION = "whole_tumor"
# Of the cells: a gap below it is none.
SMALL_GAP = 1e-3


@dataclass(frozen=True, eq=False)
class _Draws:
    """Draws of the tumour in the voxels of the organ.

    **Fields:** `cells` (draws, voxels) in the unit of density; `counted`, likewise, those that a target is to cover;
    `survival` (draws, levels), the share that survives all fractions.
    """

    cells: np.ndarray
    counted: np.ndarray
    survival: np.ndarray

    @classmethod
    def of(cls, question: TargetQuestion, ahead: Ahead, grid: PlanningGrid, levels: np.ndarray) -> "_Draws":
        density, seen_from, kills = (np.asarray(a, float) for a in _solved(ahead, jnp.asarray(levels)))
        # Fluid in the organ counts as the nearest tissue, as a target spans it (`equal_volume_plan`).
        at = np.ravel_multi_index(nearest_of(np.asarray(grid.domain.mask)), grid.organ.shape)[grid.organ]
        cells = np.maximum(density.reshape(len(density), -1)[:, at], 0.0)
        counted = cells if question.cells == "all" else np.where(cells < seen_from[:, None], cells, 0.0)
        if not (counted.sum(axis=1) > 0).all():
            raise InputError(f"cells={question.cells}: a draw has none of them; choose cells=all, or an earlier day")
        return cls(cells, counted, np.exp(-question.fractions * kills))

    @property
    def shares(self) -> np.ndarray:
        return self.counted / self.counted.sum(axis=1, keepdims=True)

    def surviving(self, levels: np.ndarray, dose: np.ndarray) -> np.ndarray:
        """(draws,) share of all cells that survive a dose (voxels,), of the levels."""
        kept = np.take_along_axis(self.survival, np.searchsorted(levels, dose)[None], axis=1)
        return (self.cells * kept).sum(axis=1) / self.cells.sum(axis=1)


@eqx.filter_jit
def _solved(ahead: Ahead, levels: Float[Array, " levels"]):
    """Of each draw the density, that from which tumour is seen, and the log kill of one fraction of each level."""

    def one(z, state):
        tumor = ahead.under(ahead.tumor.regimen, z)
        assert isinstance(tumor.model, AbstractSpatialModel)
        seen = visibility_threshold(tumor, SEEN_REGION) if SEEN_REGION in tumor.observation else jnp.asarray(jnp.inf)
        course = tumor.regimen.treatments[-1]
        each = eqx.tree_at(lambda one: (one.times, one.doses), course, (jnp.zeros_like(levels), levels))
        return tumor.model.cell_density(state), seen, each.log_kill

    return ahead.each(one)


def best_target(
    question: TargetQuestion, seen: Ahead, unseen: Ahead, grid: PlanningGrid, scan: Scan, names: Mapping[str, int]
) -> TargetRecommendation:
    """Targets and a painted dose from the draws of `seen`, and what those of `unseen` show of them.

    The course of the question is the last treatment of either. `grid` is that of the model; `names`: parameter to its
    column of z.
    """
    if question.cells == "infiltrating" and SEEN_REGION not in seen.tumor.observation:
        raise InputError("cells=infiltrating needs a patient whose whole tumour is segmented; choose cells=all")
    levels = question.levels(*([grid.largest_at_risk] if grid.at_risk.any() else []))
    known, judge = (_Draws.of(question, ahead, grid, levels) for ahead in (seen, unseen))
    required, count = grid.core[grid.organ], grid.count(question.volume_mm3)
    mean = most_expected(known.shares, count, required)
    tail = most_in_tail(known.shares, count, required, question.tail)
    targets = {"standard": grid.standard[grid.organ], "mean": mean, "tail": tail.target}
    doses = {name: question.dose * target for name, target in targets.items()}
    painted = _painted(question, known, grid, levels)
    doses["painted"] = painted.dose
    shares = {name: covered(judge.shares, target) for name, target in targets.items()}
    gaps = {"tail": tail.gap, "painted": painted.gap / float(known.cells.sum(axis=1).mean())}
    return TargetRecommendation(
        question,
        float(seen.day),
        scan,
        grid.domain,
        {name: grid.on_grid(target) for name, target in targets.items()},
        {name: question.fractions * grid.on_grid(dose) for name, dose in doses.items()},
        shares,
        {name: judge.surviving(levels, dose) for name, dose in doses.items()},
        gaps,
        rank_correlations(shares["mean"] - shares["standard"], np.asarray(unseen.z), names),
        _doubts(question, known, grid, gaps),
    )


def _painted(question: TargetQuestion, known: _Draws, grid: PlanningGrid, levels: np.ndarray) -> PaintedDose:
    """At most at the integral dose of the standard; what an organ at risk may have comes before the least dose."""
    standard = grid.standard[grid.organ]
    largest = np.minimum(question.largest_dose, np.where(grid.at_risk[grid.organ], grid.largest_at_risk, np.inf))
    least = np.minimum(np.where(standard, question.least_dose, 0.0), largest)
    budget = question.dose * float(standard.sum())
    return paint(surviving_cells(known.cells, known.survival), levels, budget, least, largest)


def _doubts(question: TargetQuestion, known: _Draws, grid: PlanningGrid, gaps: Mapping[str, float]) -> list[str]:
    doubts = []
    above = question.dose - grid.largest_at_risk
    if above > 0 and (grid.at_risk & grid.standard).any():
        doubts.append(f"the standard gives the organ at risk {above:.2g} Gy a fraction more than the painted dose may")
    if np.ptp(known.survival, axis=0).max() == 0:
        doubts.append("every draw has the same radiosensitivity, as the prior has no regimen.radiotherapy.alpha")
    if gaps["tail"] > SMALL_GAP:
        doubts.append(f"another target may hold {100 * gaps['tail']:.1f} % more of the cells in the worst draws")
    if gaps["painted"] > SMALL_GAP:
        doubts.append(f"another dose may leave fewer cells, by {100 * gaps['painted']:.1f} % of them")
    return doubts
