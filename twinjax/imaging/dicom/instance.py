"""`Instance`: what the header of one DICOM file says, and nothing that names the patient."""

import datetime
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from twinjax.core.errors import InputError, TwinjaxError
from twinjax.imaging.dicom.dependency import require

# All that is read of a header. Of these PatientID and the UIDs are compared with each other, and dates subtracted;
# none of them is printed or written.
KEYWORDS = (
    *("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "FrameOfReferenceUID"),
    *("Modality", "SeriesNumber", "SeriesDescription", "ProtocolName", "ImageType", "ContrastBolusAgent"),
    *("EchoTime", "RepetitionTime", "InversionTime"),
    *("StudyDate", "SeriesDate", "SeriesTime", "ContentDate", "AcquisitionDate", "AcquisitionTime"),
    *("AcquisitionDateTime", "TriggerTime", "FrameReferenceTime", "TemporalPositionIdentifier", "TemporalResolution"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns"),
    *("NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "RescaleSlope", "RescaleIntercept", "RescaleType"),
    *("Units", "CorrectedImage", "DecayCorrection", "PatientWeight"),
)
# Of the first item of these sequences.
NESTED = {
    "RadiopharmaceuticalInformationSequence": (
        *("Radiopharmaceutical", "RadionuclideTotalDose", "RadionuclideHalfLife"),
        *("RadiopharmaceuticalStartTime", "RadiopharmaceuticalStartDateTime"),
    ),
    "RealWorldValueMappingSequence": ("RealWorldValueSlope", "RealWorldValueIntercept"),
}
MAGIC_OFFSET, MAGIC = 128, b"DICM"
DEFLATED = "1.2.840.10008.1.2.1.99"
DIRECTORY = "1.2.840.10008.1.3.10"
UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")


@dataclass(frozen=True, eq=False)
class Instance:
    """**Fields:** `path`; `file`, its name relative to the folder; `header`, keyword to value for those of `KEYWORDS`
    that are there and well formed; `transfer_syntax`; `pixel_bytes`, what follows the header in the file; `frame`, its
    number in a multi-frame file, from 0, or None."""

    path: Path
    file: str
    header: dict[str, Any]
    transfer_syntax: str
    pixel_bytes: int
    frame: int | None = None

    def text(self, keyword: str) -> str:
        """The value as one printable line of at most 64 characters; empty where it is missing."""
        value = self.header.get(keyword)
        items = [value] if isinstance(value, str) or not hasattr(value, "__iter__") else value
        line = " ".join("" if item is None else str(item) for item in items or [])
        return "".join(c if c.isprintable() else " " for c in line).strip()[:64]

    def numbers(self, keyword: str, count: int) -> np.ndarray:
        """(count,) finite numbers; `InputError` where the value is missing or another."""
        try:
            values = np.atleast_1d(np.asarray(self.header[keyword], dtype=float))
        except (KeyError, ValueError, TypeError):
            values = np.full(0, np.nan)
        if values.shape != (count,) or not np.isfinite(values).all():
            raise InputError(f"{self.file}: {keyword} is missing or malformed; export the file again or remove it")
        return values

    def number(self, keyword: str, default: float | None = None) -> float:
        """One finite number, `default` (if not None) where it is missing; `InputError` otherwise."""
        if default is not None and keyword not in self.header:
            return default
        return float(self.numbers(keyword, 1)[0])

    def moment(self, date: str, time: str) -> datetime.datetime | None:
        """Date and time of two keywords; None where one is missing or malformed."""
        return parse_moment(self.text(date) + self.text(time)) if self.text(date) and self.text(time) else None


def parse_moment(text: str) -> datetime.datetime | None:
    """A DICOM date and time, `YYYYMMDD` and then `HHMMSS.FFFFFF` or less; the offset from UTC is dropped."""
    text = text.replace(":", "").split("+")[0].split("-")[0]
    whole, _, fraction = text.partition(".")
    try:
        moment = datetime.datetime.strptime(whole.ljust(14, "0"), "%Y%m%d%H%M%S")
        return moment + datetime.timedelta(seconds=float(f"0.{fraction or 0}"))
    except ValueError:
        return None


def has_magic(path: Path) -> bool:
    """Whether a file starts as DICOM files do."""
    with path.open("rb") as file:
        return file.read(MAGIC_OFFSET + len(MAGIC))[MAGIC_OFFSET:] == MAGIC


@contextmanager
def quiet() -> Iterator[None]:
    """pydicom warns of malformed values and quotes them: names and numbers of the patient among them."""
    with warnings.catch_warnings(), require("pydicom.config").disable_value_validation():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def refused_as(message: str) -> Iterator[None]:
    """Whatever a reader raises over a damaged file is one `InputError` with this message.

    Everything, and without the cause: readers raise what they like, and quote values of the header in it. Errors of
    twinjax itself pass.
    """
    try:
        with quiet():
            yield
    except TwinjaxError:
        raise
    except Exception:
        raise InputError(message) from None


def read_dataset(path: Any, file: str, **options: Any) -> Any:
    """`pydicom.dcmread` of a path or an open file; `InputError` for a file that is broken."""
    pydicom = require("pydicom")
    with refused_as(f"{file} is corrupt or truncated; export or download it again"):
        return pydicom.dcmread(path, **options)


def read_instance(path: Path, file: str) -> Instance | None:
    """Read the header of one DICOM file; None for a DICOMDIR. Raises `InputError` for a file that is broken."""
    filereader = require("pydicom.filereader")
    with refused_as(f"{file} is corrupt or truncated; export or download it again"):
        meta = filereader.read_file_meta_info(path)
        syntax, kind = str(meta.get("TransferSyntaxUID", "")), str(meta.get("MediaStorageSOPClassUID", ""))
    if kind == DIRECTORY:
        return None
    if syntax == DEFLATED:
        raise InputError(f"{file} is deflated, which hides its size; export it uncompressed")
    with path.open("rb") as opened:
        options: Any = {"stop_before_pixels": True, "specific_tags": [*KEYWORDS, *NESTED]}
        dataset = read_dataset(opened, file, **options)
        pixel_bytes = path.stat().st_size - opened.tell()
    return Instance(path, file, header_of(dataset), syntax, pixel_bytes)


def header_of(dataset: Any) -> dict[str, Any]:
    """What `Instance.header` has of a dataset, or of an item of a sequence."""
    header = values_of(dataset, KEYWORDS)
    for sequence, keywords in NESTED.items():
        header |= values_of(first_item(dataset, sequence), keywords)
    units = first_item(first_item(dataset, "RealWorldValueMappingSequence"), "MeasurementUnitsCodeSequence")
    return header | {f"RealWorld{key}": value for key, value in values_of(units, ("CodeValue",)).items()}


def first_item(dataset: Any, sequence: str) -> Any:
    try:
        return dataset[sequence].value[0]
    except (KeyError, IndexError, TypeError):
        return None


def values_of(dataset: Any, keywords: tuple[str, ...]) -> dict[str, Any]:
    values = {}
    for keyword in keywords:
        try:
            with refused_as(keyword):
                value = dataset.get(keyword) if dataset is not None else None
        except InputError:
            # Malformed counts as missing: whoever needs the value says so.
            continue
        if value not in (None, "") and value != []:
            values[keyword] = value
    return values
