"""`Stack`: the slices of a series in space and time, from headers alone."""

import datetime
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from twinjax.core.errors import InputError
from twinjax.imaging.dicom.instance import Instance, parse_moment
from twinjax.imaging.dicom.series import Series
from twinjax.imaging.nifti import MAX_VOXELS

# DICOM's patient axes point left, back and up; those of NIfTI right, forward and up.
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Slices nearer than this lie at one place, mm; direction cosines further apart are two orientations.
SAME_PLACE, SAME_DIRECTION = 1e-3, 1e-3
# Of the slice distance: decimal strings are rounded, a lacking slice changes it by all of it.
DISTANCE_TOLERANCE = 0.02
# What may tell the time points of a series apart.
CLOCKS = (
    "TemporalPositionTimeOffset",
    "TriggerTime",
    "FrameReferenceTime",
    "AcquisitionDateTime",
    "AcquisitionTime",
    "TemporalResolution",
)


class Stack(NamedTuple):
    """`affine` (4, 4), voxel index to RAS mm, the index being (column, row, slice); `shape` (X, Y, Z); `volumes`, the
    slices of each time point in the order of the affine; `times` of these in seconds since the first, or None."""

    affine: np.ndarray
    shape: tuple[int, int, int]
    volumes: tuple[tuple[Instance, ...], ...]
    times: tuple[float, ...] | None


def read_stack(series: Series) -> Stack:
    """Sort the slices of a series by place and time, and find the affine (DICOM PS3.3 C.7.6.2.1.1).

    Raises `InputError` for headers without geometry, colour and multi-frame images, sizes beyond `MAX_VOXELS`, more
    than one orientation or size, fewer than two places, images of one place that no time tells apart, time points
    that lack slices, unequal slice distances, and slices that shift sideways by unequal steps. Equal steps, as of a
    tilted gantry, are in the affine, which is sheared then.
    """
    instances, label = series.instances, series.label
    size = np.array([_size(instance) for instance in instances])
    _check_equal(instances, size, label, "matrix sizes", 0)
    if int(size[0].prod()) * len(instances) > MAX_VOXELS:
        raise InputError(
            f"{label} claims {int(size[0].prod()) * len(instances)} voxels, the limit is {MAX_VOXELS}; "
            "remove the series, or export it with fewer pixels"
        )
    orientation = np.array([instance.numbers("ImageOrientationPatient", 6) for instance in instances])
    _check_equal(instances, orientation, label, "orientations", SAME_DIRECTION)
    spacing = np.array([instance.numbers("PixelSpacing", 2) for instance in instances])
    _check_equal(instances, spacing, label, "pixel spacings", SAME_PLACE)
    along_row, along_column = orientation[0].reshape(2, 3)
    skew = abs(float(along_row @ along_column)), abs(float(np.linalg.norm(orientation[0])) - 2**0.5)
    if max(skew) > 1e-2 or spacing.min() <= 0:
        raise InputError(f"{label}: {series.first.file} has no valid orientation or spacing; export the series again")
    places = _places(instances, np.cross(along_row, along_column))
    if len(places) < 2:
        raise InputError(f"{label} has one slice; a volume needs two or more: export all of it, or remove the series")
    volumes, times = _in_time(places, label)
    first = [instance.numbers("ImagePositionPatient", 3) for instance in volumes[0]]
    step = (first[-1] - first[0]) / (len(first) - 1)
    _check_distances(volumes[0], np.array(first), np.cross(along_row, along_column), label)
    lps = np.eye(4)
    # PixelSpacing is the distance of rows, then of columns.
    lps[:3] = np.column_stack([along_row * spacing[0, 1], along_column * spacing[0, 0], step, first[0]])
    return Stack(LPS_TO_RAS @ lps, (int(size[0, 1]), int(size[0, 0]), len(first)), volumes, times)


def is_dynamic(series: Series) -> bool:
    """Whether a series shows every place more than once, at different times. Raises nothing."""
    geometry = ("ImagePositionPatient", "ImageOrientationPatient")
    keys = [str([instance.header.get(keyword) for keyword in geometry]) for instance in series.instances]
    counts = Counter(keys)
    if len(set(counts.values())) != 1 or counts[keys[0]] < 2:
        return False
    at_one_place = [i for i, key in zip(series.instances, keys, strict=True) if key == keys[0]]
    return _clock(at_one_place) is not None


def _size(instance: Instance) -> tuple[int, int]:
    rows, columns = (int(instance.number(keyword)) for keyword in ("Rows", "Columns"))
    if rows < 1 or columns < 1:
        raise InputError(f"{instance.file} has no pixels ({rows} rows, {columns} columns); export it again")
    if instance.number("NumberOfFrames", 1) > 1:
        raise InputError(
            f"{instance.file} is multi-frame, and no enhanced CT, MR or PET; export the series as one file a slice"
        )
    if instance.number("SamplesPerPixel", 1) != 1:
        raise InputError(f"{instance.file} is a colour image; export the series itself, not a screenshot")
    return rows, columns


def _check_equal(instances: Sequence[Instance], values: np.ndarray, label: str, what: str, tolerance: float) -> None:
    apart = np.abs(values - values[0]).max(axis=1) > tolerance
    if apart.any():
        other = instances[int(np.argmax(apart))].file
        raise InputError(
            f"{label} mixes {what} ({instances[0].file}, {other}); split it into one series each, or leave it out"
        )


def _places(instances: Sequence[Instance], normal: np.ndarray) -> list[list[Instance]]:
    """The instances of each place, by distance along the normal."""
    height = {instance.file: float(instance.numbers("ImagePositionPatient", 3) @ normal) for instance in instances}
    places: list[list[Instance]] = []
    for instance in sorted(instances, key=lambda i: height[i.file]):
        if places and height[instance.file] - height[places[-1][0].file] < SAME_PLACE:
            places[-1].append(instance)
        else:
            places.append([instance])
    return places


def _in_time(
    places: Sequence[list[Instance]], label: str
) -> tuple[tuple[tuple[Instance, ...], ...], tuple[float, ...] | None]:
    fullest = max(places, key=len)
    if len(fullest) == 1:
        return (tuple(place[0] for place in places),), None
    clock = _clock(fullest)
    if clock is None:
        raise InputError(
            f"{label}: {fullest[0].file} and {fullest[1].file} show the same slice; remove one, or split a series of "
            "several echoes or b-values"
        )
    fewest = min(places, key=len)
    if len(fewest) < len(fullest):
        raise InputError(
            f"{label}: {fullest[0].file} is one of {len(fullest)} images of its slice, {fewest[0].file} of "
            f"{len(fewest)}; add the lacking files, or remove duplicates"
        )
    seconds = {i.file: _seconds(i, clock) for place in places for i in place}
    ordered = [sorted(place, key=lambda i: seconds[i.file] or 0.0) for place in places]
    volumes = tuple(zip(*ordered, strict=True))
    # A time that a file lacks is malformed in all practice: the others of its place have it.
    starts = [min(seconds[i.file] or 0.0 for i in volume) for volume in volumes]
    if any(later <= earlier for earlier, later in pairwise(starts)) or None in seconds.values():
        raise InputError(f"{label}: the times of its volumes are incomplete or repeated ({clock}); export it again")
    return volumes, tuple(round(start - starts[0], 6) for start in starts)


def _clock(instances: Sequence[Instance]) -> str | None:
    """The header value that tells the images of one place apart in time."""
    for keyword in CLOCKS:
        seconds = [_seconds(instance, keyword) for instance in instances]
        if None not in seconds and len(set(seconds)) == len(seconds):
            return keyword
    return None


def _seconds(instance: Instance, clock: str) -> float | None:
    """Seconds since anything, the same for all files; None where the header does not say."""
    if clock not in instance.header:
        return None
    if clock == "TemporalPositionTimeOffset":
        return instance.number(clock)
    if clock in ("TriggerTime", "FrameReferenceTime"):
        return instance.number(clock) / 1000
    if clock == "TemporalResolution":
        index = instance.number("TemporalPositionIdentifier", 0)
        return index * instance.number(clock) / 1000 if index else None
    # Without a date midnight cannot be seen.
    date = "" if clock == "AcquisitionDateTime" else instance.text("AcquisitionDate") or "20000101"
    moment = parse_moment(date + instance.text(clock))
    return None if moment is None else (moment - datetime.datetime(2000, 1, 1)).total_seconds()


def _check_distances(volume: Sequence[Instance], places: np.ndarray, normal: np.ndarray, label: str) -> None:
    steps = np.diff(places, axis=0)
    heights = steps @ normal
    typical = float(np.median(heights))
    tolerance = DISTANCE_TOLERANCE * typical + 0.01
    worst = int(np.argmax(np.abs(heights - typical)))
    if abs(heights[worst] - typical) > tolerance:
        raise InputError(
            f"{label} has a gap: {volume[worst].file} and {volume[worst + 1].file} are {heights[worst]:.2f} mm apart, "
            f"others {typical:.2f} mm; add the lacking slices, or resample the series"
        )
    sideways = steps - heights[:, None] * normal
    uneven = np.linalg.norm(sideways - np.median(sideways, axis=0), axis=1)
    worst = int(np.argmax(uneven))
    if uneven[worst] > tolerance:
        raise InputError(
            f"{label}: {volume[worst + 1].file} is shifted sideways against the others by {uneven[worst]:.2f} mm; "
            "check its position, or reformat the series"
        )
    if float(np.linalg.norm(np.median(sideways, axis=0))) > typical:
        raise InputError(f"{label}: its slices shift sideways by more than their distance; reformat the series")
