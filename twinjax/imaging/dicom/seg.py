"""DICOM Segmentation objects (SEG)."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from twinjax.core.errors import InputError
from twinjax.domain import resample
from twinjax.imaging.dicom.dependency import require
from twinjax.imaging.dicom.instance import first_item, quiet, read_instance, refused_as
from twinjax.imaging.dicom.source import SOFTWARE, UTF_8, Source
from twinjax.imaging.dicom.stack import LPS_TO_RAS
from twinjax.imaging.grid import Grid, straight_grid
from twinjax.imaging.nifti import MAX_VOXELS


def read_seg(
    path: str | Path,
    affine: np.ndarray,
    shape: tuple[int, int, int],
    *,
    wanted: Callable[[str], bool] = lambda name: True,
    file: str | None = None,
) -> dict[str, np.ndarray]:
    """The segments of a SEG file on a grid: label to (X, Y, Z) bool, segments of one label united.

    **Arguments:** `affine` (4, 4), voxel index to RAS mm, and `shape` of the grid, onto which the nearest voxel is
    taken; `wanted`, which labels to read; `file`, its name in messages. Fractional segments are cut at one half.
    Raises `InputError` for a file that is broken, no SEG, too large, or has no regular grid.
    """
    path = Path(path)
    file = file or path.name
    instance = read_instance(path, file)
    if instance is None or instance.text("Modality") != "SEG":
        raise InputError(f"{file} is no DICOM SEG; give a file of modality SEG")
    voxels = np.prod([instance.number(key) for key in ("Rows", "Columns", "NumberOfFrames")])
    if voxels > MAX_VOXELS:
        raise InputError(f"{file} claims {voxels:.0f} voxels, the limit is {MAX_VOXELS}; export it in parts")
    highdicom = require("highdicom")
    grid = Grid(affine, shape)
    tilted = not np.array_equal(straight_grid(*grid).affine, affine)
    masks: dict[str, np.ndarray] = {}
    with refused_as(f"{file} is corrupt, truncated or of no regular grid; export it again"):
        seg = highdicom.seg.segread(path)
        for number in seg.segment_numbers:
            label = str(seg.get_segment_description(number).segment_label)
            if not wanted(label):
                continue
            mask = _on_slices(seg, number, grid) if tilted else _in_space(seg, number, grid)
            masks[label] = masks.get(label, False) | mask
    return masks


def _in_space(seg: Any, number: int, grid: Grid) -> np.ndarray:
    """A segment on a grid, by the nearest voxel."""
    volume = seg.get_volume(segment_numbers=[number])
    # highdicom counts (slice, row, column, segment).
    array = np.asarray(volume.array)[..., 0].transpose(2, 1, 0) >= 0.5
    affine = LPS_TO_RAS @ np.asarray(volume.affine)[:, [2, 1, 0, 3]]
    return resample(array, affine, *grid, order=0).astype(bool)


def _on_slices(seg: Any, number: int, grid: Grid) -> np.ndarray:
    """A segment on the tilted slices that it was drawn on; highdicom knows volumes with perpendicular axes only.

    Raises `InputError` where a frame is on none of them.
    """
    mask = np.zeros(grid.shape, bool)
    pixels = seg.pixel_array.reshape(-1, int(seg.Rows), int(seg.Columns))
    shared = seg.SharedFunctionalGroupsSequence[0]
    for frame, groups in enumerate(seg.PerFrameFunctionalGroupsSequence):
        # Of one segment all frames may share its number.
        segment = first_item(groups, "SegmentIdentificationSequence") or shared.SegmentIdentificationSequence[0]
        if int(segment.ReferencedSegmentNumber) != number:
            continue
        place = LPS_TO_RAS @ [*map(float, groups.PlanePositionSequence[0].ImagePositionPatient), 1.0]
        index = np.linalg.inv(grid.affine) @ place
        slice_ = round(index[2])
        values = pixels[frame].T / float(seg.get("MaximumFractionalValue", 1))
        # A tenth of a voxel.
        if np.abs(index[:3] - [0, 0, slice_]).max() > 0.1 or values.shape != grid.shape[:2]:
            raise InputError("a SEG on other slices than those of its tilted series is not read; draw it on these")
        mask[:, :, slice_] |= values >= 0.5
    return mask


def write_seg(path: str | Path, masks: Mapping[str, np.ndarray], affine: np.ndarray, source: Source) -> Path:
    """Write named masks as a binary DICOM SEG on the slices of a source series.

    **The file carries the patient's name, number and dates, copied from the source: planning systems need them. It
    is no anonymous file.**

    **Arguments:** `masks`, name of the region to (X, Y, Z) bool; `affine` (4, 4) of their grid, voxel index to RAS
    mm, from which the nearest voxel is taken; `source`, from `read_source`. Raises `InputError` for masks that are
    empty or of unlike shapes.
    """
    highdicom = require("highdicom")
    codes = require("pydicom.sr.codedict").codes
    regions = source.masks_on_grid(masks, affine)
    descriptions = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=name,
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Neoplasm,
            algorithm_type="AUTOMATIC",
            algorithm_identification=highdicom.AlgorithmIdentificationSequence(
                name=SOFTWARE, version="1", family=codes.DCM.ArtificialIntelligence
            ),
        )
        for number, name in enumerate(regions, start=1)
    ]
    # (column, row, slice) to (slice, row, column, segment)
    pixels = np.stack([mask.transpose(2, 1, 0) for mask in regions.values()], axis=-1).astype(np.uint8)
    images = source.datasets
    if source.frames is not None:
        # Of a multi-frame file there is one dataset, and its frames come in their own order.
        images = images[:1]
        pixels = pixels[np.argsort(source.frames)]
        if len({id(dataset) for dataset in source.datasets}) > 1 or images[0].NumberOfFrames != len(pixels):
            raise InputError("the source is a multi-frame file of several volumes; a SEG is written on a single one")
    with quiet():
        seg = highdicom.seg.Segmentation(
            source_images=images,
            pixel_array=pixels,
            segmentation_type="BINARY",
            segment_descriptions=descriptions,
            series_instance_uid=highdicom.UID(),
            series_number=source.free_number,
            sop_instance_uid=highdicom.UID(),
            instance_number=1,
            manufacturer=SOFTWARE,
            manufacturer_model_name=SOFTWARE,
            software_versions="1",
            device_serial_number="1",
            series_description="Tumour segmentation",
        )
        # The source may have a smaller alphabet than the names of the regions.
        seg.SpecificCharacterSet = UTF_8
        seg.save_as(path)
    return Path(path)
