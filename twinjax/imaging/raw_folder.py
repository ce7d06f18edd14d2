"""The raw patient folder: which visits it has, and which file holds what.

    patient/day_0000/{T1,T1CE,T2,FLAIR,ADC}.nii.gz   names as in ALIASES, any case, any prefix ending in _ or -
    patient/day_0030/...                             or by calendar date: 2024-03-01/
    patient/treatment.csv                            optional

A folder with image files and no visit folders is one visit on day 0. Other subfolders are left alone.
A subject's folder of a BIDS data set is read too (`twinjax.imaging.bids`).
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from twinjax.core.errors import InputError
from twinjax.imaging import bids
from twinjax.imaging.nifti import SUFFIXES
from twinjax.imaging.visit_folder import visit_folders

logger = logging.getLogger("twinjax")

# Field-standard name: what it is also called in file names (lower case, `-` written as `_`).
ALIASES: dict[str, tuple[str, ...]] = {
    "T1": ("t1", "t1n", "t1w"),
    "T1CE": ("t1ce", "t1gd", "t1c", "ct1", "t1post", "ce_gadolinium_t1w"),
    "T2": ("t2", "t2w"),
    "FLAIR": ("flair", "t2f"),
    "ADC": ("adc",),
    "DCE": ("dce",),
    "FET": ("fet", "fet_pet"),
    "PET": ("pet", "suv"),
    "CT": ("ct",),
    "segmentation": ("segmentation", "seg", "dseg"),
    "brain_mask": ("brain_mask", "brainmask", "organ_mask", "mask"),
    "white_matter": ("white_matter", "wm"),
    "grey_matter": ("grey_matter", "gray_matter", "gm"),
    "adipose": ("adipose",),
    "fibroglandular": ("fibroglandular",),
    "drug_distribution": ("drug_distribution",),
    "perfusion": ("perfusion",),
    "stroma": ("stroma",),
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
    if (sessions := bids.session_days(root)) is not None:
        return [RawVisit(day, _inside(folder, root), f"day_{round(day):04d}") for folder, day in sessions.items()]
    found = visit_folders(root)
    if found.other:
        logger.info("left alone, being no visits: %s", ", ".join(found.other))
    if not found.days:
        if not any(p.name.lower().endswith(SUFFIXES) for p in root.iterdir()):
            raise InputError(f"'{root.name}' has no visit folders (day_0000, ... or 2024-03-01, ...) and no images")
        return [RawVisit(0.0, root, "day_0000")]
    return [RawVisit(day, _inside(root / name, root), name) for name, day in found.days.items()]


def find_files(folder: Path, root: Path, aliases: Mapping[str, Sequence[str]] | None = None) -> dict[str, Path]:
    """The files of one visit by the names of `ALIASES`, of which `aliases` replaces some.

    Raises `InputError` where two files match one name, or a link leads out of `root`.
    """
    known = ALIASES | {name: tuple(given) for name, given in (aliases or {}).items()}
    found: dict[str, Path] = {}
    for path in sorted(_images(folder)):
        stem = path.name.lower().removesuffix(".gz").removesuffix(".nii").replace("-", "_")
        # The longest match counts: `brain_mask` is no `mask`, and a T1 with gadolinium no plain one.
        matches = [
            (len(alias), name)
            for name, names in known.items()
            for alias in names
            if stem == alias or stem.endswith("_" + alias)
        ]
        if not matches:
            continue
        _, name = max(matches)
        if name in found:
            raise InputError(f"'{folder.name}': {found[name].name} and {path.name} are both {name}; keep one")
        found[name] = _inside(path, root)
    return found


def _images(folder: Path) -> Iterable[Path]:
    """NIfTI files of a visit; a session of BIDS has them in folders of its own."""
    inner = [folder / name for name in bids.DATA_FOLDERS if (folder / name).is_dir()]
    return (path for one in [folder, *inner] for path in one.iterdir() if path.name.lower().endswith(SUFFIXES))


def _inside(path: Path, root: Path) -> Path:
    if not path.resolve().is_relative_to(root.resolve()):
        raise InputError(f"'{path.name}' leads out of the patient folder; copy it into the folder")
    return path
