"""The main job from end to end, on a small virtual (synthetic) patient."""

import csv
import json
import re
from dataclasses import replace

import arviz
import nibabel
import numpy as np
import pytest

from twinjax.calibration import (
    AbstractCalibrator,
    LevenbergMarquardt,
    LowRankLaplace,
    NewtonCG,
    Posterior,
    Prior,
    longitudinal_problem,
)
from twinjax.core.config import load_named
from twinjax.imaging import ImagingPipeline
from twinjax.job import JobSettings, Run, run_longitudinal
from twinjax.job.calibrate import calibrate
from twinjax.model import FisherKPP
from twinjax.patient import PatientData
from twinjax.patient.virtual import VirtualPatient, generate

pytest.importorskip("nilearn")
pytest.importorskip("monai")

SMALL = VirtualPatient(
    patient_id="virtual_small",
    visit_days=(0, 15, 30),
    core_radius_mm=6.0,
    diffusivity=0.06,
    truth_resolution_mm=1.5,
    field_of_view_mm=52.0,
)
# The job takes a minute. Without space it is quicker: the default run has it in test_app.py and test_table_job.py.
pytestmark = pytest.mark.thorough

SETTINGS = JobSettings(
    until_day=15,
    resolution_mm=4.0,
    margin_mm=12.0,
    max_step=1.0,
    horizon_days=40,
    interval_days=10,
    draws=10,
    surgery_day=40,
    mass_effect=True,
    decision_horizon_days=20,
    decision_draws=10,
    options=("none", "reirradiation"),
)


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """`(patient, run, results)` of the job."""
    folder = tmp_path_factory.mktemp("small")
    truth = generate(SMALL, folder / "raw")
    ImagingPipeline(["T1", "T1CE", "T2", "FLAIR"]).process(folder / "raw", folder / "processed")
    read = PatientData("virtual_small", folder / "processed")
    patient = PatientData.from_visits(
        read.patient_id, read.visits, read.regimen, read.brain_mask, truth.spatial(), source="synthetic"
    )
    run = Run(folder / "output", stages=5)
    results = run_longitudinal(
        run,
        patient,
        FisherKPP(patient.brain_mask, resolution_mm=2.0),
        load_named("prior", "glioblastoma"),
        LevenbergMarquardt(max_steps=10, draws=200),
        SETTINGS,
        solver=load_named("solver", "strang"),
        seed=1,
        config="calibrator: laplace",
    )
    return patient, run, results


def rows(job, name):
    with open(job[1].folder / name, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_all_files_are_there_and_no_partial_ones(job):
    fields = [f"density_{kind}_day_{day:04d}.nii.gz" for kind in ("mean", "std") for day in (15, 30, 40)]
    fields += [f"displacement_day_{day:04d}.nii.gz" for day in (15, 30, 40)]
    tables = [
        "displacement.csv",
        "features.csv",
        "identifiability.csv",
        "metrics.csv",
        "parameters.csv",
        "progression.csv",
        "volumes.csv",
    ]
    expected = sorted([*fields, *tables, "posterior.nc", "report.html", "report.json", "results.json"])
    assert sorted(path.name for path in job[1].folder.iterdir()) == expected


@pytest.mark.parametrize("day", [15, 30, 40])
def test_densities_lie_on_the_grid_of_the_patient(job, day):
    scan = job[0].visits[0].scan
    for kind in ("mean", "std"):
        image = nibabel.load(job[1].folder / f"density_{kind}_day_{day:04d}.nii.gz")
        assert image.shape == scan.shape
        np.testing.assert_allclose(image.affine, scan.affine, atol=1e-4)
        data = image.get_fdata()
        assert np.isfinite(data).all() and data.min() >= 0 and 0 < data.max() <= 1
    mean = nibabel.load(job[1].folder / f"density_mean_day_{day:04d}.nii.gz").get_fdata()
    # The cells are where the tumour is.
    inside = job[0].visits[1].scan.core
    assert mean[inside].mean() > 0.5 > 10 * mean[~job[0].visits[2].scan.whole_tumor].mean()


def test_posterior_opens_with_arviz(job):
    names = [row["parameter"] for row in rows(job, "parameters.csv")]
    group = arviz.from_netcdf(job[1].folder / "posterior.nc").posterior
    assert {"diffusivity", "proliferation_rate", "core_threshold"} <= set(names) <= set(group.data_vars)
    assert (group.sizes["chain"], group.sizes["draw"]) == (2, 100)
    for row in rows(job, "parameters.csv"):
        assert float(row["lower"]) < float(row["map"]) < float(row["upper"])


def test_forecast_of_the_held_out_visit_is_near(job):
    held = [score for score in job[2]["scores_by_visit"] if score["held_out"]]
    assert [(score["day"], score["reference"]) for score in held] == [(30.0, "segmentation"), (30.0, "truth")]
    for score in held:
        assert 0.6 < score["core_dice"] <= 1 and 0.6 < score["whole_tumor_dice"] <= 1
        assert score["whole_tumor_center_distance_mm"] < 3
        # 4 mm voxels and two fitted visits 15 days apart hold growth poorly: no more than a plain blunder is caught.
        assert abs(score["core_volume_error"]) < 0.6 and abs(score["whole_tumor_volume_error"]) < 0.8
    assert held[1]["density_concordance"] > 0.6


def test_metrics_are_finite_and_within_range(job):
    table = rows(job, "metrics.csv")
    assert {row["unit"] for row in table} == {"", "%", "mm"}
    for row in table:
        assert np.isfinite(float(row["value"])) and int(row["n"]) > 0
        if "interval covers" in row["metric"]:
            assert 0 <= float(row["value"]) <= 100
    assert (
        json.loads((job[1].folder / "results.json").read_text(encoding="utf-8"))["metrics"][0]["metric"]
        == table[0]["metric"]
    )


def test_features_of_every_visit(job):
    table = rows(job, "features.csv")
    assert [float(row["day"]) for row in table] == [0, 15, 30]
    for row, visit in zip(table, job[0].visits, strict=True):
        voxel = float(np.prod(visit.scan.spacing))
        assert float(row["whole_tumor_volume_mm3"]) == pytest.approx(visit.scan.whole_tumor.sum() * voxel)
        centre = [float(row[f"centre_{axis}_mm"]) for axis in "xyz"]
        # The tumour began at its seed, and its foci lie within the core.
        assert np.linalg.norm(np.subtract(centre, SMALL.seed_position_mm)) < SMALL.core_radius_mm


def test_volumes_grow_inside_their_intervals(job):
    table = [row for row in rows(job, "volumes.csv") if row["region"] == "whole_tumor"]
    assert [float(row["day"]) for row in table] == [0, 10, 15, 20, 30, 40]
    median = [float(row["median_mm3"]) for row in table]
    assert median == sorted(median)
    for row in table:
        order = ("measured_lower_90_mm3", "lower_90_mm3", "median_mm3", "upper_90_mm3", "measured_upper_90_mm3")
        values = [float(row[name]) for name in order]
        assert values == sorted(values) and values[0] > 0


def test_treatment_shrinks_what_no_treatment_leaves(job):
    options = {row["option"]: row for row in job[2]["options"]}
    assert options["reirradiation"]["median"] < options["none"]["median"]
    assert options["reirradiation"]["probability_best"] == 1.0


def test_synthetic_is_said(job):
    assert json.loads((job[1].folder / "results.json").read_text(encoding="utf-8"))["synthetic"] is True
    assert "synthetic" in (job[1].folder / "report.html").read_text(encoding="utf-8").lower()


def test_report_needs_nothing_from_outside(job):
    text = (job[1].folder / "report.html").read_text(encoding="utf-8")
    links = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]+)""", text)
    assert links and all(link.startswith(("data:", "#")) for link in links)
    assert "@import" not in text and "<script src" not in text
    assert "virtual_small" in text


@pytest.mark.parametrize("name", ["results.json", "report.html", "parameters.csv", "metrics.csv"])
def test_no_path_of_this_machine_in_the_results(job, name):
    text = (job[1].folder / name).read_text(encoding="utf-8")
    assert str(job[1].folder.parent) not in text
    assert str(job[1].folder.parent.parent) not in text


def test_every_stage_has_its_time(job):
    seconds = json.loads((job[1].folder / "results.json").read_text(encoding="utf-8"))["seconds"]
    assert list(seconds) == list(job[1].seconds) and len(seconds) == job[1].stages
    assert all(value > 0 for value in seconds.values())


def test_the_brain_is_pushed_by_a_growing_tumour(job):
    moved = rows(job, "displacement.csv")
    assert [float(row["day"]) for row in moved] == [15.0, 30.0, 40.0]
    largest = [float(row["largest_displacement_mm"]) for row in moved]
    assert 0 < largest[0] < largest[1] < largest[2] < 10
    assert all(0 <= float(row["midline_shift_mm"]) <= top for row, top in zip(moved, largest, strict=True))
    scan = job[0].visits[0].scan
    image = nibabel.load(job[1].folder / "displacement_day_0040.nii.gz")
    assert image.shape == scan.shape
    # Brought to the finer grid of the scan.
    assert image.get_fdata().max() == pytest.approx(largest[2], rel=0.1)
    assert "Mass effect" in (job[1].folder / "report.html").read_text(encoding="utf-8")


def test_a_complete_response_of_this_tumour_is_out_of_the_question(job):
    response = json.loads((job[1].folder / "results.json").read_text())["complete_response"]
    assert set(response) == {"as planned", "none", "reirradiation"}
    assert response["as planned"]["day"] == 40
    for one in response.values():
        assert one["probability"] == 0 and one["upper"] < 0.5 and one["cell_volume_mm3"][0] > one["threshold_mm3"]
    assert "Complete response" in (job[1].folder / "report.html").read_text(encoding="utf-8")


def prior_with_field() -> Prior:
    prior = load_named("prior", "glioblastoma")
    field = {"field": {"correlation_length_mm": 12.0}}
    return Prior({p.name: p.entry | (field if p.name == "diffusivity" else {}) for p in prior.parameters})


class PriorDraws(AbstractCalibrator):
    """Learns nothing: what a job does with a field is tested without the cost of a fit."""

    def fit(self, problem, *, key):
        z = np.random.default_rng(0).normal(size=(1, 40, problem.dimension))
        return Posterior.from_draws(problem, z, 0 * z[0, 0], method="none", doubts=["no data used"], effective=40.0)


@pytest.mark.slow
def test_a_field_is_written_as_maps_and_goes_along_to_the_fine_grid(job, tmp_path):
    patient = job[0]
    model = FisherKPP(patient.brain_mask, resolution_mm=2.0)
    run = Run(tmp_path, stages=1)
    posterior = calibrate(
        run, longitudinal_problem, patient.until(15), model, prior_with_field(), PriorDraws(), SETTINGS,
        solver=None, seed=0,
    ).posterior  # fmt: skip
    maps = {kind: nibabel.load(tmp_path / f"diffusivity_{kind}.nii.gz") for kind in ("mean", "std")}
    scan = patient.visits[0].scan
    tumor = scan.whole_tumor
    for image in maps.values():
        assert image.shape == scan.shape
        np.testing.assert_allclose(image.affine, scan.affine, atol=1e-4)
    # A log-normal of median 0.12 and sigma 0.8, by 40 draws, averaged over voxels of 4 mm.
    assert maps["mean"].get_fdata()[tumor].mean() == pytest.approx(0.12 * np.exp(0.32), rel=0.25)
    assert maps["std"].get_fdata()[tumor].mean() == pytest.approx(0.165 * np.sqrt(np.expm1(0.64)), rel=0.5)
    place = posterior.fields["diffusivity"].place
    assert posterior.problem.prior.places == posterior.problem.forecast_prior.places == {"diffusivity": place}
    row = next(row for row in posterior.rows() if row["parameter"] == "diffusivity")
    assert row["lower"] < 0.12 < row["upper"]
    assert row["informed_by"] == "mostly prior"
    assert "diffusivity_mean" in arviz.from_netcdf(tmp_path / "posterior.nc").constant_data


@pytest.mark.slow
def test_the_whole_job_with_a_field(job, tmp_path):
    """Fit, forecast on the finer grid, options and report."""
    patient = job[0]
    calibrator = LowRankLaplace(mode=NewtonCG(max_steps=8), max_products=64, draws=20)
    model, solver = FisherKPP(patient.brain_mask, resolution_mm=2.0), load_named("solver", "strang")
    run = Run(tmp_path, stages=5)
    results = run_longitudinal(run, patient, model, prior_with_field(), calibrator, SETTINGS, solver=solver, seed=1)
    held = [score for score in results["scores_by_visit"] if score["held_out"]]
    assert all(score["whole_tumor_dice"] > 0.6 for score in held)
    assert "diffusivity" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert (tmp_path / "diffusivity_std.nii.gz").exists()
    eigenvalues = results["diagnostics"]["eigenvalues"]
    assert len(eigenvalues) > 5 and eigenvalues == sorted(eigenvalues, reverse=True)


@pytest.mark.slow
def test_the_held_out_visit_is_told_to_the_twin_of_the_fit(job, tmp_path):
    patient, run = job[0], Run(tmp_path / "output", stages=5)
    results = run_longitudinal(
        run,
        patient,
        FisherKPP(patient.brain_mask, resolution_mm=2.0),
        load_named("prior", "glioblastoma"),
        LevenbergMarquardt(max_steps=10, draws=200),
        replace(SETTINGS, assimilate=True, options=(), surgery_day=None, mass_effect=False),
        solver=load_named("solver", "strang"),
        seed=1,
    )
    (visit,) = results["assimilation"]
    assert visit["day"] == 30 and visit["by"] in ("reweighting", "fit from the old mode")
    assert [one["quantity"] for one in visit["expected"]] == ["core_volume_mm3", "whole_tumor_volume_mm3"]
    for one in visit["expected"]:
        assert one["lower"] < one["median"] < one["upper"]
        assert one["inside"] == (one["lower"] <= one["measured"] <= one["upper"])
    # The fit is that of the job without it, and what the visit changed begins there.
    fit = {row["parameter"]: float(row["median"]) for row in rows(job, "parameters.csv")}
    assert {row["parameter"]: row["median_before"] for row in visit["change"]} == pytest.approx(fit)
    assert (run.folder / "assimilation.csv").is_file()
    assert "Visits after the fit" in (run.folder / "report.html").read_text(encoding="utf-8")
