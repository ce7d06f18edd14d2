"""The code of docs/dicom.md runs as written, and says what it lacks where the extra is not installed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from dicom_series import write_series

from twinjax.core.errors import MissingDependencyError
from twinjax.imaging.dicom import convert_dicom

PAGE = Path(__file__).parents[3] / "docs" / "dicom.md"


def test_documented_code_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_series(tmp_path / "patient_001_dicom")
    write_series(tmp_path / "patient_001_dicom", number=99)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(code, PAGE.name, "exec"), {})
    assert capsys.readouterr().out == "1 T1 mprage day_0000/T1.nii.gz\n99 T1 mprage left out: no rule matches\n"
    assert {path.name for path in tmp_path.glob("*.dcm")} == {"tumor_seg.dcm", "tumor_struct.dcm", "dose.dcm"}


def test_import_brings_no_dicom_package():
    # nibabel imports pydicom by itself where it is installed.
    code = "import sys, twinjax.imaging.dicom; print({'highdicom', 'SimpleITK'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("package", ["pydicom", "SimpleITK"])
def test_missing_package_names_the_extra(tmp_path, monkeypatch, package):
    write_series(tmp_path / "dicom")
    for name in [n for n in sys.modules if n.split(".")[0] == package]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=rf"needs {package}: pip install 'twinjax\[dicom,imaging\]'"):
        convert_dicom(tmp_path / "dicom", tmp_path / "out")
