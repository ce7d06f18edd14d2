"""`ImagingPipeline`: from the raw images of a patient to segmented scans on one grid."""

import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy import ndimage

from twinjax.core.config import load_named
from twinjax.core.errors import InputError, MissingDependencyError
from twinjax.domain import resample
from twinjax.imaging import labels
from twinjax.imaging.nifti import Image, check_affine, read_nifti, write_nifti
from twinjax.imaging.raw_folder import ALIASES, RawVisit, find_files, raw_visits
from twinjax.imaging.registration import largest_motion, register
from twinjax.imaging.scan import Scan
from twinjax.imaging.segmentation.segmenter import AbstractSegmenter
from twinjax.imaging.template import brain_template

logger = logging.getLogger("twinjax")

# Measured in physical units, which no intensity transform may touch.
QUANTITATIVE = ("ADC", "FET")
TISSUE = ("white_matter", "grey_matter")
MAPS = ("segmentation", "brain_mask", *TISSUE)
# In mm²/s no tissue is above free water at body temperature; files in µm²/s are a million times larger.
LARGEST_ADC = 0.1
# Voxels of a grid that holds all images of a visit; beyond it they show different places.
LARGEST_GRID = 2**28


class ProcessedPatient(Mapping[str, Any]):
    """What `ImagingPipeline.process` found, by key.

    - `"imaging"`: baseline images, (1, modalities, X, Y, Z) float32 `monai.data.MetaTensor` with the affine of
      the grid, channels in the order of `modalities`; ready for a MONAI inferer.
    - `"segmentation"`: baseline labels, (1, 1, X, Y, Z) int8 `MetaTensor`, internal convention.
    - `"scan_baseline"`, `"scan_followup"`: the first and the second visit as `Scan`; `InputError` for
      `"scan_followup"` of a patient with one visit.
    - `"visits"`: list of (day since baseline, `Scan`), by day, all on the grid of the baseline.
    """

    def __init__(self, modalities: Sequence[str], visits: Sequence[tuple[float, Scan]]):
        self.modalities = tuple(modalities)
        self.visits = list(visits)

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


def default_preprocessing() -> Callable:
    """The MONAI `Compose` for callers without one: 1 mm voxels, intensities from 0 to 1, background cropped."""
    transforms = _monai().transforms
    return transforms.Compose(
        [
            transforms.LoadImage(image_only=True),
            transforms.EnsureChannelFirst(),
            transforms.Spacing(pixdim=(1.0, 1.0, 1.0)),
            transforms.ScaleIntensity(minv=0.0, maxv=1.0),
            transforms.CropForeground(),
        ]
    )


class ImagingPipeline:
    """Preprocess, align and segment the visits of a patient.

    **Arguments:**

    - `modalities`: names of `twinjax.imaging.raw_folder.ALIASES`, required at every visit. ADC and FET are
      taken along without being asked for, in their physical units.
    - `preprocessing`: a MONAI `Compose` from file to (1, X, Y, Z) tensor, applied to each image by itself
      (default: `default_preprocessing`). It must be deterministic and keep the affine.
    - `segmentation_model`: a name of `conf/segmentation`, or an `AbstractSegmenter`.
    - `registration`: `"rigid"` moves a later visit onto the baseline where the head has moved by more than a
      voxel; `"none"` trusts the patient space of the files. Rigid, because a deformable map would absorb the
      growth that is to be measured. Images of one visit are taken as aligned by their headers.

    Raises `InputError` for unknown modalities or a segmenter that needs others.
    """

    def __init__(
        self,
        modalities: Sequence[str],
        preprocessing: Callable | None = None,
        segmentation_model: str | AbstractSegmenter = "rule_based",
        registration: Literal["rigid", "none"] = "rigid",
    ):
        known = [name for name in ALIASES if name not in MAPS]
        if isinstance(modalities, str) or not modalities or not set(modalities) <= set(known):
            raise InputError(f"modalities: give a list with names of {', '.join(known)}; got {modalities}")
        if len(set(modalities)) < len(modalities) or set(modalities) <= set(QUANTITATIVE):
            raise InputError(f"modalities: name each once, and at least one other than {', '.join(QUANTITATIVE)}")
        if registration not in ("rigid", "none"):
            raise InputError(f"registration must be 'rigid' or 'none', got '{registration}'")
        if isinstance(segmentation_model, str):
            segmentation_model = load_named("segmentation", segmentation_model)
        if not isinstance(segmentation_model, AbstractSegmenter):
            raise InputError("segmentation_model must be a name of conf/segmentation or an AbstractSegmenter")
        lacking = sorted(set(segmentation_model.channels) - set(modalities))
        if lacking:
            raise InputError(f"{type(segmentation_model).__name__} needs {', '.join(lacking)}; add them to modalities")
        self.modalities = tuple(modalities)
        self.preprocessing = preprocessing
        self.segmenter = segmentation_model
        self.registration = registration

    def process(self, patient_dir: str | Path, output_dir: str | Path | None = None) -> ProcessedPatient:
        """Process all visits of a raw folder (`twinjax.imaging.raw_folder`); write the results to `output_dir`.

        What a visit lacks is filled in: `brain_mask` by the largest connected foreground of its images (a skull
        counts as brain: strip it first), white and grey matter by the ICBM152 template, registered affinely to
        the first modality of the baseline. An average brain: the folds of this patient are not in it.

        The output has the visit folders of the input, each with images, `segmentation` (internal labels),
        `brain_mask`, `white_matter` and `grey_matter` as `.nii.gz`, and `treatment.csv`; files of these names are
        replaced. It has no names or numbers of the patient beyond those of the visit folders.

        Raises `InputError` for anything wrong with the files, and for a baseline without tumour.
        """
        root = Path(patient_dir)
        raw = raw_visits(root)
        output = None if output_dir is None else _check_output(Path(output_dir), root, raw)
        preprocessing = self.preprocessing or default_preprocessing()
        visits: list[tuple[float, Scan]] = []
        for number, visit in enumerate(raw, start=1):
            logger.info("visit %d of %d, day %g", number, len(raw), visit.day)
            baseline = visits[0][1] if visits else None
            visits.append((visit.day, self._visit(visit, root, preprocessing, baseline)))
            if output is not None:
                _write_visit(visits[-1][1], output / visit.name)
        table = root / "treatment.csv"
        if output is not None and table.is_file():
            if not table.resolve().is_relative_to(root.resolve()):
                raise InputError("treatment.csv leads out of the patient folder; copy it into the folder")
            shutil.copyfile(table, output / "treatment.csv")
        return ProcessedPatient(self.modalities, visits)

    def _visit(self, visit: RawVisit, root: Path, preprocessing: Callable, baseline: Scan | None) -> Scan:
        files = find_files(visit.folder, root)
        missing = [name for name in self.modalities if name not in files]
        if missing:
            found = ", ".join(name for name in files if name not in MAPS) or "none"
            raise InputError(f"'{visit.folder.name}': {', '.join(missing)} missing, found {found}; add the files")
        # Every file is checked before MONAI opens any.
        raw = {name: read_nifti(path, root=root) for name, path in files.items()}
        images = {name: _preprocess(preprocessing, files[name]) for name in self.modalities if name not in QUANTITATIVE}
        grid = _common_grid(list(images.values())) if baseline is None else (baseline.affine, baseline.shape)
        motion = np.eye(4)
        if baseline is not None and self.registration == "rigid":
            motion = _motion(baseline, images)
        images |= {name: _check_quantity(name, raw[name]) for name in QUANTITATIVE if name in raw}
        on_grid = dict(
            zip(images, _in_parallel(lambda image: _onto(image, grid, motion), images.values()), strict=True)
        )
        maps = {name: _onto(raw[name], grid, motion, order=0) for name in MAPS[:2] if name in raw}
        for name in TISSUE:
            if name in raw:
                maps[name] = _check_fraction(_onto(raw[name], grid, motion), files[name].name)
        if "brain_mask" in maps:
            brain = maps["brain_mask"] > 0
        elif baseline is not None and baseline.brain_mask is not None:
            brain = baseline.brain_mask
        else:
            logger.info("no brain_mask file: taking the largest connected foreground")
            brain = _foreground([image for name, image in on_grid.items() if name not in QUANTITATIVE])
        if not brain.any():
            raise InputError(f"'{visit.folder.name}': the brain mask is empty; check brain_mask and the images")
        if not set(TISSUE) <= set(maps):
            if baseline is None:
                logger.info("no tissue maps: registering the ICBM152 template")
                first = next(iter(on_grid.values()))
                maps |= dict(zip(TISSUE, _template_tissue(first * brain, grid[0], brain), strict=True))
            else:
                maps |= {name: np.asarray(getattr(baseline, name)) for name in TISSUE}
        inputs = on_grid | {"segmentation": maps["segmentation"]} if "segmentation" in maps else on_grid
        segmentation = self.segmenter.segment(inputs, grid[0], brain)
        if not np.isin(segmentation, labels.WHOLE_TUMOR).any():
            if baseline is None:
                raise InputError(f"'{visit.folder.name}': empty tumour; check the images, or give a segmentation file")
            logger.warning("no tumour found on day %g", visit.day)
        return Scan(grid[0], on_grid, segmentation, brain, *(maps[name] for name in TISSUE))


def _monai() -> Any:
    try:
        import monai.data
        import monai.transforms
    except ImportError as error:
        raise MissingDependencyError("image processing needs MONAI: pip install 'twinjax[imaging]'") from error
    return monai


def _meta_tensor(array: np.ndarray, affine: np.ndarray):
    return _monai().data.MetaTensor(np.ascontiguousarray(array), affine=np.asarray(affine))


def _preprocess(preprocessing: Callable, path: Path) -> Image:
    """One file through the user's transforms. By itself: intensities are scaled per image, and a stack of images
    on different grids is none."""
    try:
        result = preprocessing(str(path))
    except Exception as error:
        reason = (str(error.__cause__ or error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"preprocessing failed on {path.name} ({reason}); start it with LoadImage") from error
    affine = getattr(result, "affine", None)
    if affine is None or result.ndim != 4 or result.shape[0] != 1:
        raise InputError(
            f"preprocessing must give a (1, X, Y, Z) MetaTensor, got shape {tuple(getattr(result, 'shape', ()))} for "
            f"{path.name}; use LoadImage(image_only=True) and EnsureChannelFirst"
        )
    affine = np.asarray(affine, dtype=float)
    check_affine(affine, path.name)
    data = np.asarray(result[0], dtype=np.float32)
    if data.size == 0 or not np.isfinite(data).all():
        raise InputError(f"preprocessing left {path.name} empty or with NaN voxels; check its transforms")
    return Image(data, affine)


def _common_grid(images: Sequence[Image]) -> tuple[np.ndarray, tuple[int, ...]]:
    """The grid of the first image, extended in whole voxels to hold all: each comes cropped to its own box."""
    first = images[0].affine
    lower, upper = np.zeros(3), np.zeros(3)
    for image in images:
        ends = np.array([[0, n - 1] for n in image.data.shape])
        corners = np.vstack([np.stack(np.meshgrid(*ends, indexing="ij")).reshape(3, -1), np.ones(8)])
        inside = (np.linalg.inv(first) @ image.affine @ corners)[:3]
        lower, upper = np.minimum(lower, inside.min(axis=1)), np.maximum(upper, inside.max(axis=1))
    # Rounding noise of the affines must not add a plane of voxels.
    lower, upper = np.floor(lower + 1e-2), np.ceil(upper - 1e-2)
    shape = tuple(int(n) for n in upper - lower + 1)
    if np.prod(np.asarray(shape, dtype=object)) > LARGEST_GRID:
        raise InputError(f"the images of one visit lie too far apart (common grid {shape}); check their headers")
    shift = np.eye(4)
    shift[:3, 3] = lower
    return first @ shift, shape


def _onto(image: Image, grid: tuple[np.ndarray, tuple[int, ...]], motion: np.ndarray, order: int = 1) -> np.ndarray:
    return resample(image.data, np.linalg.inv(motion) @ image.affine, *grid, order=order)


def _motion(baseline: Scan, images: Mapping[str, Image]) -> np.ndarray:
    """The rigid motion of the head since the baseline; the identity below a voxel, which cannot be told from none."""
    name, image = next(iter(images.items()))
    brain = np.ones(baseline.shape, bool) if baseline.brain_mask is None else baseline.brain_mask
    motion = register(baseline.image(name), baseline.affine, image.data, image.affine)
    moved = largest_motion(motion, brain, baseline.affine)
    if moved <= float(baseline.spacing.max()):
        return np.eye(4)
    logger.info("the head has moved by up to %.1f mm since the baseline: resampling", moved)
    return motion


def _check_quantity(name: str, image: Image) -> Image:
    positive = image.data[image.data > 0]
    median = float(np.median(positive)) if positive.size else 0.0
    if name == "ADC" and median > LARGEST_ADC:
        raise InputError(f"ADC must be in mm²/s (water 3e-3), its median is {median:g}; divide by 1e6 if in µm²/s")
    return image


def _check_fraction(data: np.ndarray, name: str) -> np.ndarray:
    if data.min() < -1e-3 or data.max() > 1 + 1e-3:
        raise InputError(f"{name} must hold fractions from 0 to 1, found {data.min():g} to {data.max():g}; rescale it")
    return np.clip(data, 0, 1)


def _foreground(images: Sequence[np.ndarray]) -> np.ndarray:
    """Largest connected region in which any image is above a tenth of its range, holes filled."""
    bright = np.any([image > image.min() + 0.1 * (np.percentile(image, 99) - image.min()) for image in images], axis=0)
    components, count = ndimage.label(bright)  # pyright: ignore
    if count > 1:
        bright = components == 1 + np.argmax(np.bincount(components.ravel())[1:])
    return ndimage.binary_fill_holes(bright)  # pyright: ignore


def _template_tissue(image: np.ndarray, affine: np.ndarray, brain: np.ndarray) -> Iterator[np.ndarray]:
    """White and grey matter of the ICBM152 template, registered affinely to a masked image."""
    template = brain_template(2.0)
    matrix = register(image, affine, template.image("T1"), template.affine, kind="affine", align_centres=True)
    for tissue in (template.white_matter, template.grey_matter):
        yield resample(np.asarray(tissue), np.linalg.inv(matrix) @ template.affine, affine, image.shape) * brain


def _check_output(output: Path, root: Path, raw: Sequence[RawVisit]) -> Path:
    if output.resolve().is_relative_to(root.resolve()):
        raise InputError(f"output_dir '{output.name}' lies in the raw patient folder; choose a folder outside it")
    names = {visit.name for visit in raw}
    others = [p.name for p in output.iterdir() if p.is_dir() and p.name not in names] if output.is_dir() else []
    if others:
        raise InputError(f"output_dir '{output.name}' has {others[0]}/, none of these visits; choose an empty folder")
    return output


def _write_visit(scan: Scan, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {**scan.images, **{name: getattr(scan, name) for name in MAPS}}
    for name in set(ALIASES) - set(arrays):
        (folder / f"{name}.nii.gz").unlink(missing_ok=True)
    _in_parallel(lambda name: write_nifti(folder / f"{name}.nii.gz", arrays[name], scan.affine), arrays)


def _in_parallel(function: Callable, items: Iterable) -> list:
    """`function` of every item, in threads: resampling and compression leave Python's lock."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(function, items))
