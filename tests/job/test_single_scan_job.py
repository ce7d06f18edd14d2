"""The single-scan job from end to end, on a small patient in memory (synthetic)."""

import json

import nibabel
import numpy as np
import pytest

from twinjax.calibration import LevenbergMarquardt
from twinjax.core.config import load_named
from twinjax.core.errors import InputError
from twinjax.imaging import Scan
from twinjax.job import JobSettings, Run, run_single_scan
from twinjax.model import FisherKPP, UntimedFisherKPP
from twinjax.patient import PatientData, Visit
from twinjax.twin import TargetQuestion

SHAPE = (22, 20, 20)
AFFINE = np.diag([-2.0, 2.0, 2.0, 1.0])


def patient(**maps) -> PatientData:
    """A ball of core and oedema in a block of white matter of 4 cm."""
    distance = 2 * np.linalg.norm(np.indices(SHAPE) - np.reshape([10, 9, 9], (3, 1, 1, 1)), axis=0)
    labels = np.select([distance < 8, distance < 12], [3, 2]).astype(np.int8)
    tissue = {"white_matter": np.full(SHAPE, 0.9, np.float32), "grey_matter": np.full(SHAPE, 0.1, np.float32)}
    tissue |= {"brain_mask": np.ones(SHAPE, bool)} | maps
    scan = Scan(AFFINE, {"T1CE": np.exp(-distance / 8).astype(np.float32)}, labels, **tissue)
    recurrence = (distance > 8) & (distance < 14)
    return PatientData.from_visits(
        "ball", [Visit(0, scan)], source="synthetic", extras={"recurrence": recurrence.astype(np.float32)}
    )


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """`(patient, run, results)` of the job."""
    run, ball = Run(tmp_path_factory.mktemp("single") / "output", stages=5), patient()
    results = run_single_scan(
        run,
        ball,
        UntimedFisherKPP(ball.brain_mask, resolution_mm=4.0),
        load_named("prior", "glioblastoma_single_scan"),
        LevenbergMarquardt(max_steps=15, draws=100),
        JobSettings(resolution_mm=4.0, margin_mm=32.0, max_step=0.025, draws=10),
        question=TargetQuestion(margin_mm=4.0),
        solver=load_named("solver", "strang_long_step"),
    )
    return ball, run, results


@pytest.mark.thorough
def test_all_files_are_there(job):
    fields = ["density_mean", "density_std", "dose_painted", "plan_model", "plan_standard"]
    fields += ["target_mean", "target_standard", "target_tail"]
    others = ["features.csv", "identifiability.csv", "metrics.csv", "parameters.csv", "posterior.nc"]
    others += ["recommendation.csv", "report.html", "report.json", "results.json"]
    assert sorted(path.name for path in job[1].folder.iterdir()) == sorted([*(f"{f}.nii.gz" for f in fields), *others])
    for name in fields:
        image = nibabel.load(job[1].folder / f"{name}.nii.gz")
        assert image.shape == SHAPE
        np.testing.assert_allclose(image.affine, AFFINE)


@pytest.mark.thorough
def test_plans_hold_the_same_volume_and_the_core(job):
    plans = {
        name: nibabel.load(job[1].folder / f"plan_{name}.nii.gz").get_fdata() > 0 for name in ("standard", "model")
    }
    assert plans["standard"].sum() == plans["model"].sum() > job[0].visits[0].scan.core.sum()
    assert plans["model"][job[0].visits[0].scan.core].mean() > 0.95


@pytest.mark.thorough
def test_fit_shows_the_scan(job):
    metrics = {row["metric"]: row["value"] for row in job[2]["metrics"]}
    assert metrics["Dice of the fit, core"] > 0.6 and metrics["Dice of the fit, whole tumour"] > 0.6
    assert metrics["centre-of-mass distance of the fit, core"] < 4
    assert 0 < metrics["recurrence inside the model plan"] <= 100
    assert all(np.isfinite(value) for value in metrics.values())


@pytest.mark.thorough
def test_rates_follow_from_the_front_speed(job):
    mode = {row["parameter"]: row["map"] for row in job[2]["parameters"]}
    for row in job[2]["rates_for_front_speeds"]:
        diffusivity, rate = row["diffusivity_mm2_day"], row["proliferation_rate_per_day"]
        assert np.isclose(2 * np.sqrt(diffusivity * rate), row["front_speed_mm_day"])
        assert np.isclose(np.sqrt(diffusivity / rate), mode["front_width"])


@pytest.mark.thorough
def test_a_target_is_sought_and_scored_on_the_recurrence(job):
    found = json.loads((job[1].folder / "results.json").read_text(encoding="utf-8"))["recommendation"]
    assert [row["region"] for row in found["recurrence_covered"]] == ["recurrence"]
    assert all(0 < found["recurrence_covered"][0][name] < 1 for name in ("standard", "mean", "tail"))
    assert "every draw has the same radiosensitivity" in found["doubts"][0]
    assert "Recommended radiotherapy target" in (job[1].folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.thorough
def test_results_say_synthetic_and_the_time(job):
    results = json.loads((job[1].folder / "results.json").read_text(encoding="utf-8"))
    assert results["synthetic"] is True
    assert list(results["seconds"]) == list(job[1].seconds) and len(job[1].seconds) == 5
    for name in ("results.json", "report.html"):
        assert str(job[1].folder.parent) not in (job[1].folder / name).read_text(encoding="utf-8")


def test_a_model_with_a_clock_is_refused(tmp_path):
    ball = patient()
    with pytest.raises(InputError, match="model=glioblastoma_single_scan"):
        run_single_scan(
            Run(tmp_path, stages=4),
            ball,
            FisherKPP(ball.brain_mask),
            load_named("prior", "glioblastoma_single_scan"),
            LevenbergMarquardt(),
            JobSettings(),
        )
