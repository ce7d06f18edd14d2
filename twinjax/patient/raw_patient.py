"""A patient whose scans are as the scanner left them: processed first, then read."""

from dataclasses import dataclass
from pathlib import Path

from twinjax.imaging import ImagingPipeline
from twinjax.imaging.dicom import is_dicom_folder
from twinjax.imaging.raw_folder import raw_visits
from twinjax.patient.patient import PatientData
from twinjax.patient.reading import require_folder


@dataclass(frozen=True)
class RawPatient:
    """The scans of a raw folder (`twinjax.imaging.raw_folder`), or of one of DICOM files, and what was given.

    **Fields:** `path`; `patient_id`, a label (default: the folder's name); `treatment_file`, `body_surface_area_m2` as
    in `PatientData`. Raises `InputError` for a folder that does not exist or has no visits.
    """

    path: str | Path | None = None
    patient_id: str | None = None
    treatment_file: str | Path | None = None
    body_surface_area_m2: float | None = None

    def __post_init__(self):
        _ = self.visit_days

    @property
    def folder(self) -> Path:
        return require_folder(self.path, "patient.path")

    @property
    def visit_days(self) -> list[float] | None:
        """Days since baseline; None for DICOM, whose headers are read when it is processed."""
        folder = self.folder
        return None if is_dicom_folder(folder) else [visit.day for visit in raw_visits(folder)]

    def processed(self, pipeline: ImagingPipeline, output: str | Path) -> PatientData:
        """The patient after `pipeline` has written its scans to `output`."""
        pipeline.process(self.folder, output)
        name = self.patient_id or self.folder.resolve().name
        patient = PatientData(name, output, self.treatment_file, body_surface_area_m2=self.body_surface_area_m2)
        patient.dicom_folder = self.folder if is_dicom_folder(self.folder) else None
        return patient
