"""The stage that seeks a radiotherapy target: its files, and what it hands to the results (synthetic)."""

import json
import sys
from pathlib import Path

import bar
import nibabel
import numpy as np
import pytest
from omegaconf import OmegaConf

from twinjax.core.config import conf_dir, instantiate
from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.imaging import Scan, write_nifti
from twinjax.job import JobSettings, Run
from twinjax.job.options import recommendation_results
from twinjax.job.target import export_target, organ_at_risk, recommend_target
from twinjax.patient import PatientData, Visit
from twinjax.report.target import target_section
from twinjax.twin import TargetQuestion, TargetRecommendation


@pytest.mark.thorough
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


@pytest.fixture
def patient(tmp_path) -> PatientData:
    """A patient in a processed folder, with a mask beside the visits."""
    folder = tmp_path / "patient"
    scan = bar.scan(bar.slab(20, 28), bar.slab(16, 32))
    (folder / "day_0000").mkdir(parents=True)
    write_nifti(folder / "day_0000" / "segmentation.nii.gz", np.asarray(scan.segmentation), bar.AFFINE)
    write_nifti(folder / "day_0000" / "brain_mask.nii.gz", np.ones(bar.SHAPE, bool), bar.AFFINE)
    write_nifti(folder / "brainstem.nii.gz", bar.slab(30, 36), bar.AFFINE)
    return PatientData("bar", folder)


def test_an_organ_at_risk_is_a_file_of_the_patient(patient):
    """As the command line has it: `recommendation.at_risk=brainstem.nii.gz recommendation.largest_dose_at_risk=0.5`."""
    node = OmegaConf.load(conf_dir() / "recommendation" / "target_volume.yaml")
    question = instantiate(OmegaConf.merge(node, {"at_risk": "brainstem.nii.gz", "largest_dose_at_risk": 0.5}))
    organ = organ_at_risk(patient, question)
    assert organ is not None and organ.largest_dose == 0.5
    np.testing.assert_array_equal(organ.mask, bar.slab(30, 36))
    assert organ_at_risk(patient, TargetQuestion()) is None and organ_at_risk(patient, None) is None
    made = bar.twin(bar.posterior(draws=40)).recommend_target(
        question, patient.baseline.scan, decision_day=8.0, draws=10, at_risk=organ
    )
    dose = made.on_scan(made.doses["painted"]) / 30
    assert dose[organ.mask].max() == pytest.approx(0.5) and dose.max() > 1.0
    assert "gives the organ at risk at most 0.5 Gy a fraction" in target_section(made).text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../secret.nii.gz", "'../secret.nii.gz' leads out of its folder"),
        ("/etc/hosts", "'/etc/hosts' leads out of its folder"),
        ("link.nii.gz", "leads out"),
        ("nowhere.nii.gz", "the mask 'nowhere.nii.gz' is not in the patient folder 'patient'"),
        ("empty.nii.gz", "the mask 'empty.nii.gz' is empty: no voxel is above 0"),
        ("small.nii.gz", "small.nii.gz has another grid"),
        ("moved.nii.gz", "moved.nii.gz has another grid .* or another affine"),
    ],
)
def test_a_mask_that_cannot_be_read(patient, name, message):
    folder = patient.folder
    write_nifti(folder.parent / "secret.nii.gz", bar.slab(30, 36), bar.AFFINE)
    (folder / "link.nii.gz").symlink_to(folder.parent / "secret.nii.gz")
    write_nifti(folder / "empty.nii.gz", np.zeros(bar.SHAPE, bool), bar.AFFINE)
    write_nifti(folder / "small.nii.gz", np.ones((4, 4, 4), bool), bar.AFFINE)
    write_nifti(folder / "moved.nii.gz", bar.slab(30, 36), bar.AFFINE + np.eye(4, k=3))
    with pytest.raises(InputError, match=message):
        organ_at_risk(patient, TargetQuestion(at_risk=name, largest_dose_at_risk=1.0))


def test_a_patient_without_a_folder_has_no_mask_file():
    scan = bar.scan(bar.slab(20, 28), bar.slab(16, 32))
    made = PatientData.from_visits("bar", [Visit(0, scan)], bar.GIVEN, bar.DOMAIN)
    with pytest.raises(InputError, match="needs a patient from a processed folder"):
        organ_at_risk(made, TargetQuestion(at_risk="brainstem.nii.gz", largest_dose_at_risk=1.0))


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
