"""Virtual patients with a tumour in any organ: grown, treated, scanned and measured. All of it is synthetic.

The truth is solved on another grid than the fit uses, and by another solver, so that a fit does not find its own
numerics again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.imaging import labels
from twinjax.imaging.scan import Scan
from twinjax.model import AbstractSpatialModel
from twinjax.patient.patient import PatientData
from twinjax.patient.synthesis import ADC_CELLULAR, ADC_WATER
from twinjax.patient.truth import SpatialTruth
from twinjax.patient.visit import Visit
from twinjax.simulation import simulate
from twinjax.treatment import Regimen

# ADC (mm²/s) of tissue without tumour, and the signals of the anatomical image in arbitrary units: our own choice.
ADC_HEALTHY = 1.6e-3
SIGNAL_OUTSIDE, SIGNAL_HEALTHY, SIGNAL_TUMOR = 20.0, 400.0, 900.0
# Smooth random fields (the shape of the tumour, an observer's hand) vary over this many mm.
GRAIN_MM = 8.0
# Tolerances of an adaptive solver of the truth.
RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE = 1e-4, 1e-6


@dataclass(frozen=True, eq=False)
class VirtualOrgan:
    """The truth about a patient with scans, from which they follow; equal settings give equal patients.

    A phantom of the organ (`twinjax.patient.phantom`) is a `Domain` with maps, on the grid of the truth; `model` is
    the model with its true parameters on it. In a config both are nested:

        _target_: twinjax.patient.virtual_organ.VirtualOrgan
        model:
          _target_: twinjax.model.TripleNegativeBreast
          domain: {_target_: twinjax.patient.phantom.breast, resolution_mm: 1.5}
          diffusivity: 0.0008

    `generate()` gives the `PatientData`: scans with an anatomical image, ADC and a segmentation, all with noise, on a
    grid of `scan_voxel_mm`, whose `brain_mask` is the organ with its maps on that grid.

    **Fields:**

    - `patient_id`, `seed` (of the tumour's shape and of all noise).
    - `model`: spatial, on the domain of the truth, with an affine.
    - `position_mm` (3,), `radius_mm`: the tumour on day 0, in patient space. It is drawn, not grown: nobody sees a
      tumour begin. `edge_mm`: width over which it ends; `peak_density` inside it; `irregularity`: how much its
      outline differs from a ball, as a share of the radius.
    - `visit_days`: ascending, the first 0. `regimen`: treatments with the patient's true sensitivities;
      `recorded_regimen`: the same as the record tells them, with those of a population (default: the true ones, which
      a forecast then knows of treatments that are yet to come).
    - `levels`: region (`core`, `whole_tumor`) to the density from which it shows; equal levels make one region.
    - `measurements`: quantity of the model (`psa_ng_ml`) to the deviation of the logarithm of its measurement, taken
      at every visit.
    - `truth`: name of a parameter of the prior to its true value, for scoring.
    - `scan_voxel_mm` (3,); `anatomy`, the name of the anatomical image (`T1CE`, `T2`); `image_noise`: deviation
      relative to the signal; `adc_noise`, likewise; `contour_noise`: deviation of the logarithm of the density that a
      segmentation takes for that of a region's edge, smooth over the tumour.
    - `solver`: of the truth; an adaptive explicit method unless given. `max_step` (days), for solvers of fixed steps.

    Raises `InputError` for values outside their range, or a tumour outside the organ.
    """

    patient_id: str
    model: AbstractSpatialModel
    position_mm: Sequence[float]
    radius_mm: float
    visit_days: Sequence[float]
    regimen: Regimen = field(default_factory=Regimen)
    recorded_regimen: Regimen | None = None
    seed: int = 0
    edge_mm: float = 1.5
    peak_density: float = 0.8
    irregularity: float = 0.15
    levels: Mapping[str, float] = field(default_factory=lambda: {"core": 0.5, "whole_tumor": 0.25})
    measurements: Mapping[str, float] = field(default_factory=dict)
    truth: Mapping[str, float] = field(default_factory=dict)
    scan_voxel_mm: Sequence[float] = (1.5, 1.5, 3.0)
    anatomy: str = "T1CE"
    image_noise: float = 0.03
    adc_noise: float = 0.05
    contour_noise: float = 0.1
    solver: diffrax.AbstractSolver | None = None
    max_step: float = 0.5

    def __post_init__(self):
        days = [float(day) for day in self.visit_days]
        if not days or days[0] != 0 or any(np.diff(days) <= 0):
            raise InputError(f"visit_days must be ascending, the first 0 (baseline); got {days}")
        # Configs give lists of numbers; a frozen value keeps tuples.
        for name, values in (("visit_days", days), *((n, getattr(self, n)) for n in ("position_mm", "scan_voxel_mm"))):
            object.__setattr__(self, name, tuple(float(value) for value in values))
        domain = self.model.domain
        if len(domain.shape) != 3 or domain.affine is None:
            raise InputError("model: the domain of a virtual organ needs three axes and an affine; see the phantoms")
        for name in ("position_mm", "scan_voxel_mm"):
            if len(getattr(self, name)) != 3:
                raise InputError(f"{name} needs three numbers (mm), got {list(getattr(self, name))}")
        for name in ("radius_mm", "edge_mm", "peak_density", "max_step"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise InputError(f"{name} must be a positive number, got {getattr(self, name)}")
        if not all(h > 0 for h in self.scan_voxel_mm):
            raise InputError(f"scan_voxel_mm must be positive, got {list(self.scan_voxel_mm)}")
        for name in ("irregularity", "image_noise", "adc_noise", "contour_noise"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        if set(self.levels) != {"core", "whole_tumor"} or not 0 < self.levels["whole_tumor"] <= self.levels["core"] < 1:
            raise InputError(f"levels: give 0 < whole_tumor <= core < 1, got {dict(self.levels)}")
        if self.peak_density <= self.levels["core"]:
            raise InputError(f"peak_density {self.peak_density:g} must exceed the level of the core")
        index = np.round(np.linalg.inv(domain.affine) @ [*self.position_mm, 1.0])[:3].astype(int)
        within = all(0 <= i < n for i, n in zip(index, domain.shape, strict=True))
        if not within or not bool(domain.mask[tuple(index)]):
            raise InputError(f"position_mm {list(self.position_mm)} does not lie in the organ; move it (patient space)")

    def generate(self) -> PatientData:
        """The patient: scans and measurements at the visits, with the truth.

        Raises `InputError` for a quantity that the model does not predict, `SolverError` where it cannot be solved.
        """
        domain = self.model.domain
        states = self._true_states()
        density = np.asarray(jax.vmap(self.model.cell_density)(states), np.float32)
        grid = self._scan_grid()
        visits = [
            Visit(day, self._scan(number, density[number], grid), self._measured(number, states))
            for number, day in enumerate(self.visit_days)
        ]
        truth = SpatialTruth(tuple(self.visit_days), density, domain, dict(self.levels), dict(self.truth))
        recorded = self.regimen if self.recorded_regimen is None else self.recorded_regimen
        return PatientData.from_visits(self.patient_id, visits, recorded, grid, truth)

    def initial_density(self) -> np.ndarray:
        """(X, Y, Z) cell density on day 0, on the domain of the truth."""
        domain = self.model.domain
        offset = np.asarray(domain.coordinates()) - np.reshape(self.position_mm, (3, 1, 1, 1))
        rng = np.random.default_rng([self.seed, 0])
        outline = self.radius_mm * (1 + self.irregularity * _smooth(domain.shape, domain.spacing, rng))
        depth = (outline - np.sqrt((offset**2).sum(axis=0))) / self.edge_mm
        return self.peak_density / (1 + np.exp(np.clip(-depth, -60, 60))) * np.asarray(domain.mask)

    def _true_states(self):
        trajectory = simulate(
            self.model,
            self.regimen.on(self.model.domain),
            self.model.initial_state(jnp.asarray(self.initial_density(), float)),
            list(self.visit_days),
            solver=diffrax.Bosh3() if self.solver is None else self.solver,
            stepsize_controller=diffrax.PIDController(rtol=RELATIVE_TOLERANCE, atol=ABSOLUTE_TOLERANCE),
            max_step=self.max_step,
        )
        return trajectory.require_success().states

    def _scan_grid(self) -> Domain:
        """The organ on the grid of the scans, over the field of view of the truth."""
        domain = self.model.domain
        assert domain.affine is not None
        scale = np.asarray(self.scan_voxel_mm) / np.asarray(domain.spacing)
        shape = tuple(max(1, round(n / s)) for n, s in zip(domain.shape, scale, strict=True))
        # The two grids share the corner of their first voxel.
        zoom = np.diag([*scale, 1.0])
        zoom[:3, 3] = (scale - 1) / 2
        affine = domain.affine @ zoom
        mask = domain.to_grid(np.asarray(domain.mask, np.float32), affine, shape)
        maps = {name: domain.to_grid(np.asarray(array), affine, shape) for name, array in domain.maps.items()}
        return Domain(mask >= 0.5, self.scan_voxel_mm, maps=maps, affine=affine)

    def _scan(self, number: int, density: np.ndarray, grid: Domain) -> Scan:
        rng = np.random.default_rng([self.seed, 1, number])
        organ = np.asarray(grid.mask)
        assert grid.affine is not None
        seen = self.model.domain.to_grid(density, grid.affine, grid.shape) * organ
        judged = seen * np.exp(self.contour_noise * _smooth(grid.shape, grid.spacing, rng))
        segmentation = np.where(judged >= self.levels["whole_tumor"], labels.OEDEMA, labels.BACKGROUND).astype(np.int8)
        segmentation[judged >= self.levels["core"]] = labels.ENHANCING
        tumor = np.clip(seen / self.levels["whole_tumor"], 0, 1)
        adc = (1 - tumor) * ADC_HEALTHY + tumor * (ADC_WATER - seen * (ADC_WATER - ADC_CELLULAR))
        signal = np.where(organ, SIGNAL_HEALTHY + seen * (SIGNAL_TUMOR - SIGNAL_HEALTHY), SIGNAL_OUTSIDE)
        images = {
            self.anatomy: np.maximum(signal + SIGNAL_HEALTHY * self.image_noise * rng.standard_normal(grid.shape), 0),
            "ADC": organ * np.maximum(adc * (1 + self.adc_noise * rng.standard_normal(grid.shape)), 1e-5),
        }
        return Scan(
            grid.affine,
            {name: image.astype(np.float32) for name, image in images.items()},
            segmentation,
            brain_mask=organ,
        )

    def _measured(self, number: int, states) -> dict[str, float]:
        rng = np.random.default_rng([self.seed, 2, number])
        true = self.model.quantities(jax.tree.map(lambda leaf: leaf[number], states))
        if unknown := [name for name in self.measurements if name not in true]:
            raise InputError(f"measurements: the model does not predict '{unknown[0]}'; it predicts {', '.join(true)}")
        return {name: float(true[name]) * float(np.exp(rng.normal(0, sd))) for name, sd in self.measurements.items()}


def _smooth(shape, spacing, rng: np.random.Generator) -> np.ndarray:
    """A smooth random field of zero mean and unit variance."""
    found = ndimage.gaussian_filter(rng.standard_normal(shape), [GRAIN_MM / h for h in spacing], mode="reflect")
    return (found - found.mean()) / found.std()
