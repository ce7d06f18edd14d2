"""Reading and writing NIfTI files: everything that is wrong with a file ends in one `InputError`."""

import gzip
import io
import logging
import os
import uuid
import zlib
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from twinjax.core.errors import InputError

logger = logging.getLogger("twinjax")

MAX_VOXELS = 512 * 2**20
MAX_HEADER_BYTES = 16 * 2**20
MAX_TRAILING_BYTES = 2**16
# Deflate cannot compress better than this, so a larger claim in the header is a broken or hostile file.
MAX_GZIP_RATIO = 1100
SUFFIXES = (".nii.gz", ".nii")


@dataclass(frozen=True, eq=False)
class Image:
    """**Fields:** `data` (X, Y, Z), float32 or the integers of the file; `affine` (4, 4), voxel index to RAS mm."""

    data: np.ndarray
    affine: np.ndarray


def read_nifti(path: str | Path, *, root: str | Path | None = None, axes: int = 3) -> Image:
    """Read a three-dimensional NIfTI file (`.nii`, `.nii.gz`); trailing axes of length 1 are dropped.

    With `root`, the file must lie inside that folder, symbolic links resolved. `axes=4` for several volumes, the last
    axis of the data.

    Raises `InputError` for a file that is missing, outside `root`, truncated, corrupt, not numeric, too large
    (the header is judged before anything is allocated or unpacked) or not three-dimensional, for NaN or
    infinite voxels, and for an affine that is absent, singular or contradicts itself (qform against sform).
    """
    path = Path(path)
    if root is not None and not path.resolve().is_relative_to(Path(root).resolve()):
        raise InputError(f"{path.name} leads out of the patient folder; copy the file into it")
    if not path.name.lower().endswith(SUFFIXES):
        raise InputError(f"{path.name} is no NIfTI file; convert it to .nii.gz")
    if not path.is_file():
        raise InputError(f"{path} does not exist; check the path")
    try:
        header, shape = _read_header(path, axes)
        affine = _read_affine(header, path.name)
        # Through the proxy, not nib.load: header extensions, whose length the file itself claims, stay unread.
        with _open(path) as file:
            data = np.asanyarray(ArrayProxy(file, header, mmap=False)).reshape(shape)
            # The checksum of a gzip stream is compared at its end, and only there.
            if len(file.read(MAX_TRAILING_BYTES + 1)) > MAX_TRAILING_BYTES:
                raise ValueError("longer than its header says")
    except (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, zlib.error, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path.name} is corrupt or truncated ({reason}); export or download it again") from error
    if data.dtype.kind == "f":
        with np.errstate(over="ignore"):
            data = data.astype(np.float32)
        bad = data.size - int(np.isfinite(data).sum())
        if bad:
            raise InputError(f"{path.name} has {bad} NaN or infinite voxels; replace them, for example by 0")
    return Image(data, affine)


def write_nifti(path: str | Path, array: np.ndarray, affine: np.ndarray, *, axes: int = 3) -> Path:
    """Write an (X, Y, Z) array to `.nii` or `.nii.gz`; a reader sees the old file or the whole new one.

    `axes=4` for several volumes, the last axis of the array.

    Booleans and integers that fit become int8, everything else float32. The header carries geometry only: no
    description, no dates, no names. Raises `InputError` for another shape, non-finite values or a bad affine.
    """
    path, array, affine = Path(path), np.asarray(array), np.array(affine, dtype=float)
    if not path.name.endswith(SUFFIXES):
        raise InputError(f"{path.name}: end the name in .nii.gz")
    if array.ndim != axes or array.size == 0:
        raise InputError(f"{path.name}: an array of {axes} axes (X, Y, Z, ...) is written, got shape {array.shape}")
    check_affine(affine, path.name)
    whole = array.dtype.kind in "biu" and array.min() >= -128 and array.max() <= 127
    array = array.astype(np.int8 if whole else np.float32)
    if not np.isfinite(array).all():
        raise InputError(f"{path.name} would hold NaN or infinite voxels; replace them before writing")
    image = nib.Nifti1Image(array, affine)
    image.set_sform(affine, code=1)
    # A qform cannot hold shear: where it would contradict the sform, it is left out.
    image.set_qform(affine, code=1)
    if not np.allclose(image.get_qform(), affine, atol=1e-3):
        image.header["qform_code"] = 0
    image.header.set_xyzt_units("mm")
    content = image.to_bytes()
    if path.name.endswith(".gz"):
        content = gzip.compress(content, compresslevel=1, mtime=0)
    # Not by `tempfile`, whose files only their owner may read.
    partial = path.with_name(f".partial_{uuid.uuid4().hex}")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return path


def check_affine(affine: np.ndarray, name: str) -> None:
    """`InputError` naming `name` unless `affine` is a finite, invertible (4, 4) voxel-to-mm matrix."""
    if np.shape(affine) != (4, 4) or not np.isfinite(affine).all():
        raise InputError(f"{name}: the affine must be a finite (4, 4) matrix; export the file again with its geometry")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not (spacing > 1e-4).all() or abs(np.linalg.det(affine[:3, :3] / spacing)) < 1e-3:
        raise InputError(f"{name}: the affine is singular (voxel edges {spacing} mm); export the file again")


def _open(path: Path) -> gzip.GzipFile | io.BufferedReader:
    return gzip.GzipFile(path) if path.name.lower().endswith(".gz") else path.open("rb")


def _read_header(path: Path, axes: int) -> tuple[nib.Nifti1Header, tuple[int, ...]]:
    """The header and the (X, Y, Z) shape, from the first bytes alone: nothing that it claims is trusted yet."""
    with _open(path) as file:
        start = file.read(540)
    second = 540 in (int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big"))
    kind = nib.Nifti2Header if second else nib.Nifti1Header
    size = kind.template_dtype.itemsize
    if len(start) < size:
        raise EOFError("the header is incomplete")
    header = kind(start[:size])
    shape = tuple(int(n) for n in header.get_data_shape())
    while len(shape) > axes and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != axes:
        fix = "split it into one file a volume" if axes == 3 else "join its volumes in one file"
        raise InputError(f"{path.name} has {len(shape)} axes {shape}, {axes} are expected; {fix}")
    voxels = int(np.prod(np.asarray(shape, dtype=object)))
    if min(shape) < 1:
        raise InputError(f"{path.name} is empty (shape {shape}); export it again")
    if voxels > MAX_VOXELS:
        raise InputError(f"{path.name} claims {voxels} voxels, the limit is {MAX_VOXELS}; crop it or export it again")
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise InputError(f"{path.name} holds {dtype} voxels; save it as integers or float32")
    offset = float(header["vox_offset"])
    if not 0 <= offset <= MAX_HEADER_BYTES:
        raise ValueError(f"voxels at byte {offset:g}")
    capacity = path.stat().st_size * (MAX_GZIP_RATIO if path.name.lower().endswith(".gz") else 1)
    if voxels * dtype.itemsize > capacity:
        raise EOFError("the file is shorter than its header says")
    return header, shape


def _read_affine(header: nib.Nifti1Header, name: str) -> np.ndarray:
    affine = np.asarray(header.get_best_affine(), dtype=float)
    qform, sform = int(header["qform_code"]), int(header["sform_code"])
    check_affine(affine, name)
    if not qform and not sform:
        logger.warning("%s has no qform and no sform: voxel size is known, position is not", name)
    if qform and sform:
        ends = [(0, int(n) - 1) for n in header.get_data_shape()[:3]]
        corners = np.array([(*corner, 1) for corner in product(*ends)], dtype=float).T
        apart = float(np.abs((header.get_qform() - affine) @ corners).max())
        if apart > max(1.0, float(np.linalg.norm(affine[:3, :3], axis=0).min())):
            raise InputError(f"{name}: qform and sform differ by {apart:.1f} mm; save it again with one geometry")
    return affine
