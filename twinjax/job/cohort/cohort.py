"""`run_cohort`: the main job on every patient, and what they show together."""

import json
import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from twinjax.core.config import flat, instantiate
from twinjax.core.errors import InputError
from twinjax.core.processes import Died, in_processes
from twinjax.job.cohort.member import Job, Places, Task, is_done, run_member
from twinjax.job.cohort.source import AbstractCohort
from twinjax.job.cohort.summary import Found, held_out_rows, metric_rows, parameter_rows, patient_row
from twinjax.job.output import Run
from twinjax.job.patient import checked_parts, run_patient, without_places
from twinjax.job.provenance import origin_of_run
from twinjax.job.settings import check_prior
from twinjax.job.tracking import cohort_record, tracker_of
from twinjax.report.cohort import cohort_report

log = logging.getLogger("twinjax")

# Settings of a cohort that change no result of a patient: it may go on with others.
WITHOUT_EFFECT = ("cohort.workers", "cohort.patients", "tracking._target_")
EFFORT = ("seconds", "processor_seconds", "programs", "compile_seconds")


def run_cohort(
    config: DictConfig, folder: str | Path, choices: Mapping[str, str], *, job: Job = run_patient
) -> dict[str, Any]:
    """The main job on every patient of `config.cohort`, in `cohort.workers` processes; returns the summary.

    Files: `patients/NAME/` of the main job, there when all of it is; `failed/NAME/twinjax.log` of those without
    results; `cohort.csv`, a line a patient; `cohort.json`, the summary; `effort.csv`, time and compiled programs;
    `report.html`. Run again in the same folder it does what is missing, what failed and whose data have changed; what
    it ends in is the same, however often it was stopped. `job` takes what `run_patient` takes, and writes
    `results.json`.

    Raises `InputError` for settings that no patient can be run with, a cohort without patients, or a folder that holds
    a cohort of other settings.
    """
    plain: Any = OmegaConf.to_container(config, resolve=True)
    described = dict(plain.pop("cohort"))
    workers = described.pop("workers")
    if not isinstance(workers, int) or workers < 1:
        raise InputError(f"cohort.workers must be a whole number >= 1, got {workers}")
    _, model, parts = checked_parts(config)
    check_prior(model, parts["prior"])
    tracker = tracker_of(config)
    source = instantiate(described, where="cohort")
    if not isinstance(source, AbstractCohort):
        raise InputError("cohort must be a folder, a table or virtual; choose one of conf/cohort")
    members = source.members(plain)
    run = Run(folder, stages=2)
    _same_settings(run, config)
    done = [member for member in members if is_done(run.folder, member)]
    common = (plain, dict(choices), job)
    todo = [Task(run.folder.absolute(), member, *common) for member in members if member not in done]
    log.info("twinjax: %d patients, %d of them done before; results go to %s", len(members), len(done), folder)
    began = time.perf_counter()
    with run.stage("every patient"):
        failed = _do(todo, workers)
    wall = time.perf_counter() - began
    with run.stage("write the tables and the report"):
        cohort = [_found(run.folder, member.name, failed) for member in members]
        summary = _write(run, cohort, config, wall if len(todo) == len(members) else None)
    if tracker is not None:
        tracker.write(run.folder, cohort_record(without_places(plain), choices, summary, run))
    log.info("%d of %d patients done; open %s", summary["done"], len(members), run.folder / "report.html")
    return summary


def _do(tasks: Sequence[Task], workers: int) -> dict[str, str]:
    """Run them all; the name and complaint of those that failed."""
    failed = {}
    with tqdm(total=len(tasks), desc="patients", unit="patient", disable=not tasks) as bar:
        for task, message in in_processes(run_member, tasks, workers):
            bar.update()
            name = task.member.name
            if isinstance(message, Died):
                message = (
                    f"its process was ended by signal {message.signal}, as the system does for want of memory; give "
                    "it a machine with more, or a coarser grid"
                    if message.signal
                    else "its process ended by itself"
                )
            if message:
                failed[name] = message
                log.warning("  %s failed: %s", name, message)
            else:
                shutil.rmtree(Places.of(task.folder, name).failed, ignore_errors=True)
    if tasks and not failed:
        shutil.rmtree(tasks[0].folder / ".unfinished", ignore_errors=True)
    return failed


def _same_settings(run: Run, config: DictConfig) -> None:
    """Keep the configuration, or refuse to mix the results of two."""
    path = run.folder / "config.yaml"
    if path.is_file():
        before, now = (flat(OmegaConf.to_container(node, resolve=True)) for node in (OmegaConf.load(path), config))
        keys = [key for key in {**before, **now} if key not in WITHOUT_EFFECT and before.get(key) != now.get(key)]
        if keys:
            raise InputError(
                f"'{run.folder}' holds results of other settings ({keys[0]}: {before.get(keys[0])}, now "
                f"{now.get(keys[0])}); name another folder with hydra.run.dir=..., or delete it"
            )
    run.write_text("config.yaml", OmegaConf.to_yaml(config, resolve=True))


def _found(folder: Path, name: str, failed: Mapping[str, str]) -> Found:
    if name in failed:
        return Found(name, failed=failed[name])
    done = Places.of(folder, name).done
    results, effort = (json.loads((done / file).read_text("utf-8")) for file in ("results.json", "done.json"))
    return Found(name, results, effort=effort)


def _write(run: Run, cohort: Sequence[Found], config: DictConfig, wall: float | None) -> dict[str, Any]:
    """The files of the cohort; the summary."""
    run.write_csv("cohort.csv", [patient_row(one) for one in cohort])
    effort: list[dict[str, Any]] = [
        {"patient": one.name} | {key: one.effort.get(key) for key in EFFORT} for one in cohort if one.effort
    ]
    run.write_csv("effort.csv", effort)
    good = [one for one in cohort if one.results]
    summary = {
        "patients": len(cohort),
        "done": len(good),
        "failed": {one.name: one.failed for one in cohort if one.failed},
        "not_converged": [one.name for one in good if not (one.results or {})["diagnostics"]["converged"]],
        "metrics": metric_rows(cohort),
        "held_out": held_out_rows(cohort),
        "parameters": parameter_rows(cohort),
    }
    run.write_json("cohort.json", summary)
    shown = OmegaConf.to_yaml(without_places(OmegaConf.to_container(config, resolve=True)))
    report = cohort_report(
        summary,
        [patient_row(one) for one in cohort],
        {one.name: (one.results or {})["metrics"] for one in good},
        title=config.title,
        synthetic=bool(good) and all((one.results or {})["synthetic"] for one in good),
        effort=_in_all(effort) | {"seconds in all": wall},
        provenance=origin_of_run(shown, config.seed),
    )
    run.write_report(report)
    return summary


def _in_all(effort: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """What the patients took together, for the report."""
    processor, programs = ([one[key] for one in effort] for key in ("processor_seconds", "programs"))
    return {
        "processor seconds of a patient, median": float(np.median(processor)) if effort else None,
        "programs compiled or read from the disk, in all": sum(programs),
        "patients with programs of their own": sum(count > 0 for count in programs),
        "processor seconds in all": sum(processor),
    }
