"""Where to irradiate: the stage that seeks target volumes and a painted dose, and writes them for planning systems."""

import logging
from collections.abc import Mapping

import numpy as np

from twinjax.imaging import Scan
from twinjax.imaging.dicom import Source, write_rtdose, write_rtstruct
from twinjax.job.output import Run
from twinjax.job.settings import JobSettings
from twinjax.patient import PatientData
from twinjax.report.target import target_verdict
from twinjax.twin import DigitalTwin, OrganAtRisk, TargetQuestion, TargetRecommendation

log = logging.getLogger("twinjax")


def organ_at_risk(patient: PatientData, question: object) -> OrganAtRisk | None:
    """The organ that a question of a target names, read from the patient's folder; None for any other question."""
    if not isinstance(question, TargetQuestion) or question.at_risk is None:
        return None
    assert question.largest_dose_at_risk is not None
    return OrganAtRisk(patient.mask(question.at_risk), question.largest_dose_at_risk)


def recommend_target(
    run: Run,
    twin: DigitalTwin,
    question: TargetQuestion,
    patient: PatientData,
    scan: Scan,
    settings: JobSettings,
    *,
    day: float,
    later: Mapping[str, np.ndarray],
    at_risk: OrganAtRisk | None = None,
    source: Source | None = None,
) -> TargetRecommendation:
    """Targets and doses on the scan of `day` of the twin, scored against what was segmented `later` (name to mask).

    Files: `target_standard.nii.gz`, `target_mean.nii.gz`, `target_tail.nii.gz` and `dose_painted.nii.gz` (Gy) on the
    patient's grid, `recommendation.csv`; with a DICOM `source` also `target_volumes.dcm` (RTSTRUCT) and
    `dose_painted.dcm` (RTDOSE, Gy), which **carry the patient's name and number** as planning systems need.
    """
    with run.stage("seek a better target"):
        made = twin.recommend_target(
            question, scan, decision_day=day, given=patient.regimen, draws=settings.decision_draws, at_risk=at_risk
        )
        made = made.scored(later)
        fields = {f"target_{name}": target for name, target in made.targets.items()}
        for name, field in (fields | {"dose_painted": made.doses["painted"]}).items():
            run.write_field(f"{name}.nii.gz", field, made.domain, patient, grid_of=settings.grid_of)
        run.write_csv("recommendation.csv", made.rows())
        if source is not None:
            export_target(run, made, source)
        log.info("  %s", target_verdict(made))
    return made


def export_target(run: Run, made: TargetRecommendation, source: Source) -> None:
    """Targets and painted dose on the slices of a series of the patient's own, as `export_dicom` writes."""
    affine = made.planning.affine
    masks = {f"target {name}": made.on_scan(target) for name, target in made.targets.items()}
    write_rtstruct(run.folder / "target_volumes.dcm", masks, affine, source)
    dose = made.on_scan(made.doses["painted"])
    write_rtdose(run.folder / "dose_painted.dcm", dose, affine, source, description="Painted dose, not deliverable")
