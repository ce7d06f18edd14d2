"""One draw of the posterior, solved: what forecasts, comparisons and recommendations have in common."""

from typing import Any

import diffrax
import jax
import numpy as np
from jaxtyping import Array

from twinjax.calibration import Datum, InverseProblem, Tumor
from twinjax.domain import Domain
from twinjax.imaging.scan import REGIONS
from twinjax.model import AbstractSpatialModel
from twinjax.observation import SegmentationObservation, visible_volume
from twinjax.simulation import Trajectory, simulate


def solved(
    tumor: Tumor,
    problem: InverseProblem,
    times,
    *,
    state: Any = None,
    start=None,
    adjoint: diffrax.AbstractAdjoint | None = None,
) -> Trajectory:
    """The tumour at `times`, from its own start, or from `state` on day `start`, by the problem's solver."""
    return simulate(
        tumor.model,
        tumor.regimen,
        tumor.state0() if state is None else state,
        times,
        solver=problem.solver,
        start=problem.start if start is None else start,
        max_step=problem.max_step,
        adjoint=adjoint,
    )


def quantities_of(tumor: Tumor, trajectory: Trajectory) -> dict[str, Array]:
    """Name to (T,): what the model predicts, and of a model with space the volume of each region that is seen."""
    quantities = jax.vmap(tumor.model.quantities)(trajectory.states)
    if not isinstance(tumor.model, AbstractSpatialModel):
        return quantities
    density, domain = jax.vmap(tumor.model.cell_density)(trajectory.states), tumor.model.domain
    for region in (name for name in REGIONS if name in tumor.observation):
        threshold = visibility_threshold(tumor, region)
        quantities[f"{region}_volume_mm3"] = jax.vmap(lambda u, t=threshold: visible_volume(u, t, domain))(density)
    return quantities


def visibility_threshold(tumor: Tumor, region: str) -> Array:
    """The density above which `region` is seen."""
    observation = tumor.observation[region]
    assert isinstance(observation, SegmentationObservation)
    return observation.threshold


def measured_volume(datum: Datum, domain: Domain) -> float:
    """The volume (mm³) of a mask that is data on the grid of `domain`, or on the larger voxels of its scan."""
    voxel = domain.voxel_volume if datum.sampling is None else float(np.prod(datum.sampling.spacing))
    return float(datum.values.sum()) * voxel
