"""`convert_dicom`: from a folder of DICOM files to the raw visit folders that `ImagingPipeline` reads."""

import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from twinjax.core.errors import InputError
from twinjax.imaging.dicom.pixels import read_voxels
from twinjax.imaging.dicom.plan import SEGMENTATION, PlannedImage, make_plan
from twinjax.imaging.dicom.rules import DicomRules, load_rules
from twinjax.imaging.dicom.series import Series, read_series
from twinjax.imaging.nifti import write_nifti

logger = logging.getLogger("twinjax")


class Conversion(NamedTuple):
    """What became of one series.

    `file` is what was written, relative to the output folder, and `day` the days since the first visit: None for a
    series that was left out. `note` says how the image was made, or why the series was left out.
    """

    series_number: int
    modality: str
    description: str
    day: int | None
    file: str | None
    note: str


def convert_dicom(
    dicom_folder: str | Path,
    output_folder: str | Path,
    rules: DicomRules | str | Path | None = None,
    *,
    required: Sequence[str] = (),
) -> list[Conversion]:
    """Convert the CT, MR and PET series of one patient to `day_NNNN/NAME.nii.gz`.

    Days count from the date of the first study with an image. A series with several time points becomes a four-axis
    image, beside a `NAME.json` with `acquisition_times_s` since the first. SEG and RTSTRUCT become
    `segmentation.nii.gz` (internal labels) on the grid of the series that they were drawn on. All headers are
    checked before anything is written. No name, number, date or UID of the patient is written, logged or quoted;
    series descriptions and file names are.

    **Arguments:** `dicom_folder`, nested anyhow; `output_folder`, new or empty; `rules`, a name of `conf/dicom`, the
    path of a YAML file like those, or `DicomRules`; `required`, images that every visit must have.

    **Returns** a `Conversion` for each series, by day, those that were left out at the end. Raises `InputError` as
    `read_series`, `read_stack`, `read_voxels` and `read_masks` do, for two series that are one image of a visit,
    required images that are missing, no image at all, and several visits without dates.
    """
    root, output = Path(dicom_folder), Path(output_folder)
    everything = read_series(root)
    if output.resolve().is_relative_to(root.resolve()):
        raise InputError(f"output_folder '{output.name}' lies in the DICOM folder; choose a folder outside it")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"output_folder '{output.name}' is not empty; choose a new one")
    plan = make_plan(everything, load_rules(rules), required)
    try:
        done = [_write_image(image, output) for image in plan.images]
        for mask in plan.masks:
            file = _file(output, mask.day, SEGMENTATION)
            write_nifti(output / file, mask.labels, mask.affine)
            done.append(_conversion(mask.series, mask.day, file, mask.note))
    except BaseException:
        # The folder was empty: half a patient in it would be taken for a whole one.
        for folder in output.glob("day_*"):
            shutil.rmtree(folder)
        raise
    done += [_conversion(series, None, None, reason) for series, reason in plan.left_out]
    done.sort(key=lambda c: (c.day is None, c.day or 0, c.series_number))
    for item in done:
        what = item.file or f"left out, {item.note}"
        logger.info("series %d (%s '%s'): %s", item.series_number, item.modality, item.description, what)
    return done


def _write_image(image: PlannedImage, output: Path) -> Conversion:
    voxels = read_voxels(image.series, image.stack, image.rule)
    file = _file(output, image.day, image.rule.name)
    write_nifti(output / file, voxels, image.stack.affine, axes=voxels.ndim)
    note = f"{len(image.stack.volumes[0])} slices"
    if image.stack.times is not None:
        note += f", {len(image.stack.times)} time points"
        times = {"acquisition_times_s": list(image.stack.times)}
        (output / file).with_name(f"{image.rule.name}.json").write_text(json.dumps(times) + "\n", encoding="utf-8")
    return _conversion(image.series, image.day, file, note)


def _file(output: Path, day: int, name: str) -> str:
    folder = f"day_{day:04d}"
    (output / folder).mkdir(parents=True, exist_ok=True)
    return f"{folder}/{name}.nii.gz"


def _conversion(series: Series, day: int | None, file: str | None, note: str) -> Conversion:
    return Conversion(series.number, series.modality, series.description, day, file, note)
