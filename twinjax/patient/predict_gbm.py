"""Patients of PREDICT-GBM (arXiv 2509.13360, github.com/BrainLesion/PredictGBM), in its two layouts.

Data set, with `skull_stripped/brain_mask` (also in `ses-preop`) and `standard_plan` optional:

    ID/ses-preop/tissue_segmentation/{wm,gm,csf}_pbmap.nii.gz
    ID/ses-preop/tumor_segmentation/{tumor_seg,standard_plan}.nii.gz
    ID/ses-followup/longitudinal/recurrence_preop.nii.gz

Input of a model container, `pet` optional:

    Patient-00000/00000-{gm,wm,csf,tumorseg,pet}.nii.gz

Labels: 1 necrotic, 2 oedema, 3 enhancing, 4 cavity.
"""

from pathlib import Path

import numpy as np

from twinjax.core.errors import InputError
from twinjax.imaging import labels
from twinjax.imaging.scan import Scan
from twinjax.patient.patient import PatientData, single_scan
from twinjax.patient.reading import GridReader, require_folder

PREOP = "ses-preop"
RECURRENCE = "ses-followup/longitudinal/recurrence_preop"


def load_predict_gbm(path: str | Path | None = None, *, patient_id: str | None = None) -> PatientData:
    """One patient's folder in either layout: one visit on day 0, no treatment.

    `extras`: `recurrence` (labels 1 to 3), `recurrence_enhancing` (label 3) and `standard_plan` (bool), where
    there are files. Without a brain mask the brain is where the tissue fractions add up to at least one half.
    """
    folder = require_folder(path, "patient.path")
    reader = GridReader(folder)
    patient_id = patient_id or folder.resolve().name
    if not (folder / PREOP).is_dir():
        files = sorted(folder.glob("*-tumorseg.nii.gz"))
        if len(files) != 1:
            raise InputError(f"'{folder.name}' has neither {PREOP}/ nor one file NUMBER-tumorseg.nii.gz")
        number = files[0].name.removesuffix("-tumorseg.nii.gz")
        segmentation = reader.segmentation(f"{number}-tumorseg", "brats2023")
        white, grey, brain = reader.tissue(f"{number}-wm", f"{number}-gm", f"{number}-csf")
        scan = Scan(reader.affine, reader.images({"FET": f"{number}-pet"}), segmentation, brain, white, grey)
        return single_scan(patient_id, scan, {})
    segmentation = reader.segmentation(f"{PREOP}/tumor_segmentation/tumor_seg", "brats2023")
    white, grey, brain = reader.tissue(*(f"{PREOP}/tissue_segmentation/{name}_pbmap" for name in ("wm", "gm", "csf")))
    skull_stripped = reader.mask(f"{PREOP}/skull_stripped/brain_mask")
    extras = {"standard_plan": reader.mask(f"{PREOP}/tumor_segmentation/standard_plan")}
    if reader.find(RECURRENCE) is not None:
        later = reader.segmentation(RECURRENCE, "brats2023")
        extras |= {"recurrence": np.isin(later, labels.WHOLE_TUMOR), "recurrence_enhancing": later == labels.ENHANCING}
    scan = Scan(reader.affine, {}, segmentation, brain if skull_stripped is None else skull_stripped, white, grey)
    return single_scan(patient_id, scan, extras)
