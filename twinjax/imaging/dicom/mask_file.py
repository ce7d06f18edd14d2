"""Masks in DICOM files, SEG or RTSTRUCT, by the name of the region."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from twinjax.core.errors import InputError
from twinjax.imaging.dicom.instance import Instance, quiet, read_dataset
from twinjax.imaging.dicom.rtstruct import read_rtstruct
from twinjax.imaging.dicom.seg import read_seg
from twinjax.imaging.dicom.series import Series


class References(NamedTuple):
    """UIDs of the series that a mask was drawn on, and of its frames of reference."""

    series: frozenset[str]
    frames: frozenset[str]


def read_masks(
    instance: Instance, affine: np.ndarray, shape: tuple[int, int, int], wanted: Callable[[str], bool]
) -> dict[str, np.ndarray]:
    """Name of the region to (X, Y, Z) bool on a grid: `read_seg` or `read_rtstruct`."""
    read = read_seg if instance.text("Modality") == "SEG" else read_rtstruct
    return read(instance.path, affine, shape, wanted=wanted, file=instance.file)


def references(instance: Instance) -> References:
    """What a mask refers to. Raises `InputError` for a broken file."""
    dataset = read_dataset(
        instance.path,
        instance.file,
        specific_tags=["FrameOfReferenceUID", "ReferencedSeriesSequence", "ReferencedFrameOfReferenceSequence"],
        stop_before_pixels=True,
    )
    with quiet():
        frames = {str(dataset.get("FrameOfReferenceUID", ""))}
        items = list(dataset.get("ReferencedSeriesSequence", []))
        for frame in dataset.get("ReferencedFrameOfReferenceSequence", []):
            frames.add(str(frame.get("FrameOfReferenceUID", "")))
            for study in frame.get("RTReferencedStudySequence", []):
                items += study.get("RTReferencedSeriesSequence", [])
        series = {str(item.get("SeriesInstanceUID", "")) for item in items}
    return References(frozenset(series), frozenset(frames - {""}))


def host(mask: Instance, images: list[Series]) -> Series | None:
    """The series among `images` that a mask was drawn on, or else one of its frame of reference."""
    refers = references(mask)
    same_frame = [series for series in images if series.first.text("FrameOfReferenceUID") in refers.frames]
    drawn_on = [series for series in images if series.first.text("SeriesInstanceUID") in refers.series]
    if drawn_on and refers.frames and drawn_on[0] not in same_frame:
        raise InputError(f"{mask.file} and {drawn_on[0].label} have two frames of reference; export them together")
    return next(iter(drawn_on + same_frame), None)
