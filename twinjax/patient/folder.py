"""The processed patient folder: one subfolder a visit, as `ImagingPipeline.process` writes it.

    patient/day_0000/{T1,T1CE,T2,FLAIR,ADC}.nii.gz   any of them; ADC in mm²/s
                     segmentation.nii.gz             internal labels: 1 necrotic, 2 oedema, 3 enhancing, 4 cavity
                     brain_mask.nii.gz, white_matter.nii.gz, grey_matter.nii.gz
    patient/day_0030/...
    patient/treatment.csv

Visits are named `day_NNNN` from `day_0000`, the baseline, or by calendar date (`2024-03-01`), not both.
"""

import datetime
import logging
import re
from pathlib import Path

from twinjax.core.errors import InputError
from twinjax.imaging.scan import Scan
from twinjax.patient.reading import GridReader, inside, require_folder
from twinjax.patient.visit import Visit, check_order

logger = logging.getLogger(__name__)

MODALITIES = ("T1", "T1CE", "T2", "FLAIR", "ADC", "FET")
MAPS = ("segmentation", "brain_mask", "white_matter", "grey_matter")


def read_visits(imaging_dir: str | Path | None) -> tuple[tuple[Visit, ...], datetime.date | None]:
    """The visits of a processed folder, by day, and the calendar date of the first where the names are dates.

    Raises `InputError` for a folder that is no visit, mixed or repeated names, a missing segmentation or files
    of one visit on different grids.
    """
    root = require_folder(imaging_dir, "imaging_dir")
    names = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not names:
        raise InputError(f"'{root.name}' has no visit folders (day_0000, day_0030, ... or 2024-03-01, ...)")
    numbered = {name: _day_number(name) for name in names if name.startswith("day_")}
    dated = {name: _date(name) for name in names if name not in numbered}
    if numbered and dated:
        raise InputError(f"'{root.name}' mixes day_NNNN and dates ({next(iter(dated))}); name all visits one way")
    baseline_date = min(dated.values()) if dated else None
    days = {name: float((date - dated[names[0]]).days) for name, date in dated.items()} or numbered
    ordered = sorted(days, key=lambda name: days[name])
    check_order([days[name] for name in ordered], f"'{root.name}'")
    if days[ordered[0]] != 0:
        raise InputError(f"the first visit is {ordered[0]}; days count from the baseline, so it must be day_0000")
    return tuple(Visit(days[name], _read_scan(root, name)) for name in ordered), baseline_date


def _day_number(name: str) -> float:
    match = re.fullmatch(r"day_(\d+)", name)
    if match is None:
        raise InputError(f"visit folder '{name}': write day_ and the days since baseline (>= 0), as in day_0030")
    return float(match[1])


def _date(name: str) -> datetime.date:
    try:
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", name):
            raise ValueError
        return datetime.date.fromisoformat(name)
    except ValueError:
        raise InputError(f"folder '{name}' is no visit: name it day_NNNN or by date (2024-03-01), or move it") from None


def _read_scan(root: Path, name: str) -> Scan:
    reader = GridReader(inside(root, name))
    segmentation = reader.segmentation("segmentation", "brats2023", "run ImagingPipeline.process on this visit")
    images = reader.images({modality: modality for modality in MODALITIES})
    known = {*MODALITIES, *MAPS}
    for path in sorted(reader.root.glob("*.nii*")):
        if path.name.split(".")[0] not in known:
            logger.warning("%s is not read: its name is none of %s", path.name, ", ".join(sorted(known)))
    maps = {"brain_mask": reader.mask("brain_mask")}
    maps |= {tissue: reader.fraction(tissue) for tissue in ("white_matter", "grey_matter")}
    return Scan(reader.affine, images, segmentation, **maps)
