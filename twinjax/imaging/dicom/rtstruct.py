"""DICOM radiotherapy structure sets (RTSTRUCT): regions as polygons on planes."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from twinjax.core.errors import InputError
from twinjax.domain import resample
from twinjax.imaging.dicom.dependency import require
from twinjax.imaging.dicom.instance import quiet, read_dataset, refused_as
from twinjax.imaging.dicom.polygon import fill, outlines
from twinjax.imaging.dicom.source import SOFTWARE, Source
from twinjax.imaging.dicom.stack import LPS_TO_RAS
from twinjax.imaging.nifti import MAX_VOXELS

SOP_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255), (0, 255, 255))
CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
# Of the distance of planes: how far a point may lie off its plane, and a plane off its place.
OFF_PLANE = 0.1


def read_rtstruct(
    path: str | Path,
    affine: np.ndarray,
    shape: tuple[int, int, int],
    *,
    wanted: Callable[[str], bool] = lambda name: True,
    file: str | None = None,
) -> dict[str, np.ndarray]:
    """The regions of an RTSTRUCT file on a grid: name of the region (ROI) to (X, Y, Z) bool.

    Polygons of one plane are joined by the even-odd rule, so that one inside another is a hole. On a grid with
    slices parallel to the planes they are filled on its own pixels, and a slice takes the plane within half the
    distance of planes; onto an oblique grid they are filled finely and the nearest voxel is taken. Regions without
    closed contours are left out.

    **Arguments:** `affine` (4, 4), voxel index to RAS mm, and `shape` of the grid; `wanted`, which names to read;
    `file`, its name in messages.
    Raises `InputError` for a file that is broken or no RTSTRUCT, for contours that are not flat, not parallel, or
    off the planes that the others form, and two regions of one name.
    """
    path = Path(path)
    file = file or path.name
    dataset = read_dataset(path, file)
    if str(dataset.get("Modality", "")) != "RTSTRUCT":
        raise InputError(f"{file} is no RTSTRUCT; give a file of modality RTSTRUCT")
    with refused_as(f"{file} is corrupt or incomplete; export it again"):
        regions = _contours(dataset, file)
    return {
        name: _mask(contours, affine, shape, f"{file}: '{name}'") for name, contours in regions.items() if wanted(name)
    }


def _contours(dataset: Any, file: str) -> dict[str, list[np.ndarray]]:
    """Name to contours (N, 3), RAS mm."""
    names = {int(item.ROINumber): str(item.ROIName).strip() for item in dataset.StructureSetROISequence}
    if len(set(names.values())) < len(names):
        raise InputError(f"{file}: two regions have one name; rename one")
    regions: dict[str, list[np.ndarray]] = {}
    for item in dataset.get("ROIContourSequence", []):
        for contour in item.get("ContourSequence", []):
            points = np.asarray(contour.ContourData, dtype=float).reshape(-1, 3)
            if str(contour.ContourGeometricType) in CLOSED and len(points) >= 3 and np.isfinite(points).all():
                regions.setdefault(names[int(item.ReferencedROINumber)], []).append(points * np.diag(LPS_TO_RAS)[:3])
    return regions


def _mask(contours: Sequence[np.ndarray], affine: np.ndarray, shape: tuple[int, int, int], label: str) -> np.ndarray:
    normal = _normal(contours, label)
    heights = np.array([float((contour @ normal).mean()) for contour in contours])
    planes, step = _planes(heights, normal, affine, label)
    for contour, height in zip(contours, heights, strict=True):
        off = float(np.abs(contour @ normal - height).max())
        if off > OFF_PLANE * step:
            raise InputError(f"{label} has a contour whose points lie {off:.2f} mm off its plane; draw it on slices")
    frame, size = _frame(contours, normal, float(heights.min()), step, affine, shape)
    count = int(planes.max()) + 1
    if size[0] * size[1] * count > MAX_VOXELS:
        raise InputError(f"{label} spans {size[0]} x {size[1]} x {count} voxels, limit {MAX_VOXELS}; check its points")
    inverse = np.linalg.inv(frame)
    mask = np.zeros((*size, count), dtype=bool)
    for plane in np.unique(planes):
        polygons = [contours[int(i)] @ inverse[:2, :3].T + inverse[:2, 3] for i in np.flatnonzero(planes == plane)]
        mask[:, :, plane] = fill(polygons, size)
    return resample(mask, frame, affine, shape, order=0).astype(bool)


def _normal(contours: Sequence[np.ndarray], label: str) -> np.ndarray:
    """The common unit normal, by the area vectors of the polygons."""
    areas = [np.cross(c - c[0], np.roll(c, -1, axis=0) - c[0]).sum(axis=0) for c in contours]
    largest = max(areas, key=np.linalg.norm)
    if np.linalg.norm(largest) < 1e-6:
        raise InputError(f"{label} has no area; draw it again")
    normal = largest / np.linalg.norm(largest)
    for area, contour in zip(areas, contours, strict=True):
        # Slivers have no direction of their own; that they are flat is checked later.
        if np.linalg.norm(area) > 1.0 and abs(area @ normal) < 0.99 * np.linalg.norm(area):
            raise InputError(f"{label} has contours of several directions ({len(contour)} points); draw it on slices")
    return normal


def _planes(heights: np.ndarray, normal: np.ndarray, affine: np.ndarray, label: str) -> tuple[np.ndarray, float]:
    """The number of the plane of each contour, and the distance of planes, mm."""
    levels = np.unique(np.round(heights, 2))
    gaps = np.diff(levels)
    gaps = gaps[gaps > 0.05]
    step = float(gaps.min()) if gaps.size else float(np.abs(normal @ affine[:3, :3]).max())
    numbers = (heights - heights.min()) / step
    # The smallest gap is rounded: over many planes that adds up, so it is fitted again to all of them.
    whole = np.round(numbers)
    for _ in range(3):
        if whole.max() > 0:
            step = float((heights - heights.min()) @ whole / (whole @ whole))
            whole = np.round((heights - heights.min()) / step)
    off = np.abs(heights - heights.min() - whole * step)
    if off.max() > OFF_PLANE * step:
        raise InputError(
            f"{label} lies on planes {gaps.min():.2f} to {gaps.max():.2f} mm apart, no multiples of one distance; draw "
            "it on the slices of one series"
        )
    return whole.astype(int), step


def _frame(
    contours: Sequence[np.ndarray],
    normal: np.ndarray,
    lowest: float,
    step: float,
    affine: np.ndarray,
    shape: tuple[int, int, int],
) -> tuple[np.ndarray, tuple[int, int]]:
    """The grid (RAS mm) on which the planes are filled: pixels of the target where its slices are parallel."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    frame = np.eye(4)
    frame[:3, 2] = step * normal
    if max(abs(float(axes[:, 0] @ normal)), abs(float(axes[:, 1] @ normal))) < 1e-3:
        frame[:3, :2] = affine[:3, :2]
        origin = affine[:3, 3]
        frame[:3, 3] = origin + (lowest - origin @ normal) * normal
        return frame, (shape[0], shape[1])
    spacing = float(np.linalg.norm(affine[:3, :3], axis=0).min()) / 2
    along = np.cross(normal, np.eye(3)[int(np.argmin(np.abs(normal)))])
    along /= np.linalg.norm(along)
    plane = np.column_stack([along, np.cross(normal, along)])
    points = np.concatenate(contours) @ plane
    lower = points.min(axis=0)
    frame[:3, :2] = spacing * plane
    frame[:3, 3] = plane @ lower + lowest * normal
    size = np.ceil((points.max(axis=0) - lower) / spacing).astype(int) + 1
    return frame, (int(size[0]), int(size[1]))


def write_rtstruct(path: str | Path, masks: Mapping[str, np.ndarray], affine: np.ndarray, source: Source) -> Path:
    """Write named masks as an RTSTRUCT, with polygons on the slices of a source series.

    **The file carries the patient's name, number and dates, copied from the source: planning systems need them. It
    is no anonymous file.**

    Holes are joined to their outline by a channel of no width, which every reader fills alike. Arguments and errors
    as in `write_seg`.
    """
    regions = source.masks_on_grid(masks, affine)
    sequence, pydicom = require("pydicom.sequence").Sequence, require("pydicom")

    def item(**values: Any) -> Any:
        dataset = pydicom.Dataset()
        for keyword, value in values.items():
            setattr(dataset, keyword, value)
        return dataset

    with quiet():
        first = source.datasets[0]
        dataset = source.new_object(SOP_CLASS, "RTSTRUCT", "Tumour regions")
        dataset.StructureSetLabel, dataset.StructureSetDate, dataset.StructureSetTime = SOFTWARE, "", ""
        images = sequence([source.reference(slice_) for slice_ in range(source.shape[2])])
        series = item(SeriesInstanceUID=first.SeriesInstanceUID, ContourImageSequence=images)
        study = item(
            ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
            ReferencedSOPInstanceUID=first.StudyInstanceUID,
            RTReferencedSeriesSequence=sequence([series]),
        )
        frame = item(FrameOfReferenceUID=first.FrameOfReferenceUID, RTReferencedStudySequence=sequence([study]))
        dataset.ReferencedFrameOfReferenceSequence = sequence([frame])
        dataset.StructureSetROISequence = sequence()
        dataset.ROIContourSequence = sequence()
        dataset.RTROIObservationsSequence = sequence()
        for number, (name, mask) in enumerate(regions.items(), start=1):
            dataset.StructureSetROISequence.append(
                item(
                    ROINumber=number,
                    ReferencedFrameOfReferenceUID=first.FrameOfReferenceUID,
                    ROIName=name,
                    ROIGenerationAlgorithm="AUTOMATIC",
                )
            )
            contours = [
                item(
                    ContourImageSequence=sequence([source.reference(slice_)]),
                    ContourGeometricType="CLOSED_PLANAR",
                    NumberOfContourPoints=len(points),
                    ContourData=[f"{value:.4f}" for value in points.ravel()],
                )
                for slice_, points in _patient_outlines(mask, source)
            ]
            dataset.ROIContourSequence.append(
                item(
                    ReferencedROINumber=number,
                    ROIDisplayColor=list(COLOURS[(number - 1) % len(COLOURS)]),
                    ContourSequence=sequence(contours),
                )
            )
            dataset.RTROIObservationsSequence.append(
                item(ObservationNumber=number, ReferencedROINumber=number, RTROIInterpretedType="", ROIInterpreter="")
            )
        dataset.save_as(path, enforce_file_format=True)
    return Path(path)


def _patient_outlines(mask: np.ndarray, source: Source) -> list[tuple[int, np.ndarray]]:
    """(slice, (N, 3) points in DICOM's patient axes, mm) of every polygon of an (X, Y, Z) mask."""
    lps = LPS_TO_RAS @ source.affine
    found = []
    for slice_ in np.flatnonzero(mask.any(axis=(0, 1))):
        for polygon in outlines(mask[:, :, slice_]):
            index = np.column_stack([polygon, np.full(len(polygon), slice_), np.ones(len(polygon))])
            found.append((int(slice_), (index @ lps.T)[:, :3]))
    return found
