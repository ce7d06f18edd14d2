"""The case of GliomaSolver (github.com/slitvinov/GliomaSolver).

`WM`, `GM`: white and grey matter, also inside the tumour; `tumFLAIR`: oedema, without the core; `tumT1c`: core, in
the labels 1 and 4 of GliODIL; `tumPET`: FET-PET scaled to a maximum of 1, 0 outside the tumour (optional).
"""

from pathlib import Path

from twinjax.imaging import labels
from twinjax.imaging.scan import Scan
from twinjax.patient.gliodil import read_labels
from twinjax.patient.patient import PatientData, single_scan
from twinjax.patient.reading import GridReader, case_folder


def load_gliomasolver(
    data_folder: str | Path | None = None, case: str = "glioma/gliomasolver_case", *, patient_id: str | None = None
) -> PatientData:
    """The folder `data_folder/case`: one visit on day 0, no treatment. White and grey matter make the brain mask."""
    _, folder = case_folder(data_folder, case)
    reader = GridReader(folder)
    segmentation = read_labels(reader, "tumT1c")
    flair = reader.required("tumFLAIR") > 0
    segmentation[(segmentation == labels.BACKGROUND) & flair] = labels.OEDEMA
    white, grey, brain_mask = reader.tissue("WM", "GM", "CSF")
    scan = Scan(reader.affine, reader.images({"FET": "tumPET"}), segmentation, brain_mask, white, grey)
    return single_scan(patient_id or folder.name, scan, {})
