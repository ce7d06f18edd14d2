"""DICOM series of a made-up patient: oblique, anisotropic, with pixels that are not square, file names shuffled."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
)
from pydicom.uid import generate_uid as uid
from scipy.spatial.transform import Rotation

SHAPE = (12, 10, 7)
# Distances of columns, rows and slices, mm.
SPACING = (0.9, 1.4, 3.0)
ORIGIN = np.array([-31.5, 12.25, 40.75])
OBLIQUE = Rotation.from_euler("xyz", [20, -15, 33], degrees=True).as_matrix()
SOP_CLASSES = {"CT": CTImageStorage, "MR": MRImageStorage, "PT": PositronEmissionTomographyImageStorage}
STUDY, FRAME, PATIENT = uid(), uid(), "P1"
PET_HEADER: dict[str, Any] = {
    "Units": "BQML",
    "CorrectedImage": ["ATTN", "DECY"],
    "DecayCorrection": "START",
    "PatientWeight": 70,
    "SeriesTime": "110000",
    "AcquisitionTime": "110000",
    "RadiopharmaceuticalInformationSequence": {
        "Radiopharmaceutical": "FET",
        "RadionuclideTotalDose": 2e8,
        "RadionuclideHalfLife": 6586.2,
        "RadiopharmaceuticalStartTime": "100000",
    },
}

# How pixels are stored in all of these files.
STORED: dict[str, Any] = {
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "BitsAllocated": 16,
    "BitsStored": 16,
    "HighBit": 15,
    "PixelRepresentation": 0,
}


def affine_of(rotation: np.ndarray = OBLIQUE, spacing=SPACING, origin: np.ndarray = ORIGIN) -> np.ndarray:
    """What the converted image must have, voxel index to RAS mm."""
    lps = np.eye(4)
    lps[:3, :3], lps[:3, 3] = rotation * spacing, origin
    return np.diag([-1, -1, 1, 1]) @ lps


def stored_voxels(shape=SHAPE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2000, shape).astype(np.uint16)


def write_series(
    folder: Path,
    voxels: np.ndarray | None = None,
    *,
    number: int = 1,
    modality: str = "MR",
    description: str = "T1 mprage",
    date: str = "20240301",
    rotation: np.ndarray = OBLIQUE,
    slices: list[dict[str, Any]] | None = None,
    **header: Any,
) -> list[Path]:
    """Write an (X, Y, Z) or (X, Y, Z, T) array of unsigned 16-bit integers, a file a slice.

    `header` holds further values by keyword, `slices` those of single files, in the order of slices, then times.
    None removes a value; a dictionary becomes a sequence of one item. **Returns** the files in the same order.
    """
    voxels = stored_voxels() if voxels is None else voxels
    folder.mkdir(parents=True, exist_ok=True)
    series = uid()
    frames = voxels.reshape(*voxels.shape[:3], -1)
    count = frames.shape[2] * frames.shape[3]
    order = np.random.default_rng(number).permutation(count)
    files = []
    for index in range(count):
        time, slice_ = divmod(index, frames.shape[2])
        values: dict[str, Any] = {
            "PatientID": PATIENT,
            "PatientName": "Doe^Jane",
            "StudyInstanceUID": STUDY,
            "SeriesInstanceUID": series,
            "FrameOfReferenceUID": FRAME,
            "StudyDate": date,
            "StudyTime": "090000",
            "SeriesDate": date,
            "AcquisitionDate": date,
            "Modality": modality,
            "SeriesNumber": number,
            "SeriesDescription": description,
            "InstanceNumber": index + 1,
            "ImagePositionPatient": [f"{x:.10g}" for x in ORIGIN + rotation[:, 2] * SPACING[2] * slice_],
            "ImageOrientationPatient": [f"{x:.10g}" for x in rotation[:, :2].T.ravel()],
            "PixelSpacing": [SPACING[1], SPACING[0]],
            "SliceThickness": SPACING[2],
            "Rows": frames.shape[1],
            "Columns": frames.shape[0],
            **STORED,
        }
        if voxels.ndim == 4:
            values["AcquisitionTime"] = f"1000{5 * time:02d}.5"
        values |= header | (slices[index] if slices else {})
        dataset = new_dataset(values, SOP_CLASSES[modality])
        dataset.PixelData = np.ascontiguousarray(frames[:, :, slice_, time].T).astype("<u2").tobytes()
        files.append(folder / f"IM{order[index]:05d}_{number}")
        dataset.save_as(files[-1], enforce_file_format=True)
    return files


def write_enhanced(
    path: Path,
    voxels: np.ndarray | None = None,
    *,
    sop_class: str = EnhancedMRImageStorage,
    modality: str = "MR",
    description: str = "T1 mprage",
    rotation: np.ndarray = OBLIQUE,
    frames: list[dict[str, Any]] | None = None,
    shared: dict[str, Any] | None = None,
    **header: Any,
) -> Path:
    """Write an (X, Y, Z) or (X, Y, Z, T) array as one enhanced multi-frame file, its frames shuffled.

    `frames` holds functional groups of single frames, in the order of slices, then times, `shared` those of all; an
    empty dictionary leaves a group out. `header` holds further values of the file.
    """
    voxels = stored_voxels() if voxels is None else voxels
    path.parent.mkdir(parents=True, exist_ok=True)
    stack = voxels.reshape(*voxels.shape[:3], -1)
    count = stack.shape[2] * stack.shape[3]
    order = np.random.default_rng(1).permutation(count)
    groups, pixels = [], []
    for index in order:
        time, slice_ = divmod(int(index), stack.shape[2])
        group: dict[str, Any] = {
            "PlanePositionSequence": {
                "ImagePositionPatient": [f"{x:.10g}" for x in ORIGIN + rotation[:, 2] * SPACING[2] * slice_]
            },
            "FrameContentSequence": {"StackID": "1", "InStackPositionNumber": slice_ + 1},
        }
        if voxels.ndim == 4:
            group["TemporalPositionSequence"] = {"TemporalPositionTimeOffset": 5.0 * time}
        group |= frames[index] if frames else {}
        groups.append(fill(pydicom.Dataset(), {key: value or None for key, value in group.items()}))
        pixels.append(np.ascontiguousarray(stack[:, :, slice_, time].T).astype("<u2").tobytes())
    common = {
        "PixelMeasuresSequence": {"PixelSpacing": [SPACING[1], SPACING[0]], "SliceThickness": SPACING[2]},
        "PlaneOrientationSequence": {"ImageOrientationPatient": [f"{x:.10g}" for x in rotation[:, :2].T.ravel()]},
    }
    common |= shared or {}
    values: dict[str, Any] = {
        "PatientID": PATIENT,
        "PatientName": "Doe^Jane",
        "StudyInstanceUID": STUDY,
        "SeriesInstanceUID": uid(),
        "FrameOfReferenceUID": FRAME,
        "StudyDate": "20240301",
        "StudyTime": "090000",
        "Modality": modality,
        "SeriesNumber": 1,
        "SeriesDescription": description,
        "InstanceNumber": 1,
        "NumberOfFrames": count,
        "Rows": stack.shape[1],
        "Columns": stack.shape[0],
        **STORED,
        "SharedFunctionalGroupsSequence": {key: value or None for key, value in common.items()},
    }
    dataset = new_dataset(values | header, sop_class)
    dataset.PerFrameFunctionalGroupsSequence = groups
    dataset.PixelData = b"".join(pixels)
    dataset.save_as(path, enforce_file_format=True)
    return path


def new_dataset(values: dict[str, Any], sop_class: str) -> pydicom.Dataset:
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = UID(sop_class)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = uid()
    return fill(dataset, values)


def fill(dataset: pydicom.Dataset, values: dict[str, Any]) -> pydicom.Dataset:
    for keyword, value in values.items():
        if isinstance(value, dict):
            value = [fill(pydicom.Dataset(), value)]
        if value is not None:
            setattr(dataset, keyword, value)
    return dataset


def change(path: Path, **values: Any) -> None:
    """Change header values of a file; None removes them."""
    dataset = pydicom.dcmread(path)
    for keyword, value in values.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.save_as(path)
