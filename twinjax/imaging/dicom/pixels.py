"""Voxels of a series in physical units."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from twinjax.core.errors import InputError
from twinjax.imaging.dicom.dependency import require
from twinjax.imaging.dicom.instance import UNCOMPRESSED, Instance, refused_as
from twinjax.imaging.dicom.rules import SeriesRule
from twinjax.imaging.dicom.series import Series
from twinjax.imaging.dicom.stack import Stack
from twinjax.imaging.dicom.suv import suv_factor
from twinjax.imaging.features.cellularity import LARGEST_ADC

# What GDCM inside SimpleITK decodes: JPEG baseline, extended and lossless, JPEG-LS, JPEG 2000, RLE.
DECODABLE = (
    *UNCOMPRESSED,
    *(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70, 80, 81, 90, 91)),
    "1.2.840.10008.1.2.5",
)
# Ways in which headers write units of diffusion (UCUM, and what scanners make of it), blanks and signs left out.
DIFFUSION_UNITS = {
    "mm2/s": 1.0,
    "103mm2/s": 1e-3,
    "1e3mm2/s": 1e-3,
    "106mm2/s": 1e-6,
    "1e6mm2/s": 1e-6,
    "um2/s": 1e-6,
    "µm2/s": 1e-6,
    "μm2/s": 1e-6,
}


def check_pixels(series: Series) -> None:
    """`InputError` unless every file has a transfer syntax that is decoded and, uncompressed, all of its pixels."""
    for instance in series.instances:
        if instance.transfer_syntax not in DECODABLE or not (instance.frame is None or _decodes_frames(instance)):
            raise InputError(
                f"{instance.file}: its compression ({_syntax_name(instance.transfer_syntax)}) cannot be decoded; "
                "export it uncompressed" + ("" if instance.frame is None else ", or install pylibjpeg-libjpeg")
            )
        bits = np.prod([instance.number(key, 1) for key in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")])
        expected = int(bits) // 8 if instance.transfer_syntax in UNCOMPRESSED else 1
        if instance.pixel_bytes < expected:
            raise InputError(f"{instance.file} is truncated: pixels are missing; export or download it again")


def read_voxels(series: Series, stack: Stack, rule: SeriesRule) -> np.ndarray:
    """The voxels of a series, (X, Y, Z) or, for several time points, (X, Y, Z, T), float32.

    Rescale slope and intercept are applied file by file; ADC comes in mm²/s, PET as SUV by body weight.
    Raises `InputError` for pixels that cannot be decoded and units that cannot be told.
    """
    voxels = np.empty((*stack.shape, len(stack.volumes)), dtype=np.float32)
    real_world = rule.name == "ADC" and _real_world_unit(series) is not None
    files: dict[Path, list[tuple[Instance, int, int]]] = {}
    for time, volume in enumerate(stack.volumes):
        for slice_, instance in enumerate(volume):
            files.setdefault(instance.path, []).append((instance, slice_, time))
    for places in files.values():
        # In the order of the file: a multi-frame file is opened once.
        places.sort(key=lambda place: place[0].frame or 0)
        pixels_of = _read_pixels([instance for instance, *_ in places], real_world)
        for (instance, slice_, time), pixels in zip(places, pixels_of, strict=True):
            if pixels.shape != (stack.shape[1], stack.shape[0]):
                raise InputError(f"{instance.file}: its pixels are not of the size in its header; export it again")
            voxels[:, :, slice_, time] = pixels.T
    if not np.isfinite(voxels).all():
        raise InputError(f"{series.label} has NaN or infinite voxels; export it again")
    if rule.name == "ADC":
        voxels = _diffusion(series, voxels, rule)
    elif series.modality == "PT" and rule.suv:
        voxels *= suv_factor(series)
    elif rule.scale is not None:
        voxels *= rule.scale
    return voxels if stack.times is not None else voxels[..., 0]


def _read_pixels(instances: Sequence[Instance], real_world: bool) -> Iterator[np.ndarray]:
    """(rows, columns) rescaled values of the instances of one file."""
    if instances[0].frame is None:
        yield _read_file(instances[0], real_world)
        return
    message = f"{instances[0].file}: its pixels are corrupt or truncated; export or download it again"
    with refused_as(message):
        stored = require("pydicom.pixels").iter_pixels(
            instances[0].path, indices=[instance.frame for instance in instances], raw=True
        )
    kind = "RealWorldValue" if real_world else "Rescale"
    for instance in instances:
        with refused_as(message):
            pixels = np.asarray(next(stored), np.float32)
        slope, intercept = instance.number(f"{kind}Slope", 1), instance.number(f"{kind}Intercept", 0)
        yield pixels * np.float32(slope) + np.float32(intercept)


def _decodes_frames(instance: Instance) -> bool:
    """Whether pydicom has a decoder: frames are not read by SimpleITK, which rescales all of a file alike."""
    return require("pydicom.pixels").get_decoder(instance.transfer_syntax).is_available


def _read_file(instance: Instance, real_world: bool) -> np.ndarray:
    sitk = require("SimpleITK")
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    # GDCM prints what it finds odd in a header, names included.
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        with refused_as(f"{instance.file}: its pixels are corrupt or truncated; export or download it again"):
            image = sitk.ReadImage(str(instance.path), sitk.sitkFloat32, "GDCMImageIO")
            pixels = sitk.GetArrayFromImage(image).reshape(-1, image.GetSize()[0])
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
    if real_world:
        # Defined on stored values, so the rescaling that the reader has applied is undone.
        stored = (pixels - instance.number("RescaleIntercept", 0)) / instance.number("RescaleSlope", 1)
        return stored * instance.number("RealWorldValueSlope") + instance.number("RealWorldValueIntercept", 0)
    return pixels


def _unit(text: str) -> float | None:
    return DIFFUSION_UNITS.get(re.sub(r"[\s*^x×.{}\[\]-]", "", text.lower()))


def _real_world_unit(series: Series) -> float | None:
    return _unit(series.first.text("RealWorldCodeValue")) if "RealWorldValueSlope" in series.first.header else None


def _diffusion(series: Series, voxels: np.ndarray, rule: SeriesRule) -> np.ndarray:
    factor = _real_world_unit(series) or _unit(series.first.text("RescaleType")) or rule.scale or 1.0
    voxels = voxels * factor
    positive = voxels[voxels > 0]
    median = float(np.median(positive)) if positive.size else 0.0
    if median > LARGEST_ADC:
        raise InputError(
            f"{series.label}: ADC without a unit in the header has a median of {median:g}, which is not mm²/s; "
            "set scale: 1e-6 in its rule if it is in µm²/s"
        )
    return voxels


def _syntax_name(syntax: str) -> str:
    name = getattr(require("pydicom.uid").UID(syntax), "name", "")
    return name if name and name != syntax else "of a private kind"
