"""`Source`: the DICOM series that a written object refers to, with the identity of its patient."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from twinjax.core.errors import InputError
from twinjax.domain import resample
from twinjax.imaging.dicom.dependency import require
from twinjax.imaging.dicom.instance import read_dataset
from twinjax.imaging.dicom.series import Series, read_series
from twinjax.imaging.dicom.stack import read_stack
from twinjax.imaging.grid import Grid

SOFTWARE = "twinjax"
UTF_8 = "ISO_IR 192"
IMAGES = ("CT", "MR", "PT")
# Patient, study and frame of reference (DICOM PS3.3 C.7.1.1, C.7.2.1, C.7.4.1); required, possibly empty.
IDENTITY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
    *("FrameOfReferenceUID", "PositionReferenceIndicator"),
)


@dataclass(frozen=True, eq=False)
class Source:
    """**Fields:** `datasets`, the headers of the slices in the order of the grid; `affine` (4, 4), voxel index to
    RAS mm; `shape` (X, Y, Z); `free_number`, a series number that the folder does not have; `day` since the first study
    of the folder, None without a date; `frames`, the number of each slice in its multi-frame file from 1, or None."""

    datasets: tuple[Any, ...]
    affine: np.ndarray
    shape: tuple[int, int, int]
    free_number: int
    day: int | None
    frames: tuple[int, ...] | None = None

    def on_grid(
        self, array: np.ndarray, affine: np.ndarray, name: str, order: int, grid: Grid | None = None
    ) -> np.ndarray:
        """An (X, Y, Z) array on the grid of the source, or another; `InputError` for another number of axes."""
        if np.ndim(array) != 3:
            raise InputError(f"{name}: an (X, Y, Z) array is written, got shape {np.shape(array)}")
        return resample(array, affine, *(grid or (self.affine, self.shape)), order=order)

    def masks_on_grid(self, masks: Mapping[str, np.ndarray], affine: np.ndarray) -> dict[str, np.ndarray]:
        """Named bool masks by the nearest voxel; `InputError` where there is none, or one is empty."""
        if not masks:
            raise InputError("masks: there is none to write; give a name and an array each")
        regions = {n: self.on_grid(np.asarray(m) != 0, affine, n, order=0).astype(bool) for n, m in masks.items()}
        for name, mask in regions.items():
            if not mask.any():
                raise InputError(f"masks: '{name}' is empty on the source series; leave it out, or check the affine")
        return regions

    def new_object(self, sop_class: str, modality: str, description: str) -> Any:
        """A pydicom dataset of a new series with the identity of the patient, ready for its own modules."""
        pydicom, uid = require("pydicom"), require("pydicom.uid")
        meta = pydicom.dataset.FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, uid.generate_uid()
        meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        dataset = pydicom.Dataset()
        dataset.file_meta = meta
        first = self.datasets[0]
        dataset.SpecificCharacterSet = UTF_8
        for keyword in IDENTITY:
            setattr(dataset, keyword, first.get(keyword, ""))
        dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
        dataset.SeriesInstanceUID, dataset.SeriesNumber = uid.generate_uid(), self.free_number
        dataset.Modality, dataset.SeriesDescription, dataset.InstanceNumber = modality, description, 1
        dataset.Manufacturer = dataset.ManufacturerModelName = SOFTWARE
        dataset.OperatorsName = ""
        return dataset

    def reference(self, slice_: int) -> Any:
        """A sequence item that refers to the image of a slice."""
        item, dataset = require("pydicom").Dataset(), self.datasets[slice_]
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
        if self.frames is not None:
            item.ReferencedFrameNumber = self.frames[slice_]
        return item


def read_source(source_folder: str | Path, series_number: int | None = None) -> Source:
    """The image series of a folder, of `series_number` where there are several.

    Raises `InputError` as `read_series` and `read_stack` do, and where no series or more than one comes into question.
    """
    everything = read_series(source_folder)
    series = _only([s for s in everything if s.modality in IMAGES and series_number in (None, s.number)], series_number)
    stack = read_stack(series)
    if not series.first.text("FrameOfReferenceUID"):
        raise InputError(f"{series.label} has no FrameOfReferenceUID, which ties images together; export it again")
    first = stack.volumes[0]
    headers = {
        i.path: read_dataset(i.path, i.file, stop_before_pixels=True) for i in {i.path: i for i in first}.values()
    }
    frames = tuple(1 + i.frame for i in first if i.frame is not None) or None
    for dataset in headers.values():
        for keyword in IDENTITY:
            if keyword not in dataset:
                setattr(dataset, keyword, "")
    free_number = 1 + max(group.number for group in everything)
    dates = [group.date for group in everything if group.date is not None]
    day = None if series.date is None else (series.date - min(dates)).days
    return Source(tuple(headers[i.path] for i in first), stack.affine, stack.shape, free_number, day, frames)


def _only(candidates: list[Series], series_number: int | None) -> Series:
    if not candidates:
        wanted = "no image series" if series_number is None else f"no image series of number {series_number}"
        raise InputError(f"source_folder has {wanted}; give the folder of the series to refer to")
    if len(candidates) > 1:
        listed = "; ".join(series.label for series in candidates)
        raise InputError(f"source_folder has several image series ({listed}); choose one by series_number")
    return candidates[0]
