"""The raw patient folder: which visits it has, and which file holds what.

    patient/day_0000/{T1,T1CE,T2,FLAIR,ADC}.nii.gz   names as in ALIASES, any case, any prefix ending in _ or -
    patient/day_0030/...                             or by calendar date: 2024-03-01/
    patient/treatment.csv                            optional

A folder with image files and no visit folders is one visit on day 0. Other subfolders are left alone.
"""

import logging
from pathlib import Path
from typing import NamedTuple

from twinjax.core.errors import InputError
from twinjax.imaging.nifti import SUFFIXES
from twinjax.imaging.visit_folder import visit_folders

logger = logging.getLogger("twinjax")

# Field-standard name: what it is also called in file names (lower case, `-` written as `_`).
ALIASES: dict[str, tuple[str, ...]] = {
    "T1": ("t1", "t1n"),
    "T1CE": ("t1ce", "t1gd", "t1c", "ct1", "t1post"),
    "T2": ("t2", "t2w"),
    "FLAIR": ("flair", "t2f"),
    "ADC": ("adc",),
    "FET": ("fet", "fet_pet"),
    "segmentation": ("segmentation", "seg"),
    "brain_mask": ("brain_mask", "brainmask"),
    "white_matter": ("white_matter", "wm"),
    "grey_matter": ("grey_matter", "gray_matter", "gm"),
}


class RawVisit(NamedTuple):
    """`day` since the first visit, the `folder` of its files, the `name` of its folder in the output."""

    day: float
    folder: Path
    name: str


def raw_visits(patient_dir: str | Path) -> list[RawVisit]:
    """The visits of a raw patient folder, by day.

    Raises `InputError` for a missing folder, no visit, badly named or repeated visits, or a first visit that is
    not day 0.
    """
    root = Path(patient_dir)
    if not root.is_dir():
        raise InputError(f"patient_dir: the folder '{root}' does not exist")
    found = visit_folders(root)
    if found.other:
        logger.info("left alone, being no visits: %s", ", ".join(found.other))
    if not found.days:
        if not any(p.name.lower().endswith(SUFFIXES) for p in root.iterdir()):
            raise InputError(f"'{root.name}' has no visit folders (day_0000, ... or 2024-03-01, ...) and no images")
        return [RawVisit(0.0, root, "day_0000")]
    return [RawVisit(day, _inside(root / name, root), name) for name, day in found.days.items()]


def find_files(folder: Path, root: Path) -> dict[str, Path]:
    """The files of one visit by the names of `ALIASES`.

    Raises `InputError` where two files match one name, or a link leads out of `root`.
    """
    found: dict[str, Path] = {}
    for path in sorted(p for p in folder.iterdir() if p.name.lower().endswith(SUFFIXES)):
        stem = path.name.lower().removesuffix(".gz").removesuffix(".nii").replace("-", "_")
        for name, aliases in ALIASES.items():
            if any(stem == alias or stem.endswith("_" + alias) for alias in aliases):
                if name in found:
                    raise InputError(f"'{folder.name}': {found[name].name} and {path.name} are both {name}; keep one")
                found[name] = _inside(path, root)
    return found


def _inside(path: Path, root: Path) -> Path:
    if not path.resolve().is_relative_to(root.resolve()):
        raise InputError(f"'{path.name}' leads out of the patient folder; copy it into the folder")
    return path
