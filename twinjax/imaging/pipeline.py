"""`ImagingPipeline`: from the raw images of a patient to segmented scans on one grid."""

import logging
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from twinjax.core.config import load_named
from twinjax.core.errors import InputError
from twinjax.imaging.anatomy import AbstractAnatomy, BrainAnatomy
from twinjax.imaging.contact_sheet import write_contact_sheet
from twinjax.imaging.coregistration import AIR_HU, deformation_since, motion_since, placements_within
from twinjax.imaging.dicom import convert_dicom, is_dicom_folder
from twinjax.imaging.dynamic import initial_enhancement
from twinjax.imaging.features import write_features
from twinjax.imaging.features.cellularity import LARGEST_ADC
from twinjax.imaging.grid import Grid, common_grid, in_parallel, onto
from twinjax.imaging.nifti import Image, read_nifti, write_nifti
from twinjax.imaging.placement import Placement
from twinjax.imaging.preprocessing import default_preprocessing, preprocess, without_bias_field
from twinjax.imaging.processed import ProcessedPatient
from twinjax.imaging.raw_folder import ALIASES, RawVisit, find_files, raw_visits
from twinjax.imaging.record import ImagingRecord, VisitRecord
from twinjax.imaging.scan import RELATIVE_MAPS, TISSUE_MAPS, Scan
from twinjax.imaging.segmentation.segmenter import AbstractSegmenter

logger = logging.getLogger("twinjax")

# Measured in physical units, which no intensity transform may touch.
QUANTITATIVE = ("ADC", "DCE", "FET", "PET", "CT")
# Taken along without being asked for.
UNASKED = ("ADC", "DCE", "FET")
MASKS = ("segmentation", "brain_mask")
REGISTRATIONS = ("none", "rigid", "deformable")
# No CT is without anything lighter than fat, in Hounsfield units.
FAT_HU = -200.0


class ImagingPipeline:
    """Preprocess, align and segment the visits of a patient.

    **Arguments:**

    - `modalities`: names of `twinjax.imaging.raw_folder.ALIASES`, required at every visit. ADC, DCE and FET are
      taken along without being asked for; they, PET (SUV) and CT (Hounsfield units) keep their physical units.
    - `preprocessing`: a MONAI `Compose` from file to (1, X, Y, Z) tensor, applied to each image by itself
      (default: `default_preprocessing`). It must be deterministic and keep the affine.
    - `segmentation_model`: a name of `conf/segmentation`, or an `AbstractSegmenter`.
    - `registration`: `"rigid"` moves a later visit onto the baseline where the patient has moved by more than a
      voxel; `"none"` trusts the patient space of the files. `"deformable"` lets the tissue around the tumours bend
      as well, after the rigid motion, for organs that are soft (`twinjax.imaging.deformable`): what a tumour has
      pushed aside is then taken for deformation, so it is never the default.
    - `align_within_visit`: how each image of a visit is moved onto its first: `"none"` trusts their headers, or
      `"rigid"`, `"deformable"`.
    - `anatomy`: the organ, `BrainAnatomy` unless given.
    - `bias_field`: whether images without physical units are divided by the receive field of the scanner (N4).
    - `file_names`: name of `ALIASES` to what it is called in files, where that differs.
    - `dicom_rules`: a name of `conf/dicom`, or the path of a YAML file like those, for folders of DICOM.

    Raises `InputError` for unknown modalities or a segmenter that needs others.
    """

    def __init__(
        self,
        modalities: Sequence[str],
        preprocessing: Callable | None = None,
        segmentation_model: str | AbstractSegmenter = "rule_based",
        registration: str = "rigid",
        *,
        anatomy: AbstractAnatomy | None = None,
        bias_field: bool = False,
        align_within_visit: str = "none",
        file_names: Mapping[str, Sequence[str]] | None = None,
        dicom_rules: str = "default",
    ):
        known = [name for name in ALIASES if name not in (*MASKS, *TISSUE_MAPS)]
        if isinstance(modalities, str) or not modalities or not set(modalities) <= set(known):
            raise InputError(f"modalities: give a list with names of {', '.join(known)}; got {modalities}")
        if len(set(modalities)) < len(modalities) or set(modalities) <= set(UNASKED):
            raise InputError(f"modalities: name each once, and at least one other than {', '.join(UNASKED)}")
        for name, value in (("registration", registration), ("align_within_visit", align_within_visit)):
            if value not in REGISTRATIONS:
                raise InputError(f"{name} must be one of {', '.join(REGISTRATIONS)}, got '{value}'")
        if unknown := sorted(set(file_names or {}) - set(ALIASES)):
            raise InputError(f"file_names: '{unknown[0]}' is unknown; it names one of {', '.join(ALIASES)}")
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
        self.anatomy = BrainAnatomy() if anatomy is None else anatomy
        self.bias_field, self.align_within_visit = bias_field, align_within_visit
        self.file_names, self.dicom_rules = dict(file_names or {}), dicom_rules

    def process(self, patient_dir: str | Path, output_dir: str | Path | None = None) -> ProcessedPatient:
        """Process all visits of a raw folder (`twinjax.imaging.raw_folder`); write the results to `output_dir`.

        A folder of DICOM files is converted first (`twinjax.imaging.dicom`), into a temporary folder.

        What a visit lacks is filled in by the `anatomy`: `brain_mask`, the mask of the organ, and its tissue maps.
        A later visit without files of them takes those of the baseline.

        The output has the visit folders of the input, each with images, `segmentation` (internal labels),
        `brain_mask` and tissue maps as `.nii.gz`, `imaging.json` (`ImagingRecord`, which brings results back to the
        grids of the files), `features.json`, `contact_sheet.png` and `treatment.csv`; files of these names are
        replaced. It has no names or numbers of the patient beyond those of the visit folders.

        Raises `InputError` for anything wrong with the files, and for a baseline without tumour.
        """
        if is_dicom_folder(patient_dir):
            with tempfile.TemporaryDirectory() as converted:
                convert_dicom(patient_dir, converted, self.dicom_rules, required=self.modalities)
                table = Path(patient_dir) / "treatment.csv"
                if table.is_file() and not table.is_symlink():
                    shutil.copyfile(table, Path(converted) / "treatment.csv")
                return self.process(converted, output_dir)
        root = Path(patient_dir)
        raw = raw_visits(root)
        output = None if output_dir is None else _check_output(Path(output_dir), root, raw)
        transforms = self.preprocessing or default_preprocessing()
        visits: list[tuple[float, Scan]] = []
        records: list[VisitRecord] = []
        for number, visit in enumerate(raw, start=1):
            logger.info("visit %d of %d, day %g", number, len(raw), visit.day)
            baseline = visits[0][1] if visits else None
            scan, record = self._visit(visit, root, transforms, baseline)
            visits.append((visit.day, scan))
            records.append(record)
            if output is not None:
                _write_visit(scan, output / visit.name)
        first = visits[0][1]
        record = ImagingRecord(Grid(first.affine, first.shape), tuple(records))
        table = root / "treatment.csv"
        if output is not None:
            record.save(output)
            write_features(output / "features.json", dict(visits))
            write_contact_sheet(output / "contact_sheet.png", dict(visits))
            if table.is_file():
                if not table.resolve().is_relative_to(root.resolve()):
                    raise InputError("treatment.csv leads out of the patient folder; copy it into the folder")
                shutil.copyfile(table, output / "treatment.csv")
        return ProcessedPatient(self.modalities, visits, record)

    def _visit(
        self, visit: RawVisit, root: Path, transforms: Callable, baseline: Scan | None
    ) -> tuple[Scan, VisitRecord]:
        files = find_files(visit.folder, root, self.file_names)
        missing = [name for name in self.modalities if name not in files]
        if missing:
            found = ", ".join(name for name in files if name not in (*MASKS, *TISSUE_MAPS)) or "none"
            raise InputError(f"'{visit.folder.name}': {', '.join(missing)} missing, found {found}; add the files")
        steps: list[str] = []
        # Every file is checked before MONAI opens any.
        raw = {name: _read(name, path, root) for name, path in files.items()}
        images = {name: preprocess(transforms, files[name]) for name in self.modalities if name != "DCE"}
        steps += [type(step).__name__ for step in getattr(transforms, "transforms", [transforms])]
        grid = common_grid(list(images.values())) if baseline is None else Grid(baseline.affine, baseline.shape)
        images |= {name: _check_quantity(name, raw[name]) for name in QUANTITATIVE if name in raw}
        within: dict[str, Placement] = {}
        if self.align_within_visit != "none":
            within = placements_within(images, deformable=self.align_within_visit == "deformable")
            steps += [f"{placement} of {name} onto {next(iter(images))}" for name, placement in within.items()]
        inputs = _Inputs(visit, files, raw, images, within)
        placement = Placement()
        if baseline is not None and self.registration != "none":
            placement = motion_since(baseline, images)
        scan, done = self._placed(inputs, grid, placement, baseline)
        if baseline is not None and self.registration == "deformable":
            # Where the tumour of this visit is must be known before the tissue around it can be bent.
            bent = deformation_since(baseline, scan, images, placement)
            placement = Placement((bent, *placement.steps))
            scan, done = self._placed(inputs, grid, placement, baseline)
        if placement.steps:
            steps.append(f"{placement} onto the baseline")
        steps += done
        if not scan.whole_tumor.any():
            if baseline is None:
                raise InputError(f"'{visit.folder.name}': empty tumour; check the images, or give a segmentation file")
            logger.warning("no tumour found on day %g", visit.day)
        originals = {name: Grid(raw[name].affine, raw[name].data.shape) for name in images}
        record = VisitRecord(visit.day, originals, {n: inputs.to_file(n, placement) for n in images}, tuple(steps))
        if baseline is None and (refined := self.anatomy.refined(scan)):
            maps = scan.tissue_maps | refined
            scan = Scan.with_maps(scan.affine, scan.images, scan.segmentation, scan.brain_mask, maps)
        return scan, record

    def _placed(
        self, inputs: "_Inputs", grid: Grid, placement: Placement, baseline: Scan | None
    ) -> tuple[Scan, list[str]]:
        """The visit on `grid`, segmented, and what was done in words."""
        visit, files, raw, images, _ = inputs
        steps = ["resampling onto the grid of the baseline, linear"]
        resampled = in_parallel(lambda n: _resampled(n, images[n], grid, inputs.to_file(n, placement)), images)
        on_grid = dict(zip(images, resampled, strict=True))
        masks = {name: onto(raw[name], grid, placement, order=0) for name in MASKS if name in raw}
        organ = self._organ(visit, masks, on_grid, grid, baseline)
        if self.bias_field:
            plain = [name for name in on_grid if name not in QUANTITATIVE]
            on_grid |= {name: without_bias_field(on_grid[name], organ) for name in plain}
            steps.append(f"N4 bias field correction of {', '.join(plain)}")
        maps = {
            name: _check_map(onto(raw[name], grid, placement), files[name].name, name)
            for name in TISSUE_MAPS
            if name in raw
        }
        if baseline is not None:
            maps = baseline.tissue_maps | maps
        elif not set(self.anatomy.maps) <= set(maps):
            logger.info("tissue maps by %s", type(self.anatomy).__name__)
            maps = self.anatomy.tissue(on_grid, grid.affine, organ) | maps
        seen = on_grid | {"segmentation": masks["segmentation"]} if "segmentation" in masks else on_grid
        segmentation = self.segmenter.segment(seen, grid.affine, organ)
        steps.append(f"segmentation by {type(self.segmenter).__name__}")
        return Scan.with_maps(grid.affine, on_grid, segmentation, organ, maps), steps

    def _organ(self, visit: RawVisit, masks, images, grid: Grid, baseline: Scan | None) -> np.ndarray:
        if "brain_mask" in masks:
            organ = masks["brain_mask"] > 0
        elif baseline is not None and baseline.brain_mask is not None:
            organ = baseline.brain_mask
        else:
            logger.info("no mask file of the organ: taking it from the images")
            organ = self.anatomy.organ(_plain_first(images), grid.affine)
        if not organ.any():
            raise InputError(f"'{visit.folder.name}': the brain mask is empty; check brain_mask and the images")
        return organ


class _Inputs(NamedTuple):
    """A visit before it is placed: its `files`, what they hold (`raw`), the images as they are used, and what leads
    from the space of the first image to that of others that were moved onto it (`within`)."""

    visit: RawVisit
    files: Mapping[str, Path]
    raw: Mapping[str, Image]
    images: Mapping[str, Image]
    within: Mapping[str, Placement]

    def to_file(self, name: str, placement: Placement) -> Placement:
        """From the processed space to that of one image's file."""
        return Placement((*placement.steps, *self.within.get(name, Placement()).steps))


def _resampled(name: str, image: Image, grid: Grid, placement: Placement) -> np.ndarray:
    outside = AIR_HU if name == "CT" else 0.0
    return onto(Image(image.data - np.float32(outside), image.affine), grid, placement) + np.float32(outside)


def _read(name: str, path: Path, root: Path) -> Image:
    return initial_enhancement(path, root=root) if name == "DCE" else read_nifti(path, root=root)


def _plain_first(images: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Images without physical units, which show anatomy; all where there are none."""
    plain = {name: image for name, image in images.items() if name not in QUANTITATIVE}
    return plain or dict(images)


def _check_quantity(name: str, image: Image) -> Image:
    positive = image.data[image.data > 0]
    median = float(np.median(positive)) if positive.size else 0.0
    if name == "ADC" and median > LARGEST_ADC:
        raise InputError(f"ADC must be in mm²/s (water 3e-3), its median is {median:g}; divide by 1e6 if in µm²/s")
    if name == "CT" and not image.data.min() < FAT_HU:
        raise InputError(f"CT must be in Hounsfield units (air -1000), its lowest is {image.data.min():g}; rescale it")
    return image


def _check_map(data: np.ndarray, file: str, name: str) -> np.ndarray:
    """Fractions are clipped to [0, 1]; what is relative to a mean is not negative."""
    if name in RELATIVE_MAPS:
        return np.maximum(data, 0)
    if data.min() < -1e-3 or data.max() > 1 + 1e-3:
        raise InputError(f"{file} must hold fractions from 0 to 1, found {data.min():g} to {data.max():g}; rescale it")
    return np.clip(data, 0, 1)


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
    arrays = {**scan.images, **scan.tissue_maps, **{name: getattr(scan, name) for name in MASKS}}
    for name in set(ALIASES) - set(arrays):
        (folder / f"{name}.nii.gz").unlink(missing_ok=True)
    in_parallel(lambda name: write_nifti(folder / f"{name}.nii.gz", arrays[name], scan.affine), arrays)
