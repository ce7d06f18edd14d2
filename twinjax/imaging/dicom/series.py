"""`Series`: the DICOM files of a folder, sorted by the series that they belong to."""

import datetime
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from twinjax.core.errors import InputError
from twinjax.imaging.dicom.instance import Instance, has_magic, parse_moment, read_instance
from twinjax.imaging.dicom.multiframe import frames, is_multiframe
from twinjax.imaging.nifti import SUFFIXES

logger = logging.getLogger("twinjax")

MASK_MODALITIES = ("SEG", "RTSTRUCT")


@dataclass(frozen=True, eq=False)
class Series:
    """**Fields:** `instances`, at least one, by file name, and by frame where a file has several."""

    instances: tuple[Instance, ...]

    @property
    def first(self) -> Instance:
        return self.instances[0]

    @property
    def number(self) -> int:
        """The series number; 0 where the header has none."""
        return int(self.first.number("SeriesNumber", 0)) if self.first.text("SeriesNumber").isdigit() else 0

    @property
    def modality(self) -> str:
        return self.first.text("Modality")

    @property
    def description(self) -> str:
        """The series description, or the name of the protocol where there is none."""
        return self.first.text("SeriesDescription") or self.first.text("ProtocolName")

    @property
    def label(self) -> str:
        """How messages call it."""
        return f"series {self.number} ({self.modality} '{self.description}')"

    @property
    def date(self) -> datetime.date | None:
        """The date of the study, or of the acquisition or series where that is missing."""
        for keyword in ("StudyDate", "AcquisitionDate", "SeriesDate", "ContentDate"):
            moment = parse_moment(self.first.text(keyword))
            if moment is not None:
                return moment.date()
        return None


def is_dicom_folder(path: str | Path) -> bool:
    """Whether a folder holds DICOM files, nested anyhow, and no NIfTI files."""
    root = Path(path)
    if not root.is_dir():
        return False
    found = False
    # What leads out is for the reader to refuse.
    for file in _files(root, strict=False):
        if file.name.lower().endswith(SUFFIXES):
            return False
        found = found or has_magic(file)
    return found


def read_series(dicom_folder: str | Path) -> list[Series]:
    """The headers of all DICOM files of a folder, nested anyhow, by series; sorted by date and series number.

    Raises `InputError` for a folder that is missing or has no DICOM files, for links that lead out of it, broken
    files, and files of two patients.
    """
    root = Path(dicom_folder)
    if not root.is_dir():
        raise InputError(f"dicom_folder '{root.name}' does not exist; check the path")
    groups: dict[str, list[Instance]] = {}
    others = 0
    for path in _files(root):
        file = path.relative_to(root).as_posix()
        if not has_magic(path):
            if path.suffix.lower() in (".dcm", ".dicom"):
                raise InputError(f"{file} is no DICOM file in spite of its name; export it again or remove it")
            others += 1
            continue
        instance = read_instance(path, file)
        if instance is not None:
            parts = frames(instance) if is_multiframe(instance) else [instance]
            groups.setdefault(instance.text("SeriesInstanceUID"), []).extend(parts)
    if others:
        logger.info("%d files left alone, being no DICOM", others)
    if not groups:
        raise InputError(f"dicom_folder '{root.name}' has no DICOM files; name the folder that holds them")
    if "" in groups:
        raise InputError(f"{groups[''][0].file} has no SeriesInstanceUID; export it again or remove it")
    series = [Series(tuple(instances)) for instances in groups.values()]
    patients = {instance.text("PatientID"): group for group in series for instance in group.instances}
    if len(patients) > 1:
        one, two = list(patients.values())[:2]
        raise InputError(f"{one.label} and {two.label} are of different patients; give a folder of one patient")
    return sorted(series, key=lambda group: (group.date or datetime.date.max, group.number, group.first.file))


def _files(root: Path, *, strict: bool = True) -> Iterator[Path]:
    """All files below `root`, by name; a link that leads out of it is an `InputError`, or passed over."""
    inside = root.resolve()
    for folder, folders, files in os.walk(root):
        folders.sort()
        for path in (Path(folder) / name for name in sorted([*folders, *files])):
            if path.is_symlink() and not path.resolve().is_relative_to(inside):
                if not strict:
                    continue
                raise InputError(f"{path.relative_to(root).as_posix()} leads out of the DICOM folder; copy it in")
            if path.is_file() and not path.name.startswith("."):
                yield path
