"""What the imaging pipeline did to each image, so that results can be put back into the grid of the file."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from twinjax.core.errors import InputError
from twinjax.imaging.deformation import Deformation
from twinjax.imaging.grid import Grid, in_parallel
from twinjax.imaging.nifti import read_nifti, write_nifti
from twinjax.imaging.placement import Placement, resample_placed

FILE = "imaging.json"


@dataclass(frozen=True, eq=False)
class VisitRecord:
    """One visit.

    **Fields:** `day`; `originals`, modality to the grid of its file; `placements`, modality to what leads from points
    of the processed space (RAS, mm) to those of its file; `steps`, in words, in their order.
    """

    day: float
    originals: dict[str, Grid]
    placements: dict[str, Placement]
    steps: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ImagingRecord:
    """All visits of a patient; `grid` is that of every processed file. It names no file and no patient."""

    grid: Grid
    visits: tuple[VisitRecord, ...]

    def restored(
        self, array: np.ndarray, modality: str, *, day: float | None = None, labels: bool | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """`array` (X, Y, Z) on the processed grid, brought back to the grid of a visit's file of `modality`.

        **Arguments:** `day` of the visit (default: the baseline); `labels`: whether values are classes, which are
        never mixed (default: of integers and booleans they are). Classes go back as fractions, the largest wins.

        **Returns** `(array, affine)` on that grid, zero where it was not processed. Raises `InputError` for another
        shape, or a visit or modality that the record does not have.
        """
        array = np.asarray(array)
        if array.shape != self.grid.shape:
            raise InputError(f"the array has shape {array.shape}, the processed images {self.grid.shape}")
        visit = self.visit(day)
        if modality not in visit.originals:
            raise InputError(f"day {visit.day:g} has no {modality}; it has {', '.join(sorted(visit.originals))}")
        original, back = visit.originals[modality], visit.placements[modality].inverted()

        def moved(values: np.ndarray) -> np.ndarray:
            return resample_placed(values.astype(np.float32), self.grid.affine, *original, back)

        if not (array.dtype.kind in "bui" if labels is None else labels):
            return moved(array), original.affine
        classes = np.unique(array)
        shares = in_parallel(lambda value: moved(array == value), classes)
        # Outside of what was processed every share is zero; there is nothing there.
        found = np.where(np.max(shares, axis=0) > 0, classes[np.argmax(shares, axis=0)], 0)
        return found.astype(array.dtype), original.affine

    def visit(self, day: float | None = None) -> VisitRecord:
        """The visit of a day (default: the baseline)."""
        found = [visit for visit in self.visits if day is None or visit.day == day]
        if not found:
            raise InputError(f"there is no visit on day {day}; there are {[visit.day for visit in self.visits]}")
        return found[0]

    def save(self, folder: Path) -> None:
        """Write `imaging.json` into a processed folder, and beside it each deformation with its inverse, as
        `deformation_NN.nii.gz` of displacements in mm along the axes of patient space (RAS)."""
        for old in folder.glob("*deformation_*.nii.gz"):
            old.unlink()
        files: dict[int, dict[str, str]] = {}
        content = {
            "grid": _plain(self.grid),
            "visits": [
                {
                    "day": visit.day,
                    "steps": list(visit.steps),
                    "originals": {
                        name: {**_plain(grid), "placement": _saved(visit.placements[name], folder, files)}
                        for name, grid in visit.originals.items()
                    },
                }
                for visit in self.visits
            ],
        }
        (folder / FILE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> "ImagingRecord":
        """Read `imaging.json` of a processed folder; `InputError` where it is missing or damaged."""
        path = Path(folder) / FILE
        if not path.is_file():
            raise InputError(f"{FILE} is missing in '{path.parent.name}'; process the patient again")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            visits = tuple(
                VisitRecord(
                    float(visit["day"]),
                    {name: _grid(entry) for name, entry in visit["originals"].items()},
                    {name: _loaded(entry["placement"], path.parent) for name, entry in visit["originals"].items()},
                    tuple(visit["steps"]),
                )
                for visit in content["visits"]
            )
            return cls(_grid(content["grid"]), visits)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{FILE} is damaged ({error}); process the patient again") from error


def _saved(placement: Placement, folder: Path, files: dict[int, dict[str, str]]) -> list[dict[str, Any]]:
    """The steps; `files` has those of the deformations that are written, by identity, as images share them."""
    steps = []
    for step in placement.steps:
        if not isinstance(step, Deformation):
            steps.append({"motion": step.tolist()})
            continue
        if id(step) not in files:
            name = f"deformation_{len(files):02d}.nii.gz"
            files[id(step)] = {"deformation": name, "inverse": f"inverse_{name}"}
            write_nifti(folder / name, step.displacement, step.affine, axes=4)
            write_nifti(folder / f"inverse_{name}", step.inverse_displacement, step.affine, axes=4)
        steps.append(files[id(step)])
    return steps


def _loaded(steps: list[dict[str, Any]], folder: Path) -> Placement:
    found: list[np.ndarray | Deformation] = []
    for step in steps:
        if "motion" in step:
            found.append(_matrix(step["motion"]))
            continue
        there, back = (read_nifti(folder / step[key], root=folder, axes=4) for key in ("deformation", "inverse"))
        found.append(Deformation(there.data, back.data, there.affine))
    return Placement(tuple(found))


def _plain(grid: Grid) -> dict[str, Any]:
    return {"affine": np.asarray(grid.affine).tolist(), "shape": list(grid.shape)}


def _grid(content: dict[str, Any]) -> Grid:
    return Grid(_matrix(content["affine"]), tuple(int(n) for n in content["shape"]))


def _matrix(rows: list) -> np.ndarray:
    return np.asarray(rows, float).reshape(4, 4)
