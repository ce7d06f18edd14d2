"""Folders of GliODIL and of SBTC (spatial brain tumour concentration estimation), which share file names.

    segm.nii.gz            1 enhancing, 3 oedema, 4 necrotic, before surgery
    segm_rec.nii.gz        later recurrence on the same grid, > 0 (optional)
    FET.nii.gz             FET-PET, arbitrary scale (optional)
    t1_wm, t1_gm, t1_csf   tissue fractions (GliODIL)
    brainMask.nii.gz       brain (SBTC); tissue then comes from an atlas
    standardPlan.nii.gz    the uniform 15 mm plan (SBTC, optional)

GliODIL: github.com/m1balcerak/GliODIL; SBTC: github.com/jonasw247/spatial-brain-tumor-concentration-estimation.
"""

import logging
from pathlib import Path

import numpy as np

from twinjax.core.errors import InputError
from twinjax.imaging import labels
from twinjax.imaging.scan import Scan
from twinjax.patient.patient import PatientData, single_scan
from twinjax.patient.reading import GridReader, case_folder, inside, require_folder

logger = logging.getLogger(__name__)

# A handful of voxels carry label 2, which these sets do not define; many of them are another convention.
STRAY_LABEL, STRAY_LIMIT = 2, 1e-3


def load_gliodil(path: str | Path | None = None, *, patient_id: str | None = None) -> PatientData:
    """A GliODIL folder: one visit on day 0, no treatment; `extras["recurrence"]` where it was segmented."""
    folder = require_folder(path, "patient.path")
    reader = GridReader(folder)
    segmentation = read_labels(reader, "segm")
    white, grey, brain_mask = reader.tissue("t1_wm", "t1_gm", "t1_csf")
    return _patient(patient_id or folder.resolve().name, reader, segmentation, brain_mask, white, grey)


def load_sbtc(
    data_folder: str | Path | None = None,
    case: str = "glioma/sbtc_001",
    tissue_file: str = "glioma/sri24_atlas/sub-mni152_tissue-with-antsN4_space-sri.nii.gz",
    *,
    patient_id: str | None = None,
) -> PatientData:
    """An SBTC folder `data_folder/case` with the tissue of an atlas: one visit on day 0, no treatment.

    `tissue_file` (in `data_folder`) has the labels 0 outside, 1 CSF, 2 grey, 3 white matter, in the same patient
    space; its affine brings it onto the patient's grid. The atlas is not deformed to the patient, so tumour that
    it does not call tissue counts as grey matter. `extras`: `recurrence`, `standard_plan`, where there are files.
    """
    root, folder = case_folder(data_folder, case)
    reader = GridReader(folder)
    segmentation = read_labels(reader, "segm")
    brain_mask = reader.required("brainMask") > 0
    tissue_path = inside(root, tissue_file)
    if not tissue_path.is_file():
        raise InputError(f"the tissue file '{tissue_file}' does not exist in the data folder")
    white, grey = reader.tissue_labels(tissue_path)
    grey[np.isin(segmentation, labels.WHOLE_TUMOR) & (white == 0)] = 1
    return _patient(patient_id or folder.name, reader, segmentation, brain_mask, white, grey)


def read_labels(reader: GridReader, name: str) -> np.ndarray:
    """(X, Y, Z) int8 in internal labels from a file of GliODIL's convention, stray labels as oedema."""
    found = reader.required(name)
    stray = found == STRAY_LABEL
    if 0 < stray.sum() <= STRAY_LIMIT * np.sum(found > 0):
        # Not core, so that the core and the plan around it stay those of the published labels 1 and 4.
        logger.warning("%s: %d voxels with the undefined label %d count as oedema", name, stray.sum(), STRAY_LABEL)
        found = np.where(stray, 3, found)
    return labels.to_internal(found, "gliodil", source=name)


def _patient(patient_id: str, reader: GridReader, segmentation, brain_mask, white, grey) -> PatientData:
    extras = {"recurrence": reader.mask("segm_rec"), "standard_plan": reader.mask("standardPlan")}
    scan = Scan(reader.affine, reader.images({"FET": "FET"}), segmentation, brain_mask, white, grey)
    return single_scan(patient_id, scan, extras)
