"""One patient of a cohort, in a process that serves many."""

import functools
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from filelock import FileLock
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from twinjax.core.errors import TwinjaxError
from twinjax.job.cohort.source import Member
from twinjax.job.patient import PLACES, persistent_cache

log = logging.getLogger("twinjax")

# What JAX tells of every program that it compiles, or reads from the cache on disk.
COMPILED = "/jax/core/compile/backend_compile_duration"
# Memory maps above which a process forgets its programs: no two spatial patients have the same shape, and the programs
# of sixteen reach the 65530 that Linux allows.
MOST_MAPS = 30_000


# `run_patient`, or what takes its arguments.
Job = Callable[[DictConfig, Path, Mapping[str, str]], Mapping[str, Any]]


@dataclass(frozen=True)
class Task:
    """A patient to do: `folder` of the cohort, `config` of the `job` as plain values, `choices` of its groups."""

    folder: Path
    member: Member
    config: Mapping[str, Any]
    choices: Mapping[str, str]
    job: Job


@dataclass(frozen=True)
class Places:
    """Where a patient's files lie: `done`, there when and only when all of them are; `failed`; `unfinished`."""

    done: Path
    failed: Path
    unfinished: Path

    @classmethod
    def of(cls, folder: Path, name: str) -> "Places":
        return cls(folder / "patients" / name, folder / "failed" / name, folder / ".unfinished" / name)


def is_done(folder: Path, member: Member) -> bool:
    """Whether the results of a patient are there, and of the data that it has now."""
    try:
        return json.loads((Places.of(folder, member.name).done / "done.json").read_text())["inputs"] == member.inputs
    except (OSError, ValueError, KeyError):
        return False


def run_member(task: Task) -> str:
    """Run the main job on a patient of a cohort; returns "" or, in one line, why it has no results.

    All is written into an unfinished folder, which gets its name in one step when nothing is missing any more.
    """
    began, processor, programs = time.perf_counter(), time.process_time(), len(_programs())
    member, places = task.member, Places.of(task.folder, task.member.name)
    try:
        places.unfinished.mkdir(parents=True, exist_ok=True)
        # A process of a job that was just killed may still be at it.
        with FileLock(f"{places.unfinished}.lock"):
            if is_done(task.folder, member):
                return ""
            _begin(places.unfinished, member)
            message = _attempt(task, places.unfinished)
            times = {"seconds": time.perf_counter() - began, "processor_seconds": time.process_time() - processor}
            own = _programs()[programs:]
            times |= {"programs": len(own), "compile_seconds": sum(own)}
            origin = {"inputs": member.inputs, "seed": member.seed, **times}
            if not message:
                (places.unfinished / "done.json").write_text(json.dumps(origin), encoding="utf-8")
            _replace(places.failed if message else places.done, places.unfinished)
    except OSError as error:
        message = str(error)
    _forget()
    return _without_identifiers(message, task)


def _begin(unfinished: Path, member: Member) -> None:
    """What an interrupted calibration left stays, unless it was of other data."""
    mark = unfinished / "inputs.txt"
    if not mark.is_file() or mark.read_text() != member.inputs:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        mark.write_text(member.inputs)


def _attempt(task: Task, folder: Path) -> str:
    """The job itself, with a log in its folder; "" or the complaint."""
    handler = logging.FileHandler(folder / "twinjax.log", mode="w", encoding="utf-8")
    handler.setFormatter(logging.Formatter("[%(asctime)s][%(levelname)s] %(message)s"))
    root = logging.getLogger()
    logging.captureWarnings(True)
    log.setLevel(logging.INFO)
    root.addHandler(handler)
    try:
        persistent_cache()
        config = {**task.config, "patient": dict(task.member.patient), "seed": task.member.seed}
        task.job(OmegaConf.create(config), folder, task.choices)
        return ""
    except (TwinjaxError, OmegaConfBaseException, OSError) as error:
        log.error("%s", error)
        return str(error)
    # Whatever else is wrong with one patient, the others go on.
    except Exception as error:
        log.exception("unexpected")
        return f"{type(error).__name__}: {error}"
    finally:
        root.removeHandler(handler)
        handler.close()


def _replace(final: Path, unfinished: Path) -> None:
    """`unfinished` becomes `final`, in place of what was there."""
    for partial in unfinished.rglob("*.partial"):
        partial.unlink()
    final.parent.mkdir(exist_ok=True)
    old = unfinished.with_name(f"{unfinished.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        os.rename(final, old)
    os.rename(unfinished, final)
    shutil.rmtree(old, ignore_errors=True)


def _without_identifiers(message: str, task: Task) -> str:
    """The message on one line, with no place on this machine but the name of the patient's folder."""
    patient = task.member.patient
    found = {str(patient[key]): key for key in PLACES if patient.get(key)}
    for place, key in sorted(found.items(), key=lambda item: -len(item[0])):
        message = message.replace(place, task.member.name if key == "path" else f"({key})")
    return " ".join(message.replace(str(task.folder), "").split())[:500]


@functools.cache
def _programs() -> list[float]:
    """Seconds of every program that this process has compiled or read from the disk, from the first call on."""
    found: list[float] = []

    def listen(event: str, duration_secs: float, **_) -> None:
        if event == COMPILED:
            found.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    return found


def _forget() -> None:
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > MOST_MAPS:
        jax.clear_caches()
