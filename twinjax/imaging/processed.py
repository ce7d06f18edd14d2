"""`ProcessedPatient`: what the imaging pipeline found."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from twinjax.core.errors import InputError
from twinjax.imaging.preprocessing import monai
from twinjax.imaging.scan import Scan

if TYPE_CHECKING:
    from twinjax.imaging.record import ImagingRecord


class ProcessedPatient(Mapping[str, Any]):
    """What `ImagingPipeline.process` found, by key.

    - `"imaging"`: baseline images, (1, modalities, X, Y, Z) float32 `monai.data.MetaTensor` with the affine of
      the grid, channels in the order of `modalities`; ready for a MONAI inferer.
    - `"segmentation"`: baseline labels, (1, 1, X, Y, Z) int8 `MetaTensor`, internal convention.
    - `"scan_baseline"`, `"scan_followup"`: the first and the second visit as `Scan`; `InputError` for
      `"scan_followup"` of a patient with one visit.
    - `"visits"`: list of (day since baseline, `Scan`), by day, all on the grid of the baseline.

    `record` tells how to bring results back to the grids of the files.
    """

    def __init__(self, modalities: Sequence[str], visits: Sequence[tuple[float, Scan]], record: "ImagingRecord"):
        self.modalities = tuple(modalities)
        self.visits = list(visits)
        self.record = record

    def __getitem__(self, key: str) -> Any:
        baseline = self.visits[0][1]
        if key == "imaging":
            return _meta_tensor(np.stack([baseline.image(name) for name in self.modalities]), baseline.affine)[None]
        if key == "segmentation":
            assert baseline.segmentation is not None
            return _meta_tensor(baseline.segmentation[None], baseline.affine)[None]
        if key == "scan_baseline":
            return baseline
        if key == "scan_followup":
            if len(self.visits) < 2:
                raise InputError("scan_followup: this patient has one visit; add a later visit folder (day_0030/)")
            return self.visits[1][1]
        if key == "visits":
            return list(self.visits)
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        followup = ["scan_followup"] if len(self.visits) > 1 else []
        return iter(["imaging", "segmentation", "scan_baseline", *followup, "visits"])

    def __len__(self) -> int:
        return 4 + (len(self.visits) > 1)


def _meta_tensor(array: np.ndarray, affine: np.ndarray):
    return monai().data.MetaTensor(np.ascontiguousarray(array), affine=np.asarray(affine))
