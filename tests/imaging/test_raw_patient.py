"""From raw scans to a forecast on the grid of the scan, by the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dicom_series import affine_of, write_series
from phantom import grid, images, write_visit

from twinjax.core.errors import InputError
from twinjax.imaging import read_nifti
from twinjax.imaging.dicom import read_rtstruct, read_seg
from twinjax.patient import RawPatient

ROOT = Path(__file__).parents[2]
QUICK = (
    "calibrator=laplace",
    "calibration.until_day=20",
    "calibration.resolution_mm=4",
    "calibration.margin_mm=8",
    "model.resolution_mm=3",
    "imaging.registration=none",
    "forecast.horizon_days=45",
    "forecast.draws=10",
    "decision=null",
)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    for day, core_mm in ((0, 6.0), (20, 7.5), (40, 9.0)):
        write_visit(folder / f"day_{day:04d}", core_mm=core_mm, seed=day)
    return folder


def run(raw: Path, output: Path, *arguments: str):
    command = [sys.executable, "-m", "twinjax", "patient=raw_folder", f"patient.path={raw}", *QUICK, *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(ROOT / ".cache")}
    command.append(f"hydra.run.dir={output}")
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_raw_scans_become_a_forecast_on_their_own_grid(raw, tmp_path):
    done = run(raw, tmp_path / "out", "patient.patient_id=P1", "forecast.grid_of=FLAIR")
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["patient"] == "P1" and not results["synthetic"]
    affine, shape = grid((40, 40, 19), (1.5, 1.5, 3.0))
    density = read_nifti(tmp_path / "out" / "density_mean_day_0045.nii.gz")
    assert density.data.shape == shape
    np.testing.assert_allclose(density.affine, affine, atol=1e-4)
    # Where the last scan shows the tumour, the forecast has cells.
    flair = read_nifti(raw / "day_0040" / "FLAIR.nii.gz")
    oedema = flair.data > 880
    assert density.data[oedema].mean() > 5 * density.data[~oedema].mean()
    assert (tmp_path / "out" / "report.html").stat().st_size > 50_000


@pytest.fixture(scope="module")
def dicom(tmp_path_factory):
    """The same head as DICOM: oblique, with voxels of 0.9 x 1.4 x 3 mm, of three visits; series 2 is T1CE."""
    folder, shape = tmp_path_factory.mktemp("dicom"), (60, 40, 19)
    affine, centre = affine_of(), np.eye(4)
    centre[:3, 3] = (affine @ [*((np.asarray(shape) - 1) / 2), 1.0])[:3]
    names = {"T1": "T1 mprage", "T1CE": "T1 mprage post", "T2": "T2 tse", "FLAIR": "T2 FLAIR"}
    for date, core_mm in (("20240301", 6.0), ("20240321", 7.5), ("20240410", 9.0)):
        made = images(affine, shape, names=tuple(names), core_mm=core_mm, moved=centre)
        for number, (name, description) in enumerate(names.items(), start=1):
            voxels = np.clip(made[name], 0, 4000).astype(np.uint16)
            number += 10 * int(date[4:6] + date[6:])
            write_series(folder / date, voxels, number=number, description=description, date=date)
    return folder


@pytest.mark.thorough
def test_dicom_becomes_a_forecast_that_planning_systems_open(dicom, tmp_path):
    done = run(dicom, tmp_path / "out", "patient.patient_id=P1", "forecast.dicom_series=3012", "forecast.grid_of=T1CE")
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [row["day"] for row in results["scores_by_visit"] if row["held_out"]] == [40.0]
    density = read_nifti(tmp_path / "out" / "density_mean_day_0045.nii.gz")
    np.testing.assert_allclose(density.affine, affine_of(), atol=1e-4)
    regions = {
        "rtstruct": read_rtstruct(tmp_path / "out" / "forecast_regions.dcm", density.affine, density.data.shape),
        "seg": read_seg(tmp_path / "out" / "forecast_segmentation.dcm", density.affine, density.data.shape),
    }
    for masks in regions.values():
        whole = masks["forecast whole tumour"]
        assert density.data[whole].mean() > 0.3 > 3 * density.data[~whole].mean()
    # Nobody is named anywhere but in the files for the planning system.
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file() and path.suffix != ".dcm":
            assert b"Doe^Jane" not in path.read_bytes(), path.name
    assert "Doe" not in done.stdout + done.stderr


@pytest.mark.slow
def test_a_grid_that_is_not_there_is_refused_before_the_fit(raw, tmp_path):
    done = run(raw, tmp_path / "out", "forecast.grid_of=PET")
    assert done.returncode == 2
    assert "forecast.grid_of=PET: the baseline has ADC, FLAIR, T1, T1CE, T2" in done.stderr
    assert not (tmp_path / "out" / "posterior.nc").exists()


def test_a_folder_without_scans_is_refused(tmp_path):
    with pytest.raises(InputError, match="patient.path is not set"):
        RawPatient()
    with pytest.raises(InputError, match="no visit folders"):
        RawPatient(tmp_path)
