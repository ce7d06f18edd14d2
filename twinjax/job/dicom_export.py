"""What is forecast, as DICOM that planning systems open."""

import logging

import numpy as np

from twinjax.core.errors import InputError
from twinjax.imaging.dicom import Source, read_source, write_rtdose, write_rtstruct, write_seg
from twinjax.imaging.scan import REGIONS
from twinjax.job.output import Run
from twinjax.patient import PatientData
from twinjax.twin import Forecast

log = logging.getLogger("twinjax")


def source_of(patient: PatientData, series_number: int | None) -> Source | None:
    """The series of the patient's DICOM folder to write on; None for no number.

    Raises `InputError` where the scans were no DICOM, the series is not there, or is not of the baseline, in whose
    space a forecast lies.
    """
    if series_number is None:
        return None
    if patient.dicom_folder is None:
        raise InputError("forecast.dicom_series needs patient=raw_folder with a folder of DICOM files; set it to null")
    source = read_source(patient.dicom_folder, series_number)
    if source.day:
        raise InputError(f"forecast.dicom_series={series_number} is of day {source.day}; choose one of the baseline")
    return source


def export_dicom(run: Run, patient: PatientData, prediction: Forecast, source: Source) -> None:
    """Write the last day of a forecast on the slices of a series of the patient's own.

    `forecast_regions.dcm` (RTSTRUCT) and `forecast_segmentation.dcm` (SEG) hold the regions that are more likely seen
    than not, `forecast_probability.dcm` (RTDOSE, relative) the probability of visible tumour. **They carry the
    patient's name and number, copied from the series**, as planning systems need. Regions that no voxel is likely to
    show are left out.
    """
    scan, domain = patient.baseline.scan, prediction.domain
    shares = {
        label: domain.to_grid(prediction.visible_probability[region][-1], scan.affine, scan.shape)
        for region, label in REGIONS.items()
    }
    masks = {f"forecast {label}": share >= 0.5 for label, share in shares.items() if (share >= 0.5).any()}
    if masks:
        write_rtstruct(run.folder / "forecast_regions.dcm", masks, scan.affine, source)
        write_seg(run.folder / "forecast_segmentation.dcm", masks, scan.affine, source)
    else:
        log.warning("no tumour is likely to be seen on day %g: no regions as DICOM", prediction.times[-1])
    write_rtdose(
        run.folder / "forecast_probability.dcm",
        np.clip(shares[REGIONS["whole_tumor"]], 0, 1),
        scan.affine,
        source,
        units="RELATIVE",
        description=f"Probability of visible tumour, day {prediction.times[-1]:g}",
    )
