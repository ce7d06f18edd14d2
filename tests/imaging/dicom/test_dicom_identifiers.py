"""What names a patient stays in the DICOM files: nothing of it in outputs, logs or errors."""

import gzip
import logging
import traceback
from typing import Any

import numpy as np
import pytest
from dicom_series import PET_HEADER, SHAPE, affine_of, change, write_enhanced, write_series
from pydicom.config import disable_value_validation

from twinjax.core.errors import InputError
from twinjax.imaging.dicom import convert_dicom, read_source, write_rtstruct

SECRET = "ZQXJ"
# Also of a wrong kind or length, so that a library may be tempted to quote them.
IDENTIFIERS: dict[str, Any] = {
    **dict.fromkeys(["PatientName", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName"], f"{SECRET} A"),
    **dict.fromkeys(["PatientAddress", "PatientComments", "PatientTelephoneNumbers", "OtherPatientIDs"], SECRET),
    **dict.fromkeys(["ReferringPhysicianName", "PerformingPhysicianName", "OperatorsName"], f"{SECRET} B"),
    **dict.fromkeys(["InstitutionName", "InstitutionAddress", "RequestingPhysician", "StudyDescription"], SECRET),
    **dict.fromkeys(["AdditionalPatientHistory", "ImageComments", "ClinicalTrialSubjectID"], SECRET),
    **dict.fromkeys(["AccessionNumber", "StudyID", "StationName", "DeviceSerialNumber"], SECRET * 12),
    "PatientID": f"{SECRET}-4711",
    "PatientBirthDate": f"{SECRET}1950",
    "StudyDate": "20371231",
    "SeriesDate": "20371231",
    "StudyInstanceUID": f"1.2.{SECRET}",
    "FrameOfReferenceUID": f"1.2.{SECRET}.5",
    "StudyTime": SECRET,
    "RequestAttributesSequence": {"RequestedProcedureDescription": SECRET},
}
MARKS = [mark.encode(code) for mark in (SECRET, "20371231", "2037-12-31") for code in ("ascii", "utf-16-le")]


def write_named(folder, **options):
    with disable_value_validation():
        return write_series(folder, **(IDENTIFIERS | options))


def leaks(*texts: bytes) -> list[bytes]:
    return [mark for text in texts for mark in MARKS if mark in text]


@pytest.mark.filterwarnings("error")
def test_no_identifier_in_outputs_or_logs(tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    write_named(tmp_path / "dicom")
    write_named(tmp_path / "dicom", voxels=np.ones((4, 4, 3, 2), np.uint16), number=2, description="DCE")
    write_named(tmp_path / "dicom", modality="PT", number=3, description="FET", **PET_HEADER)
    write_named(tmp_path / "dicom", number=4, description="bold")
    with disable_value_validation():
        write_enhanced(tmp_path / "dicom" / "frames", description="T2", **(IDENTIFIERS | {"SeriesNumber": 5}))
    mask = np.ones(SHAPE, bool)
    write_rtstruct(tmp_path / "dicom" / "x.dcm", {"GTV": mask}, affine_of(), read_source(tmp_path / "dicom", 1))
    done = convert_dicom(tmp_path / "dicom", tmp_path / "out")
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {
        "T1.nii.gz",
        "T2.nii.gz",
        "DCE.nii.gz",
        "DCE.json",
        "FET.nii.gz",
        "segmentation.nii.gz",
    }
    contents = [_unpacked(path) for path in files]
    printed = capfd.readouterr()
    texts = [str(done), caplog.text, printed.out, printed.err, *map(str, files)]
    assert leaks(*contents, *(text.encode() for text in texts)) == []
    assert "series 1" in caplog.text


def _unpacked(path) -> bytes:
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content


BREAKAGES = {
    "truncated": lambda files: files[2].write_bytes(files[2].read_bytes()[:-40]),
    "cut header": lambda files: files[2].write_bytes(files[2].read_bytes()[:600]),
    "gap": lambda files: files[2].unlink(),
    "one slice": lambda files: [path.unlink() for path in files[1:]],
    "duplicate": lambda files: (files[2].parent / "copy").write_bytes(files[2].read_bytes()),
    "number": lambda files: change(files[2], ImagePositionPatient=None),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_no_identifier_in_errors(tmp_path, breakage, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    files = write_named(tmp_path / "dicom")
    with disable_value_validation():
        BREAKAGES[breakage](files)
    with pytest.raises(InputError) as caught:
        convert_dicom(tmp_path / "dicom", tmp_path / "out")
    printed = capfd.readouterr()
    shown = "".join(traceback.format_exception(caught.value)), caplog.text, printed.out, printed.err
    assert leaks(*(text.encode() for text in shown)) == []


@pytest.mark.parametrize("broken", [{"NumberOfFrames": 9}, {"Rows": 60_000}, {"SharedFunctionalGroupsSequence": None}])
def test_no_identifier_in_errors_of_frames(tmp_path, broken, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    with disable_value_validation():
        write_enhanced(tmp_path / "dicom" / "e", **(IDENTIFIERS | broken))
    with pytest.raises(InputError) as caught:
        convert_dicom(tmp_path / "dicom", tmp_path / "out")
    printed = capfd.readouterr()
    texts = [*traceback.format_exception(caught.value), caplog.text, printed.out, printed.err]
    assert leaks(*(text.encode() for text in texts)) == []
