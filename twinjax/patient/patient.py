"""`PatientData`: a patient's visits, treatment and brain on one grid and one time axis."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.imaging.record import FILE as RECORD_FILE
from twinjax.imaging.record import ImagingRecord
from twinjax.imaging.scan import Scan
from twinjax.patient.clinical_course import ClinicalCourse
from twinjax.patient.folder import read_mask, read_tensor_maps, read_visits
from twinjax.patient.laboratory_value import laboratory_value
from twinjax.patient.reading import inside, require_folder
from twinjax.patient.treatment_table import read_treatment_csv
from twinjax.patient.truth import SpatialTruth
from twinjax.patient.visit import Visit, check_order, check_patient_id
from twinjax.treatment import Regimen

logger = logging.getLogger(__name__)


class PatientData:
    """Visits in days since baseline, the regimen and the brain; read from a processed folder.

        PatientData(patient_id="GBM_001", imaging_dir="GBM_001/", treatment_file="GBM_001/treatment.csv")

    **Fields:**

    - `patient_id`: a label for the user; no path is made from it.
    - `visits`: by day, each with a segmentation, all on one grid; `baseline` is the first.
    - `regimen`: what was given, in days since baseline.
    - `brain_mask`: the tissue as a `Domain` on the grid of the visits, with diffusion tensors where there are any.
    - `source`: `"real"` or `"synthetic"`.
    - `extras`: (X, Y, Z) arrays for scoring, never for fitting: `recurrence`, `standard_plan`.
    - `truth`: what a forecast of a synthetic patient is scored against, None for a real one.
    - `folder`: the processed folder that it was read from; None for a patient from elsewhere.
    - `dicom_folder`: where the scans came from as DICOM, if they did; for writing results on them.
    - `record`: what the imaging pipeline did, where the folder has it; it brings results back to the files' grids.

    **Arguments:** `imaging_dir` as `twinjax.patient.folder` describes it; `treatment_file` as
    `twinjax.patient.treatment_table` does (default: `treatment.csv` in `imaging_dir`, where there is one);
    `body_surface_area_m2` (m²), needed where drug doses are in mg; `brain_mask` (default: from the baseline's
    tissue maps). Raises `InputError` for anything missing or inconsistent.
    """

    patient_id: str
    visits: tuple[Visit, ...]
    regimen: Regimen
    brain_mask: Domain
    source: str
    extras: dict[str, np.ndarray]
    truth: SpatialTruth | None
    record: ImagingRecord | None
    folder: Path | None
    dicom_folder: Path | None

    def __init__(
        self,
        patient_id: str,
        imaging_dir: str | Path,
        treatment_file: str | Path | None = None,
        *,
        body_surface_area_m2: float | None = None,
        brain_mask: Domain | None = None,
        source: str = "real",
    ):
        visits, baseline_date = read_visits(imaging_dir)
        default = inside(Path(imaging_dir), "treatment.csv")
        if treatment_file is None and default.is_file():
            treatment_file = default
        regimen = Regimen()
        if treatment_file is not None:
            regimen = read_treatment_csv(
                treatment_file, visits=visits, baseline_date=baseline_date, body_surface_area_m2=body_surface_area_m2
            )
        if brain_mask is None:
            brain_mask = _domain(visits[0].scan, read_tensor_maps(imaging_dir, visits[0].scan))
        self._set(patient_id, visits, regimen, brain_mask, source, {}, None)
        self.folder = Path(imaging_dir)
        self.record = ImagingRecord.load(imaging_dir) if (Path(imaging_dir) / RECORD_FILE).is_file() else None

    @classmethod
    def from_visits(
        cls,
        patient_id: str,
        visits: Iterable[Visit],
        regimen: Regimen | None = None,
        brain_mask: Domain | None = None,
        truth: SpatialTruth | None = None,
        *,
        source: str | None = None,
        extras: Mapping[str, np.ndarray] | None = None,
    ) -> "PatientData":
        """A patient from arrays in memory; a patient with a `truth` is synthetic unless `source` says otherwise."""
        patient = cls.__new__(cls)
        source = source or ("real" if truth is None else "synthetic")
        patient._set(patient_id, tuple(visits), regimen or Regimen(), brain_mask, source, dict(extras or {}), truth)
        return patient

    def _set(self, patient_id, visits, regimen, brain_mask, source, extras, truth):
        self.patient_id = check_patient_id(patient_id)
        if source not in ("real", "synthetic"):
            raise InputError(f"source must be 'real' or 'synthetic', got '{source}'")
        if not visits:
            raise InputError("a patient needs at least one visit")
        check_order([visit.day for visit in visits], "visits")
        for visit in visits:
            _check_scan(visit, visits[0])
        if not visits[0].scan.whole_tumor.any():
            raise InputError("the baseline segmentation has no tumour (labels 1, 2, 3); check the visit and its labels")
        self.visits, self.regimen, self.source, self.truth = visits, regimen, source, truth
        self.record, self.folder, self.dicom_folder = None, None, None
        self.brain_mask = _domain(visits[0].scan) if brain_mask is None else brain_mask
        shape = visits[0].scan.shape
        # A synthetic patient's domain may be finer than its scans; arrays for scoring are on the scans' grid.
        for name, array in extras.items():
            if np.shape(array) != shape:
                raise InputError(f"extras['{name}'] has shape {np.shape(array)}, the scans {shape}; resample it")
        self.extras = extras

    @property
    def baseline(self) -> Visit:
        """The first visit."""
        return self.visits[0]

    @property
    def days(self) -> np.ndarray:
        """(visits,) days since baseline."""
        return np.asarray([visit.day for visit in self.visits])

    @property
    def laboratory(self) -> ClinicalCourse | None:
        """The laboratory values of all visits as a course; None without any."""
        series: dict[str, tuple[list[float], list[float | str]]] = {}
        for visit in self.visits:
            for name, entry in visit.measurements.items():
                # What is missing everywhere was not measured.
                if not np.isnan(laboratory_value(entry, name)[0]):
                    days, values = series.setdefault(name, ([], []))
                    days.append(visit.day)
                    values.append(entry)
        if not series:
            return None
        return ClinicalCourse(self.patient_id, series, self.regimen, source=self.source)

    def mask(self, name: str) -> np.ndarray:
        """(X, Y, Z) bool, the voxels above 0 of a NIfTI file in the patient's folder, on the grid of the visits.

        Raises `InputError` for a patient that was not read from a folder, and as `twinjax.patient.folder.read_mask`.
        """
        if self.folder is None:
            raise InputError(f"the mask '{name}' needs a patient from a processed folder: patient=folder")
        return read_mask(self.folder, name, self.baseline.scan)

    def until(self, day: float) -> "PatientData":
        """What was known on `day`: visits up to and including it, treatments given before it, nothing for scoring.

        Fit this, and forecast `visits_after(day)` under `regimen` (of the whole patient, where the later
        schedule may be taken as given).
        """
        kept = tuple(visit for visit in self.visits if visit.day <= day)
        if not kept:
            raise InputError(f"no visit on or before day {day:g}; the first is on day {self.baseline.day:g}")
        return PatientData.from_visits(
            self.patient_id, kept, self.regimen.before(day), self.brain_mask, source=self.source
        )

    def visits_after(self, day: float) -> tuple[Visit, ...]:
        """The visits later than `day`: what is held out when `until(day)` is fitted."""
        return tuple(visit for visit in self.visits if visit.day > day)

    def __repr__(self) -> str:
        days = ", ".join(f"{day:g}" for day in self.days)
        return f"PatientData({self.source}, visits on days {days}, {len(self.regimen.treatments)} treatments)"


def single_scan(patient_id: str, scan: Scan, extras: Mapping[str, np.ndarray | None]) -> PatientData:
    """A real patient with one scan, on day 0, and no treatment; `extras` that are None are left out."""
    kept = {name: array for name, array in extras.items() if array is not None}
    return PatientData.from_visits(patient_id, [Visit(0, scan)], source="real", extras=kept)


def load_folder(
    path: str | Path | None = None,
    *,
    patient_id: str | None = None,
    treatment_file: str | Path | None = None,
    body_surface_area_m2: float | None = None,
    source: str = "real",
) -> PatientData:
    """A processed patient folder, as `PatientData`; `patient_id` defaults to the folder's name."""
    folder = require_folder(path, "patient.path")
    name = patient_id or folder.resolve().name
    return PatientData(name, folder, treatment_file, body_surface_area_m2=body_surface_area_m2, source=source)


def _check_scan(visit: Visit, first: Visit) -> None:
    scan, reference = visit.scan, first.scan
    if scan.segmentation is None:
        raise InputError(f"the visit on day {visit.day:g} has no segmentation; run ImagingPipeline.process on it")
    if scan.shape != reference.shape or not np.allclose(scan.affine, reference.affine, atol=1e-3):
        raise InputError(
            f"the visit on day {visit.day:g} is on another grid (shape {scan.shape}) than day {first.day:g} "
            f"(shape {reference.shape}), or has another affine; register it to the baseline (ImagingPipeline does)"
        )


def _domain(scan: Scan, maps: Mapping[str, np.ndarray] | None = None) -> Domain:
    """Tissue of the baseline scan, with `maps`; without any the mask of the organ, in a brain all as white matter."""
    maps = {**scan.maps, **(maps or {})}
    if scan.white_matter is not None and scan.grey_matter is not None:
        tissue = scan.white_matter, scan.grey_matter
        return Domain.from_tissue(*tissue, scan.affine, brain_mask=scan.brain_mask, maps=maps)
    if scan.brain_mask is None:
        raise InputError("the baseline visit has neither tissue maps nor a brain mask; run ImagingPipeline")
    if not maps:
        logger.warning("no tissue maps: the whole mask is taken as one tissue, in a brain as white matter")
    return Domain(scan.brain_mask, scan.spacing, maps=maps, affine=scan.affine)
