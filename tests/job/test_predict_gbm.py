"""PREDICT-GBM's interface, as its containers are called: on a small synthetic patient and a broken one."""

import nibabel
import numpy as np
import pytest
import test_single_scan_job as ball
from hydra import compose, initialize_config_dir

from twinjax.core.config import conf_dir
from twinjax.core.errors import IncompleteCohort, InputError
from twinjax.job.predict_gbm import predict_densities

QUICK = ["calibrator=laplace", "calibrator.max_steps=15", "calibrator.draws=100", "forecast.draws=10"]
QUICK += ["calibration.resolution_mm=4.0"]


def config_of(path, *overrides):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("config", ["patient=predict_gbm", *QUICK, *overrides])
    config.patient.path = path
    return config


@pytest.mark.thorough
def test_a_density_for_every_patient_and_a_broken_one_is_told(tmp_path):
    scan = ball.patient().visits[0].scan
    images = {
        "wm": scan.white_matter,
        "gm": scan.grey_matter,
        "csf": np.zeros(scan.shape),
        "tumorseg": scan.segmentation,
    }
    folder = tmp_path / "in" / "Patient-00000"
    folder.mkdir(parents=True)
    for name, values in images.items():
        nibabel.save(nibabel.Nifti1Image(np.asarray(values, np.float32), scan.affine), folder / f"00000-{name}.nii.gz")
    (tmp_path / "in" / "Patient-00001").mkdir()
    with pytest.raises(IncompleteCohort, match="1 of 2 patients have no density: Patient-00001"):
        predict_densities(tmp_path / "in", tmp_path / "out", config_of)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["00000.nii.gz"]
    image = nibabel.load(tmp_path / "out" / "00000.nii.gz")
    density = image.get_fdata()
    np.testing.assert_allclose(image.affine, scan.affine)
    assert density.shape == scan.shape and density.min() >= 0 and density.max() <= 1
    assert density[scan.core].mean() > 0.5 and density[0].mean() < 0.1
    # What is there is not done again.
    (tmp_path / "in" / "Patient-00001").rmdir()
    before = (tmp_path / "out" / "00000.nii.gz").stat().st_mtime_ns
    assert predict_densities(tmp_path / "in", tmp_path / "out", config_of) == [tmp_path / "out" / "00000.nii.gz"]
    assert (tmp_path / "out" / "00000.nii.gz").stat().st_mtime_ns == before


def test_a_folder_without_patients_is_refused(tmp_path):
    with pytest.raises(InputError, match="has no folder Patient-NUMBER"):
        predict_densities(tmp_path, tmp_path / "out", config_of)


def test_a_model_that_is_none_of_one_scan_is_refused_before_any_patient(tmp_path):
    (tmp_path / "Patient-00000").mkdir()
    with pytest.raises(InputError, match="leave model out"):
        predict_densities(tmp_path, tmp_path / "out", lambda path: config_of(path, "model=lung"))
    assert not (tmp_path / "out").exists()
