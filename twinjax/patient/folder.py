"""The processed patient folder: one subfolder a visit, as `ImagingPipeline.process` writes it.

    patient/day_0000/{T1,T1CE,T2,FLAIR,ADC}.nii.gz   any of them; ADC in mm²/s
                     segmentation.nii.gz             internal labels: 1 necrotic, 2 oedema, 3 enhancing, 4 cavity
                     brain_mask.nii.gz               of the organ, whichever it is
                     white_matter.nii.gz, ...        tissue maps, names of `twinjax.imaging.scan.TISSUE_MAPS`
                     diffusion_tensor.nii.gz         of water, as MRtrix' dwi2tensor writes it; of the baseline
    patient/day_0030/...
    patient/treatment.csv

Visits are named `day_NNNN` from `day_0000`, the baseline, or by calendar date (`2024-03-01`), not both.
"""

import datetime
import logging
from pathlib import Path

import numpy as np

from twinjax.core.errors import InputError
from twinjax.imaging.diffusion_tensor import read_diffusion_tensor
from twinjax.imaging.scan import RELATIVE_MAPS, TISSUE_MAPS, Scan
from twinjax.imaging.visit_folder import visit_folders
from twinjax.model import tensor_maps
from twinjax.patient.reading import GridReader, inside, require_folder
from twinjax.patient.visit import Visit

logger = logging.getLogger(__name__)

MODALITIES = ("T1", "T1CE", "T2", "FLAIR", "ADC", "DCE", "FET", "PET", "CT")
TENSOR = "diffusion_tensor"


def read_visits(imaging_dir: str | Path | None) -> tuple[tuple[Visit, ...], datetime.date | None]:
    """The visits of a processed folder, by day, and the calendar date of the first where the names are dates.

    Raises `InputError` for a folder that is no visit, mixed or repeated names, a missing segmentation or files
    of one visit on different grids.
    """
    root = require_folder(imaging_dir, "imaging_dir")
    found = visit_folders(root)
    if found.other:
        raise InputError(
            f"folder '{found.other[0]}' is no visit: name it day_NNNN or by date (2024-03-01), or move it elsewhere"
        )
    if not found.days:
        raise InputError(f"'{root.name}' has no visit folders (day_0000, day_0030, ... or 2024-03-01, ...)")
    return tuple(Visit(day, _read_scan(root, name)) for name, day in found.days.items()), found.baseline_date


def read_tensor_maps(imaging_dir: str | Path, scan: Scan) -> dict[str, np.ndarray]:
    """The maps of `tensor_maps` from the baseline's diffusion tensor, on the grid of its `scan`; empty without one.

    Raises `InputError` for a tensor on another grid.
    """
    baseline = next(iter(visit_folders(Path(imaging_dir)).days))
    path = GridReader(inside(Path(imaging_dir), baseline)).find(TENSOR)
    if path is None:
        return {}
    tensor, affine = read_diffusion_tensor(path, "mrtrix")
    if tensor.shape[2:] != scan.shape or not np.allclose(affine, scan.affine, atol=1e-3):
        raise InputError(
            f"{path.name} has another grid (shape {tensor.shape[2:]}, the scan {scan.shape}); resample it to the scan's"
        )
    return tensor_maps(tensor, affine)


def read_mask(folder: Path, name: str, scan: Scan) -> np.ndarray:
    """(X, Y, Z) bool, the voxels above 0 of a file of the patient's folder (`name` within it), on the grid of `scan`.

    Raises `InputError` for a path that leads out of the folder, a file that is missing, on another grid or empty.
    """
    inside(folder, name)
    reader = GridReader(folder)
    reader.affine, reader.shape = np.asarray(scan.affine, dtype=float), scan.shape
    mask = reader.mask(name)
    if mask is None:
        raise InputError(f"the mask '{name}' is not in the patient folder '{folder.name}'; give a path inside it")
    if not mask.any():
        raise InputError(f"the mask '{name}' is empty: no voxel is above 0")
    return mask


def _read_scan(root: Path, name: str) -> Scan:
    reader = GridReader(inside(root, name))
    segmentation = reader.segmentation("segmentation", "brats2023", "run ImagingPipeline.process on this visit")
    images = reader.images({modality: modality for modality in MODALITIES})
    known = {*MODALITIES, "segmentation", "brain_mask", *TISSUE_MAPS, TENSOR}
    for path in sorted(reader.root.glob("*.nii*")):
        if path.name.split(".")[0] not in known:
            logger.warning("%s is not read: its name is none of %s", path.name, ", ".join(sorted(known)))
    organ = reader.mask("brain_mask")
    maps = {name: reader.image(name) if name in RELATIVE_MAPS else reader.fraction(name) for name in TISSUE_MAPS}
    found = {name: array for name, array in maps.items() if array is not None}
    return Scan.with_maps(reader.affine, images, segmentation, organ, found)
