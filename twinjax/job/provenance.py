"""Where results came from: versions, revision, machine, seed, data and configuration."""

import functools
import hashlib
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import twinjax
from twinjax.patient import ClinicalCourse, PatientData
from twinjax.patient.laboratory_value import laboratory_value

PACKAGES = ("jax", "diffrax", "equinox", "numpyro", "numpy", "monai", "torch", "nibabel", "hydra-core")


def provenance(config: str, seed: int, patient: PatientData | ClinicalCourse) -> dict[str, Any]:
    """As `origin_of_run`, and a hash of the data."""
    digest = hashlib.sha256()
    for array in _arrays(patient):
        digest.update(np.ascontiguousarray(array).tobytes())
    origin = origin_of_run(config, seed)
    shown = origin.pop("configuration")
    return {**origin, "data (SHA-256)": digest.hexdigest(), "configuration": shown}


def origin_of_run(config: str, seed: int) -> dict[str, Any]:
    """Versions, revision, machine, seed and the resolved configuration: what a run has, whoever the patient."""
    versions = {"twinjax": twinjax.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except ModuleNotFoundError:
            continue
    return {
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "revision": code_revision(),
        "seed": seed,
        "configuration": config,
    }


@functools.cache
def code_revision() -> str:
    """The git revision of the code when it is first asked for, and whether it was changed; unknown of a package."""
    root = Path(twinjax.__file__).parent.parent
    if not (root / ".git").exists():
        return "unknown: not run from a git checkout"
    git = ["git", "-C", str(root)]
    try:
        found = [
            subprocess.run([*git, *words], capture_output=True, text=True, check=True, timeout=10).stdout.strip()
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--", "twinjax", "conf"])
        ]
    except (OSError, subprocess.SubprocessError):
        return "unknown: git did not tell"
    return found[0] + (", with changes" if found[1] else "")


def _arrays(patient: PatientData | ClinicalCourse) -> list[np.ndarray]:
    """Everything that was measured."""
    if isinstance(patient, ClinicalCourse):
        return [*(array for series in patient.measurements.values() for array in series), *patient.sides.values()]
    arrays = []
    for visit in patient.visits:
        assert visit.scan.segmentation is not None
        arrays += [*visit.scan.images.values(), visit.scan.segmentation]
        arrays += [np.asarray(laboratory_value(entry, name)) for name, entry in visit.measurements.items()]
    return arrays
