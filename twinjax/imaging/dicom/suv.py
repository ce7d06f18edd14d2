"""Standardised uptake value of PET by body weight."""

import datetime

from twinjax.core.errors import InputError
from twinjax.imaging.dicom.instance import parse_moment
from twinjax.imaging.dicom.series import Series


def body_weight_suv_factor(
    weight_kg: float, injected_dose_bq: float, half_life_s: float, decay_time_s: float = 0.0
) -> float:
    """What a concentration in Bq/mL is multiplied by to give SUV (g/mL).

    SUV = c · w / (A · 2^(−t/T)): activity concentration c, body weight w in g, injected activity A, half-life T, and
    the time t from injection to the instant that c is corrected to: 0 where it is corrected to the injection.

    Source: QIBA Profile FDG-PET/CT, SUV by body weight ("SUVbw"), vendor-neutral pseudo-code.
    """
    return weight_kg * 1000 / (injected_dose_bq * 2 ** (-decay_time_s / half_life_s))


def suv_factor(series: Series) -> float:
    """The factor from the voxels of a PET series to SUV by body weight.

    Units `GML` are SUV already. `BQML` takes PatientWeight and the dose, half-life and time of the injection, and
    DecayCorrection (DICOM PS3.3 C.8.9.1): `ADMIN` is corrected to the injection, `START` to the start of the series.
    Of enhanced files it is DecayCorrectionDateTime (PS3.3 C.8.22.6).
    That start is the series time, or the earliest acquisition where the series was made later, in post-processing;
    private elements are not read.

    Raises `InputError` naming the header value that is missing or not supported.
    """
    first, label = series.first, series.label
    hint = "add it to the header, or set suv: false in its rule to keep the values as they are"
    units = first.text("Units")
    if units == "GML":
        return 1.0
    if units != "BQML":
        raise InputError(f"{label}: PET in Units '{units}' gives no SUV, only BQML and GML do; export it in Bq/mL")
    corrections = first.header.get("CorrectedImage", [])
    corrections = [corrections] if isinstance(corrections, str) else list(corrections)
    for needed in ("ATTN", "DECY"):
        if needed not in corrections:
            raise InputError(f"{label}: CorrectedImage lacks {needed}, without which there is no SUV; {hint}")
    values = []
    for keyword in ("PatientWeight", "RadionuclideTotalDose", "RadionuclideHalfLife"):
        values.append(first.number(keyword, 0.0))
        if values[-1] <= 0:
            raise InputError(f"{label}: {keyword} is missing or not positive, so there is no SUV; {hint}")
    # Enhanced files give the instant itself.
    decay = "START" if "DecayCorrectionDateTime" in first.header else first.text("DecayCorrection")
    if decay not in ("START", "ADMIN"):
        raise InputError(f"{label}: DecayCorrection '{decay}' gives no SUV, only START and ADMIN do; {hint}")
    (weight, dose, half_life), elapsed = values, 0.0
    if decay == "START":
        elapsed = _seconds_since_injection(series, hint)
        # Ten half-lives leave a thousandth: times that far apart are wrong.
        if not 0 <= elapsed <= 10 * half_life:
            raise InputError(f"{label}: the scan starts {elapsed:.0f} s after the injection; correct its times")
    return body_weight_suv_factor(weight, dose, half_life, elapsed)


def _seconds_since_injection(series: Series, hint: str) -> float:
    instant = parse_moment(series.first.text("DecayCorrectionDateTime"))
    candidates = [series.first.moment("SeriesDate", "SeriesTime")] if instant is None else [instant]
    if instant is None:
        candidates += [instance.moment("AcquisitionDate", "AcquisitionTime") for instance in series.instances]
    starts = [moment for moment in candidates if moment is not None]
    if not starts:
        raise InputError(f"{series.label}: SeriesTime and AcquisitionTime are missing, so there is no SUV; {hint}")
    start = min(starts)
    injection = parse_moment(series.first.text("RadiopharmaceuticalStartDateTime"))
    if injection is None and series.first.text("RadiopharmaceuticalStartTime"):
        injection = parse_moment(start.strftime("%Y%m%d") + series.first.text("RadiopharmaceuticalStartTime"))
        # A time without a date: after midnight the injection was the day before.
        if injection is not None and injection > start:
            injection -= datetime.timedelta(days=1)
    if injection is None:
        raise InputError(f"{series.label}: RadiopharmaceuticalStartTime is missing, so there is no SUV; {hint}")
    return (start - injection).total_seconds()
