"""Reading the NIfTI files of one patient: one folder, one grid, nothing outside."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from twinjax.core.errors import InputError
from twinjax.domain import resample
from twinjax.imaging import labels
from twinjax.imaging.nifti import read_nifti


def inside(root: Path, name: str | Path) -> Path:
    """The path `name` within `root`; `InputError` where it leads out (`..`, an absolute path, a symbolic link)."""
    path = (root / name).resolve()
    if Path(name).is_absolute() or not path.is_relative_to(root.resolve()):
        raise InputError(f"'{name}' leads out of its folder; give a path inside it")
    return path


def require_folder(path: str | Path | None, key: str) -> Path:
    """`path` as an existing folder; `key` names the argument or the setting in the message."""
    if path is None or not str(path):
        raise InputError(f"{key} is not set; give the folder with the data")
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(f"{key}: the folder '{folder}' does not exist")
    return folder


def case_folder(data_folder: str | Path | None, case: str) -> tuple[Path, Path]:
    """`(data folder, case folder)` of a public case in the data folder (environment variable TWINJAX_DATA)."""
    if data_folder is None:
        raise InputError("set TWINJAX_DATA to the folder with the public data sets, or give patient.data_folder=...")
    root = require_folder(data_folder, "data_folder (TWINJAX_DATA)")
    return root, require_folder(inside(root, case), f"case '{case}'")


class GridReader:
    """Reads files of `root` and holds them to the grid of the first one.

    File names may come without `.nii.gz` or `.nii`. **Fields:** `root`, and after the first file `affine` ((4, 4),
    mm) and `shape`.
    """

    affine: np.ndarray
    shape: tuple[int, ...]

    def __init__(self, root: Path):
        self.root = root
        self.shape = ()

    def find(self, name: str) -> Path | None:
        """The file of that name, with or without its ending; None where there is none."""
        for ending in (".nii.gz", ".nii", ""):
            path = inside(self.root, name + ending)
            if path.is_file():
                return path
        return None

    def image(self, name: str) -> np.ndarray | None:
        """(X, Y, Z) data of a file, None without it; `InputError` where its grid is another."""
        path = self.find(name)
        if path is None:
            return None
        image = read_nifti(path, root=self.root)
        if not self.shape:
            self.affine, self.shape = np.asarray(image.affine, dtype=float), image.data.shape
        elif image.data.shape != self.shape or not np.allclose(image.affine, self.affine, atol=1e-3):
            raise InputError(
                f"{path.name} has another grid (shape {image.data.shape}, expected {self.shape}, or another "
                "affine) than the files read before it; resample them to one grid (ImagingPipeline does)"
            )
        return image.data

    def required(self, name: str, fix: str = "add the file") -> np.ndarray:
        """As `image`, but `InputError` with the `fix` where the file is missing."""
        data = self.image(name)
        if data is None:
            raise InputError(f"{name}.nii.gz is missing in '{self.root.name}'; {fix}")
        return data

    def images(self, names: Mapping[str, str]) -> dict[str, np.ndarray]:
        """Modality to (X, Y, Z) float32, for those of `names` (modality to file name) that have a file."""
        found = {modality: self.image(name) for modality, name in names.items()}
        return {modality: data.astype(np.float32) for modality, data in found.items() if data is not None}

    def segmentation(self, name: str, convention: str, fix: str = "add the file") -> np.ndarray:
        """(X, Y, Z) int8 in internal labels."""
        return labels.to_internal(self.required(name, fix), convention, source=name)

    def mask(self, name: str) -> np.ndarray | None:
        """(X, Y, Z) bool: voxels above zero."""
        data = self.image(name)
        return None if data is None else data > 0

    def fraction(self, name: str) -> np.ndarray | None:
        """(X, Y, Z) float32 in [0, 1]; `InputError` for values outside, as percentages or labels have them."""
        data = self.image(name)
        if data is None:
            return None
        if not (np.nanmin(data) >= -1e-3 and np.nanmax(data) <= 1 + 1e-3):
            raise InputError(f"{name} must hold fractions (0 to 1), found {np.nanmin(data):g} to {np.nanmax(data):g}")
        return np.clip(data, 0, 1).astype(np.float32)

    def tissue(self, white: str, grey: str, fluid: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`(white_matter, grey_matter, brain)`: fractions, and (bool) where all, with any `fluid`, make one half."""
        maps = [self.fraction(name) for name in (white, grey, fluid)]
        if maps[0] is None or maps[1] is None:
            raise InputError(f"'{self.root.name}' needs {white}.nii.gz and {grey}.nii.gz")
        return maps[0], maps[1], np.sum([m for m in maps if m is not None], axis=0) >= 0.5

    def tissue_labels(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """`(white_matter, grey_matter)` (X, Y, Z) float32, 0 or 1, from a label file in the same patient space."""
        atlas = read_nifti(path)
        tissue = resample(np.asarray(atlas.data), np.asarray(atlas.affine), self.affine, self.shape, order=0)
        unknown = sorted(set(np.unique(tissue).tolist()) - {0, 1, 2, 3})
        if unknown:
            raise InputError(
                f"{path.name}: tissue labels {unknown[:5]} are unknown; use 0, 1 CSF, 2 grey, 3 white matter"
            )
        return (tissue == 3).astype(np.float32), (tissue == 2).astype(np.float32)
