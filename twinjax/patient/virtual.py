"""Virtual glioblastoma patients: a tumour grown in a real human brain, treated, and scanned. All of it is synthetic.

The truth is made with another time stepper than calibration uses (an adaptive explicit Runge-Kutta method on the
unsplit equation), so that a fit does not find its own numerics again.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import diffrax
import numpy as np

from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.imaging.nifti import write_nifti
from twinjax.imaging.template import brain_template
from twinjax.model import FisherKPP, PointSeed
from twinjax.patient.synthesis import SyntheticScan, Visibility, smooth_texture, synthesise_scan
from twinjax.patient.treatment_table import write_treatment_csv
from twinjax.patient.truth import SpatialTruth
from twinjax.simulation import simulate
from twinjax.treatment import Chemotherapy, Radiotherapy, Regimen

# The tumour is looked at this often (days) while it grows to its size at baseline, and given up after the limit.
GROWTH_STEP, GROWTH_CHUNK, GROWTH_LIMIT = 5, 50, 1500
# A tumour begins at its seed and at foci around it, this far away in core radii: a single point would grow a ball.
FOCI, FOCUS_DISTANCE = 3, 0.5
# The density that may not be met at the faces of the simulated box.
WALL_DENSITY = 0.02
# How far (mm) whole-brain images reach beyond the brain, so that a tilted box still holds it.
MARGIN_MM = 10.0


@dataclass(frozen=True, eq=False)
class VirtualPatient:
    """The truth about a patient, from which tumour and images follow; equal settings give equal files.

    **Fields:**

    - `patient_id`, `seed` (of foci, texture, noise and positioning).
    - `visit_days`: whole days since baseline, from 0.
    - `regimen`: treatments with the patient's true sensitivities, in days since baseline.
    - `seed_position_mm`: (3,) where the tumour began, MNI space (RAS, mm), in white matter.
    - `core_radius_mm`: baseline is the first time, to five days, when the core has the volume of this sphere.
    - `diffusivity` (white matter, mm²/day), `white_grey_ratio`, `proliferation_rate` (1/day).
    - `visibility`: densities from which oedema, enhancement and necrosis show.
    - `truth_resolution_mm`: voxel edge of the simulation.
    - `field_of_view_mm`: edge of an imaged cube around the seed; None images the whole brain.
    - `noise_level`: of the images, see `twinjax.patient.synthesis.synthesise_scan`.

    Raises `InputError` for values outside their range.
    """

    patient_id: str = "virtual_glioblastoma"
    seed: int = 0
    visit_days: Sequence[float] = (0, 14, 60, 95, 140, 185)
    regimen: Regimen = field(default_factory=Regimen)
    seed_position_mm: Sequence[float] = (28.0, 30.0, 16.0)
    core_radius_mm: float = 13.0
    diffusivity: float = 0.08
    white_grey_ratio: float = 10.0
    proliferation_rate: float = 0.045
    visibility: Visibility = field(default_factory=Visibility)
    truth_resolution_mm: float = 1.5
    field_of_view_mm: float | None = None
    noise_level: float = 0.03

    def __post_init__(self):
        # Configs give lists of numbers; a frozen value keeps tuples.
        object.__setattr__(self, "seed_position_mm", tuple(float(x) for x in self.seed_position_mm))
        if not isinstance(self.regimen, Regimen):
            raise InputError(f"regimen must be a Regimen, got {type(self.regimen).__name__}; see conf/treatment")
        days = list(self.visit_days)
        if not days or days[0] != 0 or not all(float(day).is_integer() for day in days) or any(np.diff(days) <= 0):
            raise InputError(f"visit_days must be whole days, ascending, the first 0 (baseline); got {days}")
        object.__setattr__(self, "visit_days", tuple(int(day) for day in days))
        if len(self.seed_position_mm) != 3:
            raise InputError(f"seed_position_mm needs three coordinates (MNI, mm), got {list(self.seed_position_mm)}")
        positive = ("core_radius_mm", "diffusivity", "white_grey_ratio", "proliferation_rate", "truth_resolution_mm")
        for name in positive:
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise InputError(f"{name} must be a positive number, got {getattr(self, name)}")
        if not 0 <= self.noise_level < 1:
            raise InputError(f"noise_level must lie in [0, 1), got {self.noise_level}")
        least = 3 * self.core_radius_mm
        if self.field_of_view_mm is not None and not self.field_of_view_mm > least:
            raise InputError(f"field_of_view_mm must exceed {least:g} (three core radii), got {self.field_of_view_mm}")

    def parameters(self) -> dict:
        """The truth as plain values, for `truth.json`."""
        sensitivities = {}
        for treatment in self.regimen.treatments:
            if isinstance(treatment, Radiotherapy):
                values = {"alpha": treatment.alpha, "alpha_beta_ratio": treatment.alpha_beta_ratio}
                sensitivities["radiotherapy"] = {name: float(value) for name, value in values.items()}
            elif isinstance(treatment, Chemotherapy):
                names = ("sensitivity", "clearance_rate", "reference_dose")
                sensitivities[treatment.drug] = {name: float(getattr(treatment, name)) for name in names}
        return {
            "synthetic": True,
            "patient_id": self.patient_id,
            "seed": self.seed,
            "model": "FisherKPP",
            "diffusivity": self.diffusivity,
            "white_grey_ratio": self.white_grey_ratio,
            "proliferation_rate": self.proliferation_rate,
            "sensitivities": sensitivities,
            "visibility": vars(self.visibility),
            "seed_position_mm": self.seed_position_mm,
            "core_radius_mm": self.core_radius_mm,
            "truth_resolution_mm": self.truth_resolution_mm,
            "noise_level": self.noise_level,
        }


@dataclass(frozen=True, eq=False)
class VirtualTruth:
    """What really happened to a virtual patient.

    **Fields:** `config`; `domain`, the box of tissue in which the tumour was simulated; `density` (T, X, Y, Z)
    float32 on `domain` at `config.visit_days`; `peak_density`, likewise, the highest density up to each visit;
    `age_days`, from the seed to baseline.
    """

    config: VirtualPatient
    domain: Domain
    density: np.ndarray
    peak_density: np.ndarray
    age_days: float

    def segmentation(self, visit: int) -> np.ndarray:
        """(X, Y, Z) int8 labels of `twinjax.imaging.labels` at the `visit`-th visit, on `domain`."""
        return self.config.visibility.segmentation(self.density[visit], self.peak_density[visit])

    def spatial(self) -> SpatialTruth:
        """What forecasts are scored against."""
        record = self.config.parameters()
        parameters = {
            "diffusivity": record["diffusivity"],
            "proliferation_rate": record["proliferation_rate"],
            "radiotherapy_alpha": record["sensitivities"].get("radiotherapy", {}).get("alpha"),
            "temozolomide_sensitivity": record["sensitivities"].get("temozolomide", {}).get("sensitivity"),
            "core_threshold": record["visibility"]["core"],
            "oedema_threshold": record["visibility"]["oedema"],
        }
        return SpatialTruth(
            tuple(float(day) for day in self.config.visit_days),
            self.density,
            self.domain,
            self.config.visibility.levels,
            {name: value for name, value in parameters.items() if value is not None},
        )

    def scan(self, visit: int, head: Domain, texture: np.ndarray) -> SyntheticScan:
        """The synthetic images of the `visit`-th visit; `head` and `texture` as in `synthesise_scan`."""
        fov = self.config.field_of_view_mm
        extent_mm = np.asarray(head.shape) * np.asarray(head.spacing) + 2 * MARGIN_MM
        return synthesise_scan(
            self.density[visit],
            self.peak_density[visit],
            self.domain,
            head,
            self.config.visibility,
            rng=np.random.default_rng([self.config.seed, 1 + visit]),
            texture=texture,
            extent_mm=extent_mm if fov is None else (fov,) * 3,
            noise_level=self.config.noise_level,
        )


def generate(config: VirtualPatient, output_dir: str | Path) -> VirtualTruth:
    """Grow, treat and scan a virtual patient and write the raw folder.

        output_dir/day_0000/{T1,T1CE,T2,FLAIR,ADC,brain_mask,white_matter,grey_matter}.nii.gz
        output_dir/day_0014/...
        output_dir/treatment.csv
        output_dir/truth/truth.json, density_day_0000.nii.gz, segmentation_day_0000.nii.gz, ...

    The images have no skull; `truth/` is for scoring. Files of the same names are replaced. Raises `InputError`
    where the folder holds visits of other days, or the tumour cannot grow as asked.
    """
    output_dir = Path(output_dir)
    names = [f"day_{day:04d}" for day in config.visit_days]
    others = sorted(p.name for p in output_dir.glob("day_*") if p.name not in names)
    if others:
        raise InputError(f"'{output_dir}' already has the visits {', '.join(others)}; give an empty folder")
    head = _head(config)
    truth = _grow(config, head)
    affine = np.asarray(truth.domain.affine)
    texture = smooth_texture(head.shape, np.random.default_rng([config.seed, 0]))
    truth_dir = output_dir / "truth"
    truth_dir.mkdir(parents=True, exist_ok=True)
    for visit, name in enumerate(names):
        (output_dir / name).mkdir(exist_ok=True)
        images, maps = truth.scan(visit, head, texture)
        for key, image in (images | maps).items():
            write_nifti(output_dir / name / f"{key}.nii.gz", image.array, image.affine)
        write_nifti(truth_dir / f"density_{name}.nii.gz", truth.density[visit], affine)
        write_nifti(truth_dir / f"segmentation_{name}.nii.gz", truth.segmentation(visit), affine)
    write_treatment_csv(output_dir / "treatment.csv", config.regimen)
    record = config.parameters() | {"age_days": truth.age_days, "visit_days": config.visit_days}
    (truth_dir / "truth.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return truth


def grow(config: VirtualPatient) -> VirtualTruth:
    """The tumour of a virtual patient at its visits, without images.

    Raises `InputError` where the seed is not in white matter, the tumour does not reach its size at baseline or
    meets the wall of the imaged cube.
    """
    return _grow(config, _head(config))


def _head(config: VirtualPatient) -> Domain:
    """Brain mask and tissue at 1 mm: the whole brain, or what a tilted field of view can see of it."""
    template = brain_template(1.0)
    affine = np.asarray(template.affine, float)
    head = Domain(
        template.brain_mask,
        np.linalg.norm(affine[:3, :3], axis=0),
        white_matter=template.white_matter,
        grey_matter=template.grey_matter,
        affine=affine,
    )
    index = np.linalg.inv(affine) @ [*config.seed_position_mm, 1.0]
    seed = tuple(np.round(index[:3]).astype(int))
    within = all(0 <= i < n for i, n in zip(seed, head.shape, strict=True))
    if not within or float(head.white_matter[seed]) < 0.5:
        raise InputError(f"seed_position_mm {list(config.seed_position_mm)} is not in white matter; move it (MNI, mm)")
    region, margin = np.asarray(head.mask), 1.0
    if config.field_of_view_mm is not None:
        region = np.zeros(head.shape, bool)
        region[seed] = True
        # A cube tilted by 12 degrees about a slanted axis stays inside one that is 1.4 times as wide.
        margin = 0.7 * config.field_of_view_mm
    return head.cropped(*head.box_around(region, margin))


def _grow(config: VirtualPatient, head: Domain) -> VirtualTruth:
    domain = _truth_domain(config, head)
    model = FisherKPP(
        domain,
        diffusivity=config.diffusivity,
        white_grey_ratio=config.white_grey_ratio,
        proliferation_rate=config.proliferation_rate,
    )
    density, age = _baseline(config, model)
    # Monthly looks between the visits, so that the peak density misses little.
    days = np.union1d(config.visit_days, np.arange(0, config.visit_days[-1], 30)).astype(float)
    states = _run(model, config.regimen, density, days)
    _check_walls(states, config, domain)
    peaks = np.maximum.accumulate(states)
    visits = np.searchsorted(days, config.visit_days)
    return VirtualTruth(config, domain, states[visits], peaks[visits], age)


def _truth_domain(config: VirtualPatient, head: Domain) -> Domain:
    """The tissue that the tumour can reach, on the grid of the simulation."""
    speed = 2 * np.sqrt(config.diffusivity * config.proliferation_rate)
    width = np.sqrt(config.diffusivity / config.proliferation_rate)
    # Until baseline it grew from foci that lie off the seed.
    grown = max(speed * config.visit_days[-1], FOCUS_DISTANCE * config.core_radius_mm)
    reach = config.core_radius_mm + grown + 8 * width
    if config.field_of_view_mm is not None:
        reach = min(reach, config.field_of_view_mm / 2)
    tissue = Domain.from_tissue(head.white_matter, head.grey_matter, head.affine, brain_mask=head.mask)
    offset = tissue.coordinates() - np.reshape(config.seed_position_mm, (3, 1, 1, 1))
    box = tissue.box_around((np.abs(offset) <= reach).all(axis=0), 0.0)
    return tissue.cropped(*box).resampled(config.truth_resolution_mm)


def _baseline(config: VirtualPatient, model: FisherKPP) -> tuple[np.ndarray, float]:
    """The density when the core first has its size, and the age (days) of the tumour then."""
    wanted = 4 / 3 * np.pi * config.core_radius_mm**3
    away = np.random.default_rng([config.seed, 0, 1]).normal(size=(FOCI, 3))
    away *= FOCUS_DISTANCE * config.core_radius_mm / np.linalg.norm(away, axis=1, keepdims=True)
    places = [config.seed_position_mm, *(config.seed_position_mm + away)]
    density = np.max([PointSeed(place)(model.domain) for place in places], axis=0)
    for start in range(0, GROWTH_LIMIT, GROWTH_CHUNK):
        days = start + np.arange(0, GROWTH_CHUNK + 1, GROWTH_STEP, dtype=float)
        states = _run(model, Regimen(), density, days)
        volumes = (states >= config.visibility.core).sum(axis=(1, 2, 3)) * model.domain.voxel_volume
        reached = np.flatnonzero(volumes >= wanted)
        if reached.size:
            return states[reached[0]], float(days[reached[0]])
        density = states[-1]
    raise InputError(
        f"core_radius_mm {config.core_radius_mm:g} is not reached in {GROWTH_LIMIT} days; make the core smaller, "
        "or diffusivity and proliferation_rate larger"
    )


def _run(model: FisherKPP, regimen: Regimen, density: np.ndarray, days: np.ndarray) -> np.ndarray:
    trajectory = simulate(
        model,
        regimen,
        density,
        days,
        start=days[0],
        solver=diffrax.Bosh3(),
        stepsize_controller=diffrax.PIDController(rtol=1e-4, atol=1e-6),
    )
    return np.asarray(trajectory.require_success().states, np.float32)


def _check_walls(states: np.ndarray, config: VirtualPatient, domain: Domain) -> None:
    """Refuse a tumour that meets the faces of its box, where it should have gone on."""
    faces = [np.take(states, index, axis=axis).max() for axis in (1, 2, 3) for index in (0, -1)]
    if max(faces) >= WALL_DENSITY:
        size = " x ".join(f"{n * h:.0f}" for n, h in zip(domain.shape, domain.spacing, strict=True))
        raise InputError(
            f"the tumour meets the wall of its {size} mm box; enlarge field_of_view_mm, move seed_position_mm, "
            "or shorten the growth (core_radius_mm, visit_days)"
        )
