"""DICOM radiotherapy dose (RTDOSE): a map on the slices of a series."""

from pathlib import Path

import numpy as np

from twinjax.core.errors import InputError
from twinjax.imaging.dicom.dependency import require
from twinjax.imaging.dicom.instance import quiet
from twinjax.imaging.dicom.source import Source
from twinjax.imaging.dicom.stack import LPS_TO_RAS
from twinjax.imaging.grid import straight_grid

SOP_CLASS = "1.2.840.10008.5.1.4.1.1.481.2"
LARGEST = 2**32 - 1


def write_rtdose(
    path: str | Path,
    values: np.ndarray,
    affine: np.ndarray,
    source: Source,
    *,
    units: str = "GY",
    description: str = "Dose map",
) -> Path:
    """Write an (X, Y, Z) map, a dose in Gy or any other (`units="RELATIVE"`), as an RTDOSE in the geometry of a series.

    **The file carries the patient's name, number and dates, copied from the source: planning systems need them. It
    is no anonymous file.**

    Values are averaged or interpolated from the grid `affine` (voxel index to RAS mm) to the slices of the source and
    stored as 32-bit integers times DoseGridScaling (DICOM PS3.3 C.8.8.3), so they err by half of that at most.
    `source` comes from `read_source`. Raises `InputError` for negative, infinite or NaN values and other units.
    """
    if units not in ("GY", "RELATIVE"):
        raise InputError(f"units must be GY or RELATIVE, got '{units}'")
    values = np.asarray(values)
    if not np.isfinite(values).all() or (values < 0).any():
        raise InputError("values: an RTDOSE has no negative, infinite or NaN values; replace them, for example by 0")
    # Planes of a dose lie above each other: on slices that shift sideways (a tilted gantry) it is none.
    grid = straight_grid(source.affine, source.shape)
    dose = source.on_grid(values, affine, "values", order=1, grid=grid).astype(float)
    # As it will be written: a decimal string of 16 characters, rounded up so that the largest value fits.
    scaling = f"{max(float(dose.max()), 1e-6) / LARGEST * (1 + 1e-9):.9e}"
    stored = np.round(dose / float(scaling)).astype("<u4")
    lps = LPS_TO_RAS @ grid.affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    with quiet():
        dataset = source.new_object(SOP_CLASS, "RTDOSE", description)
        dataset.Columns, dataset.Rows, dataset.NumberOfFrames = grid.shape
        dataset.PixelSpacing = [f"{spacing[1]:.10g}", f"{spacing[0]:.10g}"]
        dataset.ImagePositionPatient = [f"{value:.10g}" for value in lps[:3, 3]]
        dataset.ImageOrientationPatient = [f"{value:.10g}" for value in (lps[:3, :2] / spacing[:2]).T.ravel()]
        dataset.SliceThickness = f"{spacing[2]:.10g}"
        dataset.FrameIncrementPointer = require("pydicom.tag").Tag("GridFrameOffsetVector")
        dataset.GridFrameOffsetVector = [f"{index * spacing[2]:.10g}" for index in range(grid.shape[2])]
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 32
        dataset.HighBit, dataset.PixelRepresentation = 31, 0
        dataset.DoseUnits, dataset.DoseType, dataset.DoseSummationType = units, "PHYSICAL", "PLAN"
        dataset.DoseGridScaling = scaling
        dataset.ReferencedImageSequence = [source.reference(slice_) for slice_ in range(source.shape[2])]
        dataset.PixelData = stored.transpose(2, 1, 0).tobytes()
        dataset.save_as(path, enforce_file_format=True)
    return Path(path)
