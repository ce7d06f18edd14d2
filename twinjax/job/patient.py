"""The main job on a composed configuration: which patient, which model, and so which of the jobs."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from omegaconf import DictConfig, OmegaConf

from twinjax.calibration import in_folder
from twinjax.core.config import instantiate, locate
from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.job.course import run_course
from twinjax.job.longitudinal import run_longitudinal
from twinjax.job.output import Run
from twinjax.job.settings import JobSettings
from twinjax.job.single_scan import run_single_scan
from twinjax.job.tracking import patient_record, tracker_of
from twinjax.model import AbstractLumpedModel, AbstractTumorModel, UntimedFisherKPP
from twinjax.patient import ClinicalCourse, PatientData, RawPatient, VirtualCourse, course_of_sizes
from twinjax.patient.virtual import VirtualPatient, generate
from twinjax.twin import SwitchingQuestion, TargetQuestion
from twinjax.twin.coverage import measured_coverage

log = logging.getLogger("twinjax")

# Places on this machine, which may name a patient: config.yaml keeps them, results and report do not.
PLACES = ("path", "data_folder", "treatment_file", "weights", "model_folder", "checkpoint", "at_risk")


def run_patient(config: DictConfig, folder: str | Path, choices: Mapping[str, str]) -> dict[str, Any]:
    """The main job on one patient; writes into `folder` and returns the results that `results.json` holds.

    **Arguments:** `config`, composed from conf/config.yaml; `choices`, group to the name that was chosen, for messages.
    """
    # What the settings alone can tell comes first: making and scanning a virtual patient takes a while.
    settings, model, parts = checked_parts(config)
    tracker = tracker_of(config)
    single = isinstance(model, UntimedFisherKPP)
    chosen = config.get("recommendation")
    question = None if chosen is None else instantiate(chosen, where="recommendation")
    if single and not isinstance(question, TargetQuestion | None):
        raise InputError(
            "a recommendation needs several visits; leave recommendation out for a single scan, or choose "
            "recommendation=target_volume"
        )
    if isinstance(question, SwitchingQuestion | TargetQuestion):
        question.check(model)
    described = instantiate(config.patient, where="patient")
    scanned, raw = isinstance(described, VirtualPatient), isinstance(described, RawPatient)
    virtual = hasattr(described, "visit_days") and not raw
    days = described.visit_days if virtual or raw else described.days.tolist()
    if days is not None:
        settings.check(days, model, parts["prior"])
    without_scans = isinstance(described, ClinicalCourse | VirtualCourse)
    if without_scans and not isinstance(model, AbstractLumpedModel):
        raise InputError(
            f"model={choices['model']} works on scans, which patient={choices['patient']} does not have; choose a "
            "model and a patient that go together"
        )
    compares, assimilates = len(settings.options) > 1 and not single, settings.assimilate and not single
    job = Run(folder, stages=4 + virtual + scanned + raw + compares + (question is not None) + assimilates)
    job.write_text("config.yaml", OmegaConf.to_yaml(config, resolve=True))
    log.info("twinjax: results go to %s", folder)
    parts["calibrator"] = in_folder(parts["calibrator"], job.folder)
    patient = described
    if scanned:
        patient = _scanned(job, config, described)
    elif raw:
        with job.stage("process and segment the scans"):
            patient = described.processed(instantiate(config.imaging, where="imaging"), job.folder / "processed")
    elif virtual:
        with job.stage("make a virtual patient (synthetic)"):
            patient = described.generate()
    log.info("  %s", patient)
    plain = without_places(OmegaConf.to_container(config, resolve=True))
    common = {"settings": settings, **parts, "seed": config.seed, "config": OmegaConf.to_yaml(plain)}
    common["coverage"] = measured_coverage(choices["model"], choices.get("calibrator"), settings.model_error)
    if isinstance(model, AbstractLumpedModel):
        assert not isinstance(question, TargetQuestion)
        course = patient if isinstance(patient, ClinicalCourse) else course_of_sizes(patient, model.size_quantity)
        results = run_course(job, course, model, **common, question=question, title=config.title)
    else:
        model = model_of(config, patient.brain_mask)
        if len(patient.visits) == 1:
            # Other questions were refused with the model, or the model is with the visit.
            target = question if isinstance(question, TargetQuestion) else None
            results = run_single_scan(job, patient, model, **common, question=target)
        else:
            results = run_longitudinal(job, patient, model, **common, question=question, title=config.title)
    if tracker is not None:
        tracker.write(job.folder, patient_record(plain, choices, results, job))
    total = sum(job.seconds.values())
    log.info("%.0f s in all; open %s", total, job.folder / "report.html")
    return results


def checked_parts(config: DictConfig) -> tuple[JobSettings, AbstractTumorModel, dict[str, Any]]:
    """The settings, the model on a grid of no patient, and `prior`, `calibrator` and `solver`."""
    settings = settings_of(config)
    model = model_of(config, Domain(np.ones((8, 8, 8)), (2.0, 2.0, 2.0)))
    return settings, model, {name: instantiate(config[name], where=name) for name in ("prior", "calibrator", "solver")}


def settings_of(config: DictConfig) -> JobSettings:
    """The settings of the job, checked; days since baseline."""
    groups: Any = OmegaConf.to_container(config, resolve=True)
    if not isinstance(groups["seed"], int) or groups["seed"] < 0:
        raise InputError(f"seed must be a whole number >= 0, got {groups['seed']}")
    decision: dict[str, Any] = groups["decision"] or {"options": []}
    names = {"horizon_days": "decision_horizon_days", "draws": "decision_draws"}
    try:
        renamed = {names.get(key, key): value for key, value in decision.items()}
        return JobSettings(**groups["calibration"], **groups["forecast"], **renamed)
    except (TypeError, AttributeError) as error:
        raise InputError(f"calibration, forecast, decision: {error}; see conf/config.yaml for their keys") from error


def model_of(config: DictConfig, domain) -> Any:
    """The model of the configuration, on `domain` if it has space."""
    target = locate(config.model.get("_target_"), "model")
    lumped = isinstance(target, type) and issubclass(target, AbstractLumpedModel)
    return instantiate(dict(config.model) | ({} if lumped else {"domain": domain}), where="model")


def without_places(node: Any) -> Any:
    """A plain configuration without the values of `PLACES`."""
    if isinstance(node, dict):
        hidden = {key for key in PLACES if node.get(key) is not None}
        return {key: "(left out)" if key in hidden else without_places(value) for key, value in node.items()}
    return [without_places(item) for item in node] if isinstance(node, list) else node


def persistent_cache() -> None:
    """Double precision, and compiled programs are kept between runs: compiling is the most of a short run's time."""
    jax.config.update("jax_enable_x64", True)
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "twinjax" / "jax"
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    logging.getLogger("jax").setLevel(logging.ERROR)


def _scanned(job: Run, config: DictConfig, described: VirtualPatient) -> PatientData:
    """A virtual patient made, scanned and sent through the imaging pipeline."""
    pipeline = instantiate(config.imaging, where="imaging")
    with job.stage("make a virtual patient and scan it (synthetic)"):
        truth = generate(described, job.folder / "raw")
    with job.stage("process and segment the scans"):
        pipeline.process(job.folder / "raw", job.folder / "processed")
        read = PatientData(described.patient_id, job.folder / "processed")
        return PatientData.from_visits(
            read.patient_id, read.visits, read.regimen, read.brain_mask, truth.spatial(), source="synthetic"
        )
