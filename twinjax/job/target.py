"""Where to irradiate: the stage that seeks target volumes and a painted dose, and writes them for planning systems."""

import logging

from twinjax.imaging.dicom import Source, write_rtdose, write_rtstruct
from twinjax.job.output import Run
from twinjax.job.settings import JobSettings
from twinjax.patient import PatientData
from twinjax.report.target import target_verdict
from twinjax.twin import DigitalTwin, TargetQuestion, TargetRecommendation

log = logging.getLogger("twinjax")


def recommend_target(
    run: Run,
    twin: DigitalTwin,
    question: TargetQuestion,
    patient: PatientData,
    settings: JobSettings,
    *,
    day: float,
    source: Source | None = None,
) -> TargetRecommendation:
    """Targets and doses on the scan of `day`, scored against the cores of later visits.

    Files: `target_standard.nii.gz`, `target_mean.nii.gz`, `target_tail.nii.gz` and `dose_painted.nii.gz` (Gy) on the
    patient's grid, `recommendation.csv`; with a DICOM `source` also `target_volumes.dcm` (RTSTRUCT) and
    `dose_painted.dcm` (RTDOSE, Gy), which **carry the patient's name and number** as planning systems need.
    """
    with run.stage("seek a better target"):
        scan = next(visit.scan for visit in patient.visits if visit.day == day)
        made = twin.recommend_target(
            question, scan, decision_day=day, given=patient.regimen, draws=settings.decision_draws
        )
        made = made.scored({visit.day: visit.scan.core for visit in patient.visits_after(day)})
        fields = {f"target_{name}": target for name, target in made.targets.items()}
        for name, field in (fields | {"dose_painted": made.doses["painted"]}).items():
            run.write_field(f"{name}.nii.gz", field, made.domain, patient, grid_of=settings.grid_of)
        run.write_csv("recommendation.csv", made.rows())
        if source is not None:
            _export_dicom(run, made, source)
        log.info("  %s", target_verdict(made))
    return made


def _export_dicom(run: Run, made: TargetRecommendation, source: Source) -> None:
    affine = made.planning.affine
    masks = {f"target {name}": made.on_scan(target) for name, target in made.targets.items()}
    write_rtstruct(run.folder / "target_volumes.dcm", masks, affine, source)
    dose = made.on_scan(made.doses["painted"])
    write_rtdose(run.folder / "dose_painted.dcm", dose, affine, source, description="Painted dose, not deliverable")
