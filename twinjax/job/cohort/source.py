"""Where the patients of a cohort come from: a folder, a table, or the model itself."""

import abc
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twinjax.calibration.drawn import KINDS
from twinjax.core.config import locate
from twinjax.core.errors import InputError
from twinjax.core.folder import signature
from twinjax.patient.csv_rows import read_csv_rows
from twinjax.patient.reading import require_folder
from twinjax.patient.visit import check_patient_id

# Keys of patients that are text, even where they look like a number, and those that are places beside the table.
TEXTS = ("patient_id", "case", "source", "path", "treatment_file", "data_folder")
PATHS = ("path", "treatment_file", "data_folder")
# Of these, what is the patient's own: when it changes, the results are old.
READ = ("path", "treatment_file")


@dataclass(frozen=True)
class Member:
    """One patient of a cohort.

    **Fields:** `name`, of its folder; `patient`, the configuration in place of the group `patient`; `inputs`, a word
    that changes with its data; `seed`, from the seed of the cohort and the name, and not from the place in the cohort.
    """

    name: str
    patient: Mapping[str, Any]
    inputs: str
    seed: int


class AbstractCohort(abc.ABC):
    """The patients of a cohort, from a composed configuration as plain values."""

    @abc.abstractmethod
    def members(self, config: Mapping[str, Any]) -> list[Member]:
        """In order of their names, or of the table. Raises `InputError` for a cohort without patients."""


def seed_of(seed: int, name: str) -> int:
    """The seed of a patient: the same whoever else is in the cohort."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:4]) // 2


@dataclass(frozen=True)
class FolderCohort(AbstractCohort):
    """Every folder in `path` is a patient, as the `path` of `patient=folder`, `raw_folder` or another has it."""

    path: str | Path | None = None

    def members(self, config: Mapping[str, Any]) -> list[Member]:
        root = require_folder(self.path, "cohort.path")
        if "path" not in config["patient"]:
            raise InputError("cohort=folder needs a patient with a path: patient=folder, raw_folder or tumortwin")
        if config["patient"]["path"] is not None:
            raise InputError("patient.path is that of one patient, and cohort=folder has many; leave it out")
        folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
        if not folders:
            raise InputError(f"cohort.path: '{root.name}' has no patient folders")
        return [
            Member(
                path.name,
                {**config["patient"], "path": str(path.absolute())},
                signature(path),
                seed_of(config["seed"], path.name),
            )
            for path in folders
        ]


@dataclass(frozen=True)
class TableCohort(AbstractCohort):
    """Every line of a CSV file is a patient: `patient` is its name, and other columns are keys of the patient.

    An empty cell leaves the key as the configuration has it; paths count from the folder of the table. Where the
    patient has a key `patient_id` and the table has not, it is the name.
    """

    path: str | Path | None = None

    def members(self, config: Mapping[str, Any]) -> list[Member]:
        if self.path is None or not Path(self.path).is_file():
            raise InputError(f"cohort.path: the table '{self.path}' does not exist; give a CSV file")
        table = Path(self.path)
        columns, rows = read_csv_rows(table, "cohort.path: the table")
        known = [key for key in config["patient"] if key != "_target_"]
        if "patient" not in columns:
            raise InputError(f"{table.name}: the column patient, with the names, is missing")
        listed = ", ".join(known)
        if unknown := [name for name in columns if name not in ("patient", *known)]:
            raise InputError(f"{table.name}: column '{unknown[0]}' is no key of the patient, which has {listed}")
        members = [self._member(table.parent, where, row, config) for where, row in rows]
        names = [member.name for member in members]
        if not members:
            raise InputError(f"{table.name} has no patients")
        if twice := [name for name in names if names.count(name) > 1]:
            raise InputError(f"{table.name}: patient '{twice[0]}' is there more than once")
        return members

    def _member(self, folder: Path, where: str, row: Mapping[str, str], config: Mapping[str, Any]) -> Member:
        name, patient = row["patient"], dict(config["patient"])
        try:
            check_patient_id(name)
        except InputError as error:
            raise InputError(f"{where}: patient: {error}") from error
        if "patient_id" in patient:
            patient["patient_id"] = name
        for key, text in row.items():
            if key != "patient" and text:
                patient[key] = _value(key, text, folder)
        inputs = json.dumps(patient, sort_keys=True, default=str)
        for key in READ:
            if patient.get(key) and Path(patient[key]).exists():
                inputs += signature(patient[key])
        return Member(name, patient, hashlib.sha256(inputs.encode()).hexdigest()[:16], seed_of(config["seed"], name))


@dataclass(frozen=True)
class VirtualCohort(AbstractCohort):
    """`patients` numbered virtual patients like the configuration's own, drawn from its prior (`drawn_patient`)."""

    patients: int = 20

    def members(self, config: Mapping[str, Any]) -> list[Member]:
        if not isinstance(self.patients, int) or self.patients < 1:
            raise InputError(f"cohort.patients must be a whole number >= 1, got {self.patients}")
        if locate(config["patient"].get("_target_"), "patient") not in KINDS:
            raise InputError("cohort=virtual draws virtual patients, and this one is not; choose patient=virtual_...")
        names = [f"virtual_{number:04d}" for number in range(1, self.patients + 1)]
        return [self._member(name, config) for name in names]

    def _member(self, name: str, config: Mapping[str, Any]) -> Member:
        seed = seed_of(config["seed"], name)
        like = {"patient": config["patient"], "prior": config["prior"], "seed": seed, "patient_id": name}
        return Member(name, {"_target_": "twinjax.calibration.drawn_patient", **like}, "", seed)


def _value(key: str, text: str, folder: Path) -> str | float:
    if key in PATHS:
        return str((folder / text).absolute())
    if key in TEXTS:
        return text
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text
