"""Sizes of a scanned tumour over time: what models without space are fitted to."""

import logging

import numpy as np

from twinjax.core.errors import InputError
from twinjax.imaging.features import Measured, find_lesions, measure_volume, recist_sum
from twinjax.imaging.scan import Scan
from twinjax.patient.clinical_course import ClinicalCourse
from twinjax.patient.patient import PatientData

log = logging.getLogger("twinjax")


def course_of_sizes(patient: PatientData, quantity: str) -> ClinicalCourse:
    """One size of the tumour at every visit, beside the laboratory values, with what the voxels leave open of it.

    One size, as two from one segmentation would count twice: `volume_mm3` (`measure_volume`), or
    `sum_of_diameters_mm` or `diameter_mm` (`recist_sum`, five lesions at most). Of the core where the baseline has one,
    else of the whole tumour. `ClinicalCourse.reading_error` is the root mean square of their relative standard
    deviations. For another quantity the laboratory values have to do.

    Raises `InputError` where there is neither.
    """
    course = patient.laboratory
    series = {} if course is None else {n: (days, course.entries(n)) for n, (days, _) in course.measurements.items()}
    error = {}
    if quantity in _SIZES:
        region = "core" if patient.baseline.scan.core.any() else "whole_tumor"
        found = [_SIZES[quantity](visit.scan, region) for visit in patient.visits]
        series[quantity] = (patient.days, [measured.value for measured in found])
        relative = [measured.standard_deviation / measured.value for measured in found if measured.value > 0]
        error[quantity] = float(np.sqrt(np.mean(np.square(relative))))
        log.info(
            "  %s of the %s on %d scans, known within %.1f %%",
            quantity,
            region.replace("_", " "),
            len(found),
            100 * error[quantity],
        )
    elif quantity not in series:
        raise InputError(
            f"the model starts from {quantity}, which scans do not show and no visit was measured for; give it as a "
            "laboratory value, or choose a model that starts from a size"
        )
    return ClinicalCourse(patient.patient_id, series, patient.regimen, source=patient.source, reading_error=error)


def _volume(scan: Scan, region: str) -> Measured:
    return measure_volume(getattr(scan, region), scan.affine)


def _diameters(scan: Scan, region: str) -> Measured:
    return recist_sum(find_lesions(getattr(scan, region), scan.affine))


_SIZES = {"volume_mm3": _volume, "sum_of_diameters_mm": _diameters, "diameter_mm": _diameters}
