"""`Forecast`: where the tumour will be, and how sure we are."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from twinjax.calibration import InverseProblem, Tumor
from twinjax.calibration.tumor import Box, can_be_filled, edge_density
from twinjax.core.bucket import step_up
from twinjax.core.errors import InputError, SolverError
from twinjax.domain import Domain
from twinjax.imaging.scan import REGIONS
from twinjax.model import AbstractReactionDiffusionModel, AbstractSpatialModel
from twinjax.model.volume import sphere_diameter
from twinjax.observation import QuantityObservation
from twinjax.twin.course import CourseForecast
from twinjax.twin.draws import interval, places_of, with_scatter
from twinjax.twin.solution import quantities_of, solved, visibility_threshold
from twinjax.twin.time_to_progression import ProgressionForecast, time_to_progression

# Of half a millilitre and less a segmentation errs by some voxels, however little there is: its scatter is that of the
# logarithm of the volume and this much more, so that what has nearly vanished may be measured as nothing.
LITTLE_VOLUME_MM3 = 500.0
# A face of the solved box that no draw brings above this density changes nothing that is visible.
EDGE_TOLERANCE = 1e-2
# What is solved around what is seen, at least.
SMALLEST_MARGIN_MM = 16.0
# A box is cut where that leaves less than this part of it: a new program costs as much as tens of draws.
WORTH_CUTTING = 0.5


@dataclass(frozen=True, eq=False)
class Forecast:
    """The posterior predictive of a tumour at some days.

    **Fields:**

    - `times`: (T,) days since baseline.
    - `density_mean`, `density_std`: (T, X, Y, Z) on `domain`, over the draws.
    - `visible_probability`: region (`"core"`, `"whole_tumor"`) to (T, X, Y, Z), the share of draws in which a
      voxel exceeds the region's visibility threshold.
    - `quantities`: name to (draws, T): volumes in mm³ per region (`"core_volume_mm3"`) and what the model predicts
      besides (`AbstractTumorModel.quantities`).
    - `domain`: the box of tissue that was solved; its affine leads to patient space.
    - `volume_noise`: region to the deviation of log (volume + `LITTLE_VOLUME_MM3`) that a new segmentation is expected
      to have.
    - `failed_draws`: how many draws the solver could not follow; they are left out.
    - `drawn`: (draws,) which of the draws that were asked for are there: forecasts under different treatments are
      paired by it.
    - `laboratory`: the laboratory values that the patient has, as a forecast of a clinical course; None without any.
    """

    times: np.ndarray
    density_mean: np.ndarray
    density_std: np.ndarray
    visible_probability: dict[str, np.ndarray]
    quantities: dict[str, np.ndarray]
    domain: Domain
    volume_noise: dict[str, float]
    failed_draws: int
    laboratory: CourseForecast | None = None
    drawn: np.ndarray | None = None

    def at(self, days: Sequence[float]) -> "Forecast":
        """The same forecast on some of its days only; `InputError` for a day that it does not have."""
        index = places_of(days, self.times)
        return replace(
            self,
            times=self.times[index],
            density_mean=self.density_mean[index],
            density_std=self.density_std[index],
            visible_probability={name: field[index] for name, field in self.visible_probability.items()},
            quantities={name: draws[:, index] for name, draws in self.quantities.items()},
            laboratory=None if self.laboratory is None else self.laboratory.at(days),
        )

    def interval(self, quantity: str, level: float = 0.9, *, measured: bool = False) -> np.ndarray:
        """(3, T) lower end, median and upper end of `quantity`; `measured` as a new scan would show it."""
        return interval(self.measured(quantity) if measured else self.quantities[quantity], level)

    def measured(self, quantity: str, *, seed: int = 0) -> np.ndarray:
        """(draws, T) volumes as a segmentation would measure them: with its scatter, and the model's error."""
        region = quantity.removesuffix("_volume_mm3")
        if region not in self.volume_noise:
            raise InputError(f"'{quantity}' is not measured; measured are {', '.join(self.volume_noise)}")
        noise = self.volume_noise[region]
        return with_scatter(self.quantities[quantity], noise, offset=LITTLE_VOLUME_MM3, seed=seed)

    def diameter(self, region: str, *, measured: bool = False) -> np.ndarray:
        """(draws, T) mm, of the sphere of a region's volume; `measured` as `measured` has the volume.

        A tumour that is no ball has a longer diameter. Raises `InputError` for a region that is not seen.
        """
        name = f"{region}_volume_mm3"
        if name not in self.quantities:
            known = ", ".join(key.removesuffix("_volume_mm3") for key in self.quantities if key != "cell_volume_mm3")
            raise InputError(f"region '{region}' has no volume here; choose one of {known}")
        return np.asarray(sphere_diameter(self.measured(name) if measured else self.quantities[name]))

    def cell_count(self, cells_per_mm3: float) -> np.ndarray:
        """(draws, T) tumour cells, of tissue that holds `cells_per_mm3` where it is full of them.

        No scan shows that number: models know cells as a share of what the tissue holds. Raises `InputError` for one
        that is not positive.
        """
        if not (np.isfinite(cells_per_mm3) and cells_per_mm3 > 0):
            raise InputError(f"cells_per_mm3 must be a positive number, got {cells_per_mm3}")
        return self.quantities["cell_volume_mm3"] * cells_per_mm3

    def progression(
        self, quantity: str, *, since: float | None = None, baseline: float | None = None, by: str | None = None
    ) -> ProgressionForecast:
        """When `quantity` has progressed (docs/progression.md): days with their interval, and who has not.

        **Arguments:** `since`, from which on progression is looked for and days count (default: `baseline`);
        `baseline`, from which on the smallest counts (default: the first day of the forecast); both days since baseline
        of the patient. `by`, the name of a criterion (default: the usual one of the unit, `criterion_for`).

        Raises `InputError` as `time_to_progression` does.
        """
        return time_to_progression(quantity, self.times, self.quantities, since=since, baseline=baseline, by=by)

    def volume_rows(self) -> list[dict[str, Any]]:
        """One row per region and day: median and 90 % interval (mm³), and the interval of what would be measured."""
        rows = []
        for region in self.volume_noise:
            name = f"{region}_volume_mm3"
            plain, measured = self.interval(name), self.interval(name, measured=True)
            for i, day in enumerate(self.times.tolist()):
                rows.append(
                    {
                        "day": day,
                        "region": region,
                        "median_mm3": plain[1, i],
                        "lower_90_mm3": plain[0, i],
                        "upper_90_mm3": plain[2, i],
                        "measured_lower_90_mm3": measured[0, i],
                        "measured_upper_90_mm3": measured[2, i],
                    }
                )
        return rows


def forecast(
    whole: Tumor,
    problem: InverseProblem,
    z_map: np.ndarray,
    draws: np.ndarray,
    times: np.ndarray,
    *,
    volume_noise: dict[str, float],
    fields: bool = True,
    progress: bool = False,
) -> Forecast:
    """Solve `whole` (the tumour on the model's grid, under any regimen) for every draw (S, parameters).

    Of a model that is `local` only a box around the tumour is solved. It is widened until the mode leaves its faces
    free of cells, so that cropping does not change what is visible. `fields=False` keeps the quantities alone.

    Raises `SolverError` where more than a tenth of the draws cannot be solved.
    """
    assert isinstance(whole.model, AbstractSpatialModel)
    tumor = whole.cropped(box_for(whole, problem, z_map, times)) if whole.model.local else whole
    shared = _Shared.of(tumor, problem, times, whole.model.domain.shape)
    regions = [name for name in REGIONS if name in whole.observation]
    sums = {name: jnp.zeros(shared.shape, jnp.float32) for name in ("density", "square", *regions)} if fields else {}
    rows, drawn, failed = [], [], 0
    for number, z in enumerate(tqdm(draws, desc="  forecast", unit="draw", disable=not progress, mininterval=1.0)):
        density, thresholds, quantities, success = shared.one(z)
        if not bool(success):
            failed += 1
            continue
        rows.append({name: np.asarray(value)[: shared.days] for name, value in quantities.items()})
        drawn.append(number)
        if fields:
            sums = _add(sums, density, thresholds)
    if failed > 0.1 * len(draws):
        raise SolverError(f"{failed} of {len(draws)} posterior draws could not be solved; the posterior is not usable")
    # Without fields the maps have no voxels.
    empty = np.zeros((len(times),), np.float32)
    mean = {
        name: np.asarray(sums[name])[shared.real] / len(rows) if fields else empty
        for name in ("density", "square", *regions)
    }
    quantities = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    measured = [o for o in whole.observation.values() if isinstance(o, QuantityObservation)]
    return Forecast(
        times,
        mean["density"],
        np.sqrt(np.maximum(mean["square"] - mean["density"] ** 2, 0)),
        {name: mean[name] for name in regions},
        quantities,
        shared.domain,
        volume_noise,
        failed,
        CourseForecast.of(times, quantities, measured, failed, np.asarray(drawn)) if measured else None,
        np.asarray(drawn),
    )


@functools.partial(jax.jit, donate_argnums=0)
def _add(sums, density, thresholds):
    """The sums of a draw more: compiled, as a pass of NumPy over every day's maps costs as much as the solve."""
    density = density.astype(jnp.float32)
    added = {"density": density, "square": density**2}
    added |= {name: (density > threshold).astype(jnp.float32) for name, threshold in thresholds.items()}
    return {name: total + added[name] for name, total in sums.items()}


def box_for(whole: Tumor, problem: InverseProblem, z_map, times) -> Box:
    """A box whose walls the mode does not reach by the last day, not much larger than it has to be.

    Each box is a program of its own, whose compilation takes as long as tens of draws: so the first is one that mostly
    is enough (`first_margin_mm`), and only one of which little is used is cut.
    """
    assert isinstance(whole.model, AbstractSpatialModel)
    domain = whole.model.domain
    mode = whole.with_parameters(problem.forecast_prior, jnp.asarray(z_map))
    density = np.asarray(whole.model.cell_density(mode.state0()))
    seen = density > 0.2
    if not seen.any():
        seen = density > 0.1 * density.max()
    assert isinstance(mode.model, AbstractSpatialModel)
    margin = first_margin_mm(mode.model, times[-1] - float(problem.start))
    while True:
        box = domain.box_around(seen, margin)
        shared = _Shared.of(whole.cropped(box), problem, times, domain.shape)
        densities, _, _, success = shared.one(z_map)
        if not bool(success):
            raise SolverError("the forecast of the posterior mode failed: the solver met its step limit or NaN")
        densities = np.asarray(densities)[shared.real]
        if float(edge_density(jnp.asarray(densities), box, domain.shape)) < EDGE_TOLERANCE:
            break
        margin *= 1.5
    used = np.zeros(domain.shape, bool)
    used[tuple(slice(a, b) for a, b in zip(*box, strict=True))] = densities.max(axis=0) >= EDGE_TOLERANCE
    tight = domain.box_around(used | seen, SMALLEST_MARGIN_MM / 2)
    tight = tuple(map(max, tight[0], box[0])), tuple(map(min, tight[1], box[1]))
    return tight if _voxels(tight) < WORTH_CUTTING * _voxels(box) else box


def first_margin_mm(model: AbstractSpatialModel, days: float) -> float:
    """Of the box that a forecast of so many days tries first: half as far as the model expects cells to come."""
    if not isinstance(model, AbstractReactionDiffusionModel):
        return SMALLEST_MARGIN_MM
    return max(SMALLEST_MARGIN_MM, 0.5 * float(model.reach(days)))


def _voxels(box: Box) -> int:
    return math.prod(b - a for a, b in zip(*box, strict=True))


class _Shared(NamedTuple):
    """A tumour filled up to a shape that patients share, and what of it is real."""

    tumor: Tumor
    problem: InverseProblem
    times: np.ndarray
    domain: Domain
    days: int

    @classmethod
    def of(cls, tumor: Tumor, problem: InverseProblem, times: np.ndarray, grid: tuple[int, ...]) -> "_Shared":
        """Of a box of `grid`."""
        assert isinstance(tumor.model, AbstractSpatialModel)
        domain, problem = tumor.model.domain, problem.without_data()
        if problem.forecast_prior.fields or not can_be_filled(tumor):
            return cls(tumor, problem, times, domain, len(times))
        days = np.pad(times, (0, step_up(len(times)) - len(times)), mode="edge")
        return cls(tumor.filled(grid), problem, days, domain, len(times))

    @property
    def shape(self) -> tuple[int, ...]:
        """(days, *grid) of what is solved."""
        assert isinstance(self.tumor.model, AbstractSpatialModel)
        return len(self.times), *self.tumor.model.domain.shape

    @property
    def real(self) -> tuple[slice, ...]:
        """Where in that the days that were asked for and the tumour itself are."""
        return slice(0, self.days), *(slice(0, n) for n in self.domain.shape)

    def one(self, z):
        """Of one draw: density, thresholds, quantities, whether the solve succeeded."""
        return _one(self.tumor, self.problem, jnp.asarray(z), jnp.asarray(self.times))


@eqx.filter_jit
def _one(tumor: Tumor, problem: InverseProblem, z, times):
    tumor = tumor.with_parameters(problem.forecast_prior, z)
    trajectory = solved(tumor, problem, times)
    density = jax.vmap(tumor.model.cell_density)(trajectory.states)
    thresholds = {name: visibility_threshold(tumor, name) for name in REGIONS if name in tumor.observation}
    return density, thresholds, quantities_of(tumor, trajectory), trajectory.success
