"""`Scan`: the images of one visit on one grid."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from twinjax.core.errors import InputError
from twinjax.imaging import labels

# The regions of a segmentation, properties of `Scan`, and what they are called.
REGIONS = {"core": "core", "whole_tumor": "whole tumour"}
# What tissue is where: fractions, and what is relative to its mean over the organ.
RELATIVE_MAPS = ("drug_distribution", "perfusion")
TISSUE_MAPS = ("white_matter", "grey_matter", "adipose", "fibroglandular", "stroma", *RELATIVE_MAPS)


@dataclass(frozen=True, eq=False)
class Scan:
    """The images of one visit, all on one grid.

    **Fields:**

    - `affine`: (4, 4), voxel index to patient space (RAS, mm).
    - `images`: modality (`"T1"`, `"T1CE"`, `"T2"`, `"FLAIR"`, `"ADC"` in mm²/s, `"FET"`) to (X, Y, Z) float32.
    - `segmentation`: (X, Y, Z) int8 in the internal convention of `twinjax.imaging.labels`, or None.
    - `brain_mask`: (X, Y, Z) bool, or None; the mask of the organ, whichever it is.
    - `white_matter`, `grey_matter`: (X, Y, Z) float32 fractions in [0, 1], or None.
    - `maps`: other tissue maps by name (of `TISSUE_MAPS`), (X, Y, Z) float32.

    Raises `InputError` where shapes differ, or the affine or a voxel is not finite.
    """

    affine: np.ndarray
    images: Mapping[str, np.ndarray] = field(default_factory=dict)
    segmentation: np.ndarray | None = None
    brain_mask: np.ndarray | None = None
    white_matter: np.ndarray | None = None
    grey_matter: np.ndarray | None = None
    maps: Mapping[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def with_maps(cls, affine, images, segmentation, organ, maps: Mapping[str, np.ndarray]) -> "Scan":
        """From tissue maps by name, white and grey matter among them or not."""
        others = {name: array for name, array in maps.items() if name not in ("white_matter", "grey_matter")}
        return cls(affine, images, segmentation, organ, maps.get("white_matter"), maps.get("grey_matter"), others)

    @property
    def tissue_maps(self) -> dict[str, np.ndarray]:
        """All tissue maps by name, white and grey matter among them."""
        brain = {"white_matter": self.white_matter, "grey_matter": self.grey_matter}
        return {name: array for name, array in brain.items() if array is not None} | dict(self.maps)

    def __post_init__(self):
        arrays = {**self.images, **self.maps}
        for name in ("segmentation", "brain_mask", "white_matter", "grey_matter"):
            if getattr(self, name) is not None:
                arrays[name] = getattr(self, name)
        if not arrays:
            raise InputError("a Scan needs at least one image or a segmentation")
        shapes = {name: np.shape(array) for name, array in arrays.items()}
        if len(set(shapes.values())) > 1:
            raise InputError(f"the images of one scan differ in shape: {shapes}; resample them to one grid first")
        if np.shape(self.affine) != (4, 4) or not np.isfinite(self.affine).all():
            raise InputError("the affine of a Scan must be a finite (4, 4) matrix")
        if abs(np.linalg.det(self.affine[:3, :3])) < 1e-9:
            raise InputError("the affine of a Scan is singular: a voxel has no volume")
        for name, array in arrays.items():
            if np.issubdtype(np.asarray(array).dtype, np.floating) and not np.isfinite(array).all():
                count = int(np.sum(~np.isfinite(array)))
                raise InputError(f"{name} has {count} NaN or infinite voxels; repair or mask them before use")

    @property
    def shape(self) -> tuple[int, int, int]:
        arrays = [*self.images.values(), self.segmentation, self.brain_mask]
        return next(np.shape(a) for a in arrays if a is not None)

    @property
    def spacing(self) -> np.ndarray:
        """(3,) voxel edge lengths in mm."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def core(self) -> np.ndarray:
        """(X, Y, Z) bool: necrotic and enhancing tumour."""
        return self._region(labels.CORE)

    @property
    def whole_tumor(self) -> np.ndarray:
        """(X, Y, Z) bool: necrotic and enhancing tumour and oedema."""
        return self._region(labels.WHOLE_TUMOR)

    def _region(self, wanted: tuple[int, ...]) -> np.ndarray:
        if self.segmentation is None:
            raise InputError("this scan has no segmentation; run ImagingPipeline or give a segmentation file")
        return np.isin(self.segmentation, wanted)

    def image(self, modality: str) -> np.ndarray:
        """The (X, Y, Z) image of a modality; `InputError` naming what there is otherwise."""
        if modality not in self.images:
            raise InputError(f"modality {modality} is missing; this scan has {', '.join(self.images) or 'none'}")
        return self.images[modality]
