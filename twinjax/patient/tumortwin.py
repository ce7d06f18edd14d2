"""Folders of TumorTwin (github.com/OncologyModelingGroup/TumorTwin), the adult brain form.

`NAME.json` in the folder has the keys `patient`, `brainmask`, `visits` (list of `time` ISO-8601, `adc`,
`roi_enhance`, `roi_nonenhance`) and optionally `T1_post`, `T1_pre`, `T2_flair`, `radiotherapy` (list of `time`,
`dose`, `units`) and `chemotherapy` (the same and `type`). A path may begin with `{$image_dir}`, the folder.
ADC is stored in 1e-6 mm²/s as int16.
"""

import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np

from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.imaging import labels
from twinjax.imaging.scan import Scan
from twinjax.patient.patient import PatientData
from twinjax.patient.reading import GridReader, require_folder
from twinjax.patient.treatment_table import regimen_of, standard_row
from twinjax.patient.visit import Visit

# Of free water, in mm²/s: where no cell hinders diffusion.
FREE_WATER_ADC = 3.0e-3
NON_ENHANCING_CELLULARITY = 0.16
ANATOMY = {"T1CE": "T1_post", "T1": "T1_pre", "FLAIR": "T2_flair"}


def cellularity(scan: Scan) -> np.ndarray:
    """(X, Y, Z) float32, fraction of carrying capacity in [0, 1], as TumorTwin derives it from diffusion.

    (3.0e-3 − ADC) / 3.0e-3 mm²/s in enhancing tumour and necrosis, 0.16 in oedema, 0 elsewhere.
    """
    density = np.clip((FREE_WATER_ADC - scan.image("ADC")) / FREE_WATER_ADC, 0, 1)
    return np.select([scan.core, scan.whole_tumor], [density, NON_ENHANCING_CELLULARITY], 0).astype(np.float32)


def load_tumortwin(
    path: str | Path | None = None, *, body_surface_area_m2: float | None = None, source: str = "real"
) -> PatientData:
    """A TumorTwin folder, or its JSON file. `source="synthetic"` for its in-silico demonstrations.

    `roi_enhance` becomes label 3, `roi_nonenhance` label 2. Doses in mg need `body_surface_area_m2` (m²). There
    are no tissue maps: the domain is the brain mask. Raises `InputError` for anything missing or malformed.
    """
    file = _json_file(path)
    reader = GridReader(file.parent)
    record = _read_json(file)
    if "breastmask" in record:
        raise InputError(f"{file.name}: the breast form is not supported yet; load a folder with 'brainmask'")
    entries = _entries(record, "visits", file)
    if not entries:
        raise InputError(f"{file.name}: 'visits' is empty; a patient needs at least one")
    first = _time(entries[0], f"{file.name} visits[0]")
    brain_mask = _image(reader, record, "brainmask", file.name) > 0
    anatomy = {name: _image(reader, record, key, file.name) for name, key in ANATOMY.items() if record.get(key)}
    visits = []
    for index, entry in enumerate(entries):
        where = f"{file.name} visits[{index}]"
        day = (_time(entry, where) - first).total_seconds() / 86400
        adc = _image(reader, entry, "adc", where)
        if 0 < np.max(adc) < 10:
            raise InputError(f"{where}: adc must be in 1e-6 mm²/s (about 1000 in tissue), found up to {np.max(adc):g}")
        enhancing, non_enhancing = (_image(reader, entry, key, where) > 0 for key in ("roi_enhance", "roi_nonenhance"))
        segmentation = np.select([enhancing, non_enhancing], [labels.ENHANCING, labels.OEDEMA], 0).astype(np.int8)
        images = {"ADC": (adc * 1e-6).astype(np.float32)} | (anatomy if index == 0 else {})
        visits.append(Visit(day, Scan(reader.affine, images, segmentation, brain_mask)))
    rows = []
    for modality in ("radiotherapy", "chemotherapy"):
        for index, entry in enumerate(_entries(record, modality, file)):
            where = f"{file.name} {modality}[{index}]"
            day = (_time(entry, where) - first).total_seconds() / 86400
            if day < 0:
                raise InputError(f"{where}: the time lies before the first visit; leave out earlier treatment")
            drug = str(entry.get("type") or "temozolomide") if modality == "chemotherapy" else ""
            dose, units = str(entry.get("dose", "")), str(entry.get("units", ""))
            rows.append(standard_row(day, modality, dose, units, drug, where, body_surface_area_m2))
    domain = Domain(brain_mask, visits[0].scan.spacing, affine=reader.affine)
    return PatientData.from_visits(str(record.get("patient", "")), visits, regimen_of(rows), domain, source=source)


def _json_file(path: str | Path | None) -> Path:
    if path is not None and Path(path).is_file():
        return Path(path)
    folder = require_folder(path, "patient.path")
    candidates = sorted(folder.glob("*.json"))
    named = [file for file in candidates if file.stem == folder.resolve().name]
    if len(named or candidates) != 1:
        raise InputError(f"'{folder.name}' has {len(candidates)} JSON files; give the path of the patient's")
    return (named or candidates)[0]


def _read_json(file: Path) -> dict[str, Any]:
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{file.name} is no valid JSON: {error}") from error
    if not isinstance(record, dict):
        raise InputError(f"{file.name}: expected an object with the keys patient, brainmask, visits")
    return record


def _entries(record: dict[str, Any], key: str, file: Path) -> list[dict[str, Any]]:
    entries = record.get(key) or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{file.name}: '{key}' must be a list of objects")
    return entries


def _time(entry: dict[str, Any], where: str) -> datetime.datetime:
    try:
        # A clock's offset would make times of one file incomparable; days are what counts.
        return datetime.datetime.fromisoformat(entry["time"]).replace(tzinfo=None)
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{where}: 'time' must be ISO-8601 (2024-03-01T00:00:00), got {entry.get('time')}") from None


def _image(reader: GridReader, entry: dict[str, Any], key: str, where: str) -> np.ndarray:
    name = entry.get(key)
    if not isinstance(name, str) or not name:
        raise InputError(f"{where}: the key '{key}' with the path of an image is missing")
    data = reader.image(name.replace("{$image_dir}/", "", 1) if name.startswith("{$image_dir}/") else name)
    if data is None:
        raise InputError(f"{where}: the file '{name}' of '{key}' does not exist")
    return data
