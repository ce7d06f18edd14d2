"""The stage that seeks a radiotherapy target: its files, and what it hands to the results (synthetic)."""

import json
import sys
from pathlib import Path

import bar
import nibabel
import numpy as np
import pytest

from twinjax.domain import Domain
from twinjax.imaging import Scan
from twinjax.job import JobSettings, Run
from twinjax.job.options import recommendation_results
from twinjax.job.target import export_target, recommend_target
from twinjax.patient import PatientData, Visit
from twinjax.twin import TargetQuestion, TargetRecommendation


def test_the_stage_writes_targets_dose_and_scores(tmp_path):
    scan = bar.scan(bar.slab(20, 28), bar.slab(16, 32))
    patient = PatientData.from_visits("bar", [Visit(0, scan), Visit(8, scan)], bar.GIVEN, bar.DOMAIN)
    run, twin, later = Run(tmp_path, stages=1), bar.twin(bar.posterior(draws=40)), {"core, day 20": bar.slab(12, 20)}
    made = recommend_target(
        run, twin, TargetQuestion(margin_mm=8.0), patient, scan, JobSettings(decision_draws=10), day=8.0, later=later
    )
    assert list(run.seconds) == ["seek a better target"]
    names = ["dose_painted.nii.gz", "recommendation.csv", *(f"target_{n}.nii.gz" for n in ("mean", "standard", "tail"))]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    for name in made.targets:
        image = nibabel.load(tmp_path / f"target_{name}.nii.gz")
        np.testing.assert_allclose(image.affine, bar.AFFINE)
        assert image.get_data_dtype() == np.int8 and np.asarray(image.dataobj).sum() == 16 * 16
    dose = nibabel.load(tmp_path / "dose_painted.nii.gz").get_fdata()
    np.testing.assert_allclose(dose, made.on_scan(made.doses["painted"]), rtol=1e-6)
    assert 0 < dose.max() <= 75.0 + 1e-4
    rows = (tmp_path / "recommendation.csv").read_text().splitlines()
    assert [row.partition(",")[0] for row in rows] == ["plan", "standard", "mean", "tail", "painted"]
    run.write_json("results.json", recommendation_results(made))
    found = json.loads((tmp_path / "results.json").read_text())["recommendation"]
    assert found["recurrence_covered"][0]["region"] == "core, day 20"
    assert found["recurrence_covered"][0]["standard"] == pytest.approx(0.5)
    assert set(found["covered"]) == {"standard", "mean", "tail"} and found["draws"] == 10


def test_targets_and_dose_go_to_dicom_in_gy(tmp_path, monkeypatch):
    """Of a recommendation that is made, not sought, in the space of an oblique series."""
    pydicom = pytest.importorskip("pydicom")
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[1] / "imaging" / "dicom"), *sys.path])
    from dicom_series import SPACING, affine_of, write_series

    from twinjax.imaging.dicom import read_rtstruct, read_source

    shape, affine = (24, 20, 8), affine_of()
    write_series(tmp_path / "series", np.zeros(shape, np.uint16))
    target = np.zeros(shape, bool)
    target[6:16, 5:14, 2:6] = True
    dose, shares = 60.0 * target, np.linspace(0.8, 0.9, 5)
    scan = Scan(affine, {}, target.astype(np.int8), np.ones(shape, bool))
    domain = Domain(np.ones(shape), SPACING, affine=affine)
    targets, covered = dict.fromkeys(("standard", "mean", "tail"), target), dict.fromkeys(("standard", "mean"), shares)
    doses = dict.fromkeys((*targets, "painted"), dose)
    made = TargetRecommendation(TargetQuestion(), 0.0, scan, domain, targets, doses, covered, covered, {}, {}, [])
    run = Run(tmp_path / "output", stages=0)
    export_target(run, made, read_source(tmp_path / "series", 1))
    found = read_rtstruct(run.folder / "target_volumes.dcm", affine, shape)
    assert list(found) == ["target standard", "target mean", "target tail"]
    assert all((mask == target).mean() > 0.99 for mask in found.values())
    written = pydicom.dcmread(run.folder / "dose_painted.dcm")
    assert (written.Modality, written.DoseUnits) == ("RTDOSE", "GY")
    assert written.pixel_array.max() * float(written.DoseGridScaling) == pytest.approx(60.0, rel=1e-3)
