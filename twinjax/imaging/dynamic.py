"""A dynamic contrast-enhanced series as one map: how much of the medium comes to a voxel, soon after it is given."""

import json
from pathlib import Path

import numpy as np

from twinjax.core.errors import InputError
from twinjax.imaging.features import initial_area
from twinjax.imaging.nifti import Image, read_nifti

# After the first enhanced volume: the initial area, before the medium leaves again.
WINDOW_SECONDS = 90.0


def initial_enhancement(path: Path, *, root: Path | None = None) -> Image:
    """(X, Y, Z) mean relative enhancement S / S0 - 1 over the first 90 s after the volume before contrast.

    `path` is a NIfTI file of several volumes, and a JSON of the same name beside it holds `acquisition_times_s`,
    seconds from the first. The initial area under the curve needs no model of the vessels (Evelhoch 1999, J Magn Reson
    Imaging 10:254); it is relative, and compares voxels of one scan. Raises `InputError` for times that are missing or
    do not fit.
    """
    series = read_nifti(path, root=root, axes=4)
    table = path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".json")
    try:
        times = np.asarray(json.loads(table.read_text(encoding="utf-8"))["acquisition_times_s"], float)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{table.name} beside {path.name} must hold acquisition_times_s, the seconds of its volumes"
        ) from error
    volumes = series.data.shape[-1]
    if times.shape != (volumes,) or volumes < 2 or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise InputError(f"{table.name}: acquisition_times_s must be {volumes} ascending seconds, at least two")
    before = series.data[..., 0].astype(np.float32)
    # Air and noise have no relative enhancement.
    signal = before > 0.05 * np.percentile(before, 99)
    relative = series.data.astype(np.float32) / np.where(signal, before, 1.0)[..., None] - 1
    seconds = min(times[1] - times[0] + WINDOW_SECONDS, times[-1] - times[0])
    area = initial_area(np.maximum(relative, 0), times / 60, seconds, arrival_min=times[0] / 60)
    return Image(np.where(signal, area * 60 / seconds, 0).astype(np.float32), series.affine)
