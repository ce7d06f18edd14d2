"""Lesions one by one, and the sum of diameters of RECIST 1.1."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from twinjax.imaging.features.measured import Measured
from twinjax.imaging.features.size import centre_of_mass_mm, diameter_standard_deviation_mm, diameters_mm, volume_mm3


@dataclass(frozen=True)
class Lesion:
    """One connected part of a segmentation.

    **Fields:** `organ` that it lies in; `lymph_node`; `volume_mm3`; `longest_mm` and `short_mm`, the longest axial
    diameter and the extent perpendicular to it; `diameter_std_mm`, the standard deviation of either;
    `centre_mm`, (x, y, z) in patient space (RAS).
    """

    organ: str
    lymph_node: bool
    volume_mm3: float
    longest_mm: float
    short_mm: float
    diameter_std_mm: float
    centre_mm: tuple[float, float, float]

    @property
    def recist_mm(self) -> float:
        """What RECIST measures: the longest axial diameter, of a lymph node the short axis (mm)."""
        return self.short_mm if self.lymph_node else self.longest_mm


def find_lesions(
    region: np.ndarray, affine: np.ndarray, *, organ: str = "tumor", lymph_node: bool = False
) -> list[Lesion]:
    """The connected parts of a boolean (X, Y, Z) region of one organ, the largest RECIST diameter first.

    Voxels that share a corner belong together. Diameters are those of `diameters_mm`, between voxel centres.
    """
    parts, count = ndimage.label(region, np.ones((3, 3, 3)))  # pyright: ignore
    spread = diameter_standard_deviation_mm(affine)
    lesions = []
    for label, box in enumerate(ndimage.find_objects(parts, count), start=1):
        part = parts[box] == label
        longest, short = diameters_mm(part, affine)
        corner = affine[:3, :3] @ [edge.start for edge in box]
        x, y, z = (centre_of_mass_mm(part, affine) + corner).tolist()
        lesions.append(Lesion(organ, lymph_node, volume_mm3(part, affine), longest, short, spread, (x, y, z)))
    return sorted(lesions, key=lambda lesion: -lesion.recist_mm)


def measurable(lesion: Lesion) -> bool:
    """Whether RECIST 1.1 lets a lesion be a target at baseline: 10 mm, a lymph node 15 mm in the short axis."""
    return lesion.recist_mm >= (15.0 if lesion.lymph_node else 10.0)


def target_lesions(lesions: Iterable[Lesion]) -> list[Lesion]:
    """The largest lesions, five in all and two in an organ (RECIST 1.1, Eisenhauer et al. 2009, Eur J Cancer 45:228).

    At baseline, pass those that are `measurable`; later the targets are measured however small they are.
    """
    chosen: list[Lesion] = []
    for lesion in sorted(lesions, key=lambda lesion: -lesion.recist_mm):
        if len(chosen) < 5 and sum(other.organ == lesion.organ for other in chosen) < 2:
            chosen.append(lesion)
    return chosen


def recist_sum(lesions: Iterable[Lesion]) -> Measured:
    """Sum (mm) of the RECIST diameters of `target_lesions(lesions)`, which err independently; 0 without lesions."""
    targets = target_lesions(lesions)
    variance = sum(lesion.diameter_std_mm**2 for lesion in targets)
    return Measured(float(sum(lesion.recist_mm for lesion in targets)), float(np.sqrt(variance)), "mm")
