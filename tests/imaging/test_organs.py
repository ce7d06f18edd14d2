"""The pipelines of other organs than the brain, from files of conf/imaging, on synthetic phantoms."""

import json

import nibabel as nib
import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from twinjax.core.config import conf_dir, instantiate
from twinjax.core.errors import InputError
from twinjax.imaging import ImagingRecord, labels, write_nifti
from twinjax.patient import PatientData

SHAPE, VOXEL = (48, 44, 30), np.array([1.5, 1.5, 2.5])
ANGLE = np.deg2rad(12)
TURN = np.array([[np.cos(ANGLE), -np.sin(ANGLE), 0], [np.sin(ANGLE), np.cos(ANGLE), 0], [0, 0, 1]])
AFFINE = np.eye(4)
AFFINE[:3, :3] = TURN * VOXEL
AFFINE[:3, 3] = [20.0, -31.0, 5.0]
X = [h * (np.arange(n) - (n - 1) / 2) for h, n in zip(VOXEL, SHAPE, strict=True)]
X = np.meshgrid(*X, indexing="ij")
ORGAN = (X[0] / 30) ** 2 + (X[1] / 27) ** 2 + (X[2] / 32) ** 2 < 1
DISTANCE = np.sqrt((X[0] - 6) ** 2 + (X[1] + 4) ** 2 + X[2] ** 2)
TUMOR = DISTANCE < 9
RNG = np.random.default_rng(0)


def noisy(values, deviation):
    return (values + deviation * RNG.standard_normal(SHAPE)).astype(np.float32)


def pipeline(name: str):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("config", [f"imaging={name}"])
    return instantiate(config.imaging, where="imaging")


def dice(a, b) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def check(processed, output, modality):
    """The tumour goes back into the grid of its file, which has not changed; the processed folder is a patient."""
    scan = processed["scan_baseline"]
    record = ImagingRecord.load(output)
    restored, affine = record.restored(scan.segmentation, modality)
    np.testing.assert_array_equal(affine, AFFINE.astype(np.float32))
    assert restored.shape == SHAPE and restored.dtype == scan.segmentation.dtype
    patient = PatientData("phantom", output)
    assert patient.baseline.scan.tissue_maps.keys() == scan.tissue_maps.keys()
    return restored, patient


def test_breast(tmp_path):
    """Gland and fat by their brightness, the tumour by its enhancement, drugs where the medium comes to."""
    fat = ORGAN & ~((X[0] / 14) ** 2 + (X[1] / 14) ** 2 + (X[2] / 16) ** 2 < 1)
    t1 = noisy(np.where(fat, 900.0, 350.0) * ORGAN, 15) * ORGAN
    times = [0.0, 60.0, 120.0, 180.0]
    rise = np.where(TUMOR, 1.4, 0.25)[..., None] * np.array([0.0, 1.0, 0.9, 0.8])
    dce = np.stack([noisy(0, 5) for _ in times], -1) + 300 * (1 + rise) * ORGAN[..., None]
    folder = tmp_path / "raw" / "day_0000"
    folder.mkdir(parents=True)
    write_nifti(folder / "T1.nii.gz", t1, AFFINE)
    nib.save(nib.Nifti1Image((dce * ORGAN[..., None]).astype(np.float32), AFFINE), folder / "DCE.nii.gz")
    with pytest.raises(InputError, match="DCE.json beside DCE.nii.gz must hold acquisition_times_s"):
        pipeline("breast_mri").process(tmp_path / "raw")
    (folder / "DCE.json").write_text(json.dumps({"acquisition_times_s": times}))
    processed = pipeline("breast_mri").process(tmp_path / "raw", tmp_path / "out")
    restored, patient = check(processed, tmp_path / "out", "T1")
    assert dice(restored > 0, TUMOR) > 0.85
    adipose = patient.brain_mask.map("adipose")
    back, _ = processed.record.restored(np.asarray(adipose), "T1")
    assert dice(back > 0.5, fat) > 0.9
    spread = np.asarray(patient.brain_mask.map("drug_distribution"))
    inside = np.asarray(patient.brain_mask.mask)
    assert spread[inside].mean() == pytest.approx(1.0, abs=0.05)
    assert spread[processed["scan_baseline"].core].mean() > 2


def test_prostate_by_files(tmp_path):
    folder = tmp_path / "raw" / "day_0000"
    folder.mkdir(parents=True)
    write_nifti(folder / "T2.nii.gz", noisy(400.0 * ORGAN, 10), AFFINE)
    write_nifti(folder / "ADC.nii.gz", np.where(TUMOR, 0.8e-3, 1.5e-3) * ORGAN, AFFINE)
    write_nifti(folder / "segmentation.nii.gz", (3 * TUMOR).astype(np.int8), AFFINE)
    with pytest.raises(InputError, match="the organ's mask is missing; add organ_mask.nii.gz"):
        pipeline("prostate_mri").process(tmp_path / "raw")
    write_nifti(folder / "organ_mask.nii.gz", ORGAN, AFFINE)
    processed = pipeline("prostate_mri").process(tmp_path / "raw", tmp_path / "out")
    restored, patient = check(processed, tmp_path / "out", "T2")
    assert dice(restored == labels.ENHANCING, TUMOR) > 0.99
    back, _ = processed.record.restored(np.asarray(patient.brain_mask.mask), "ADC")
    assert dice(back, ORGAN) > 0.99
    adc = processed["scan_baseline"].image("ADC")
    assert np.median(adc[processed["scan_baseline"].core]) == pytest.approx(0.8e-3, rel=1e-3)


def test_pancreas_and_pet_by_uptake(tmp_path):
    folder = tmp_path / "raw" / "day_0000"
    folder.mkdir(parents=True)
    write_nifti(folder / "suv.nii.gz", noisy(np.where(TUMOR, 8.0, 0.8) * ORGAN, 0.1), AFFINE)
    write_nifti(folder / "CT.nii.gz", np.where(ORGAN, 40.0, -1000.0).astype(np.float32), AFFINE)
    write_nifti(folder / "organ_mask.nii.gz", ORGAN, AFFINE)
    write_nifti(folder / "segmentation.nii.gz", (3 * TUMOR).astype(np.int8), AFFINE)
    processed = pipeline("pet").process(tmp_path / "raw", tmp_path / "pet")
    restored, _ = check(processed, tmp_path / "pet", "PET")
    assert dice(restored > 0, TUMOR) > 0.93
    # Uptake keeps its unit, and Hounsfield units theirs: what lies beyond the scan is air.
    assert np.median(processed["scan_baseline"].image("PET")[processed["scan_baseline"].core]) == pytest.approx(
        8, abs=0.2
    )
    processed = pipeline("abdominal_ct").process(tmp_path / "raw", tmp_path / "ct")
    ct = processed["scan_baseline"].image("CT")
    assert ct.min() >= -1024 and np.median(ct[processed["scan_baseline"].core]) == pytest.approx(40, abs=1)


def test_ct_that_is_not_in_hounsfield_units(tmp_path):
    write_nifti(tmp_path / "CT.nii.gz", np.where(ORGAN, 1040.0, 0.0).astype(np.float32), AFFINE)
    write_nifti(tmp_path / "organ_mask.nii.gz", ORGAN, AFFINE)
    with pytest.raises(InputError, match="CT must be in Hounsfield units"):
        pipeline("abdominal_ct").process(tmp_path)


@pytest.mark.parametrize("times", [[0.0], [0.0, 0.0, 1.0, 2.0], [0.0, 1.0]])
def test_bad_times_of_a_dynamic_series(tmp_path, times):
    nib.save(nib.Nifti1Image(np.ones((*SHAPE, 4), np.float32), AFFINE), tmp_path / "DCE.nii.gz")
    write_nifti(tmp_path / "T1.nii.gz", noisy(400.0 * ORGAN, 1), AFFINE)
    (tmp_path / "DCE.json").write_text(json.dumps({"acquisition_times_s": times}))
    with pytest.raises(InputError, match="acquisition_times_s must be 4 ascending seconds"):
        pipeline("breast_mri").process(tmp_path)


def test_chest(tmp_path):
    """Two lungs by their air, with the vessel and the nodule in one of them; the nodule by its density."""
    affine = AFFINE.copy()
    affine[:3, :3] = TURN * np.array([4.0, 4.0, 5.0])
    x, y, z = (h * (np.arange(n) - (n - 1) / 2) for h, n in zip((4.0, 4.0, 5.0), SHAPE, strict=True))
    x, y, z = np.meshgrid(x, y, z, indexing="ij")
    body = (x / 88) ** 2 + (y / 78) ** 2 < 1
    lungs = [((x - side) / 32) ** 2 + (y / 50) ** 2 + (z / 62) ** 2 < 1 for side in (-44, 44)]
    nodule = (x - 48) ** 2 + (y - 10) ** 2 + (z + 5) ** 2 < 13**2
    air = lungs[0] | lungs[1]
    ct = np.select([nodule, air, body], [30.0, -850.0, 40.0], -1000.0)
    folder = tmp_path / "raw" / "day_0000"
    folder.mkdir(parents=True)
    write_nifti(folder / "ct.nii.gz", noisy(ct, 20), affine)
    processed = pipeline("chest_ct").process(tmp_path / "raw", tmp_path / "out")
    scan = processed["scan_baseline"]
    back, _ = processed.record.restored(scan.brain_mask, "CT")
    assert dice(back, air) > 0.95
    restored, _ = processed.record.restored(scan.segmentation, "CT")
    assert dice(restored > 0, nodule) > 0.85
    assert not (restored > 0)[lungs[0]].any()
    assert np.asarray(PatientData("phantom", tmp_path / "out").brain_mask.mask).sum() == scan.brain_mask.sum()
