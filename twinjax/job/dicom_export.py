"""What is forecast, as DICOM that planning systems open."""

import logging

import numpy as np

from twinjax.core.errors import InputError
from twinjax.imaging.dicom import write_rtdose, write_rtstruct, write_seg
from twinjax.imaging.dicom.source import read_source
from twinjax.imaging.scan import REGIONS
from twinjax.job.output import Run
from twinjax.patient import PatientData
from twinjax.twin import Forecast

log = logging.getLogger("twinjax")


def check_dicom_series(run: Run, series_number: int | None) -> None:
    """`InputError` where a series is asked for that the patient's scans do not have; before anything is computed."""
    if series_number is None:
        return
    if run.dicom_source is None:
        raise InputError("forecast.dicom_series needs patient=raw_folder with a folder of DICOM files; set it to null")
    read_source(run.dicom_source, series_number)


def export_dicom(run: Run, patient: PatientData, prediction: Forecast, series_number: int) -> None:
    """Write the last day of a forecast on the slices of a series of the patient's own DICOM folder.

    `forecast_regions.dcm` (RTSTRUCT) and `forecast_segmentation.dcm` (SEG) hold the regions that are more likely seen
    than not, `forecast_probability.dcm` (RTDOSE, relative) the probability of visible tumour. **They carry the
    patient's name and number, copied from the series**, as planning systems need. Nothing is written where no tumour
    is likely to be seen.
    """
    assert run.dicom_source is not None
    scan, domain = patient.baseline.scan, prediction.domain

    def on_scan(field: np.ndarray) -> np.ndarray:
        return domain.to_grid(np.asarray(field, np.float32), scan.affine, scan.shape)

    shares = {label: on_scan(prediction.visible_probability[region][-1]) for region, label in REGIONS.items()}
    masks = {f"forecast {label}": share >= 0.5 for label, share in shares.items() if (share >= 0.5).any()}
    if not masks:
        raise InputError(
            "forecast.dicom_series: no tumour is forecast to be visible, so that there is nothing to write"
        )
    for name, write in (("regions", write_rtstruct), ("segmentation", write_seg)):
        write(run.folder / f"forecast_{name}.dcm", masks, scan.affine, run.dicom_source, series_number=series_number)
    probability = np.clip(shares[REGIONS["whole_tumor"]], 0, 1)
    write_rtdose(
        run.folder / "forecast_probability.dcm",
        probability,
        scan.affine,
        run.dicom_source,
        series_number=series_number,
        units="RELATIVE",
        description=f"Probability of visible tumour, day {prediction.times[-1]:g}",
    )
