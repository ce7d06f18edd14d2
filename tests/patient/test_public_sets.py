"""The loaders of public data sets: tiny folders in their layouts, and the real cases where they are there."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from twinjax.core.config import load_named
from twinjax.core.errors import InputError
from twinjax.imaging.labels import OEDEMA, to_internal
from twinjax.imaging.nifti import read_nifti, write_nifti
from twinjax.patient import load_gliodil, load_gliomasolver, load_predict_gbm, load_sbtc, load_tumortwin
from twinjax.patient.tumortwin import cellularity
from twinjax.treatment import Chemotherapy, Radiotherapy

SHAPE = (8, 9, 6)
AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])
DATA = os.environ.get("TWINJAX_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="TWINJAX_DATA is not set")


def box(*slices: slice) -> np.ndarray:
    array = np.zeros(SHAPE, np.int8)
    array[slices] = 1
    return array


CORE, RIM = box(slice(3, 5), slice(3, 5), slice(2, 4)), box(slice(2, 6), slice(2, 6), slice(1, 5))
WHITE, GREY = box(slice(1, 7), slice(1, 6)), box(slice(1, 7), slice(6, 8))


def write(root: Path, files: dict[str, np.ndarray], affine=AFFINE) -> Path:
    for name, array in files.items():
        path = root / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_nifti(path, array, affine)
    return root


def gliodil_labels() -> np.ndarray:
    segm = RIM * 3
    segm[CORE > 0] = 4
    segm[3, 3, 2] = 1
    return segm


# GliODIL and SBTC


def test_gliodil(tmp_path):
    files = {"segm": gliodil_labels(), "t1_wm": WHITE * 0.9, "t1_gm": GREY, "t1_csf": 1 - WHITE - GREY}
    root = write(tmp_path / "data_001", files | {"segm_rec": CORE, "FET": RIM * 2.5})
    patient = load_gliodil(root)
    scan = patient.baseline.scan
    assert (patient.patient_id, patient.source, patient.days.tolist()) == ("data_001", "real", [0.0])
    np.testing.assert_array_equal(scan.segmentation, to_internal(gliodil_labels(), "gliodil"))
    np.testing.assert_array_equal(scan.core, CORE > 0)
    np.testing.assert_array_equal(scan.whole_tumor, RIM > 0)
    assert scan.brain_mask is not None and scan.brain_mask.all()
    np.testing.assert_array_equal(np.asarray(patient.brain_mask.mask), (WHITE + GREY) > 0)
    np.testing.assert_array_equal(patient.extras["recurrence"], CORE > 0)
    assert set(patient.extras) == {"recurrence"} and set(scan.images) == {"FET"}
    assert patient.regimen.treatments == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"segm": None}, r"segm.nii.gz is missing"),
        ({"t1_gm": None}, r"needs t1_wm.nii.gz and t1_gm.nii.gz"),
        ({"segm": RIM * 7}, r"labels \[7\] do not belong"),
        ({"segm": RIM * 2}, r"labels \[2\] do not belong"),
        ({"segm": RIM * 0}, "no tumour"),
        ({"t1_wm": WHITE * 100}, "t1_wm must hold fractions"),
        ({"segm_rec": np.ones((2, 2, 2), np.int8)}, "another grid"),
    ],
)
def test_bad_gliodil_folders_are_refused(tmp_path, change, message):
    files = {"segm": gliodil_labels(), "t1_wm": WHITE, "t1_gm": GREY} | change
    root = write(tmp_path, {name: array for name, array in files.items() if array is not None})
    with pytest.raises(InputError, match=message):
        load_gliodil(root, patient_id="a")


def sbtc(tmp_path: Path, tissue: np.ndarray | None = None) -> Path:
    case = {"segm": gliodil_labels(), "brainMask": np.ones(SHAPE, np.int8), "segm_rec": CORE, "standardPlan": RIM}
    write(tmp_path / "case", case)
    # The atlas lies in the same patient space with both in-plane axes the other way round.
    affine = np.eye(4)
    affine[:2, 3] = [-(SHAPE[0] - 1), -(SHAPE[1] - 1)]
    tissue = WHITE * 3 + GREY * 2 if tissue is None else tissue
    write(tmp_path / "atlas", {"tissue": tissue[::-1, ::-1]}, affine)
    return tmp_path


def test_sbtc_lays_the_atlas_onto_the_patient(tmp_path):
    patient = load_sbtc(sbtc(tmp_path), "case", "atlas/tissue.nii.gz")
    scan = patient.baseline.scan
    np.testing.assert_array_equal(scan.white_matter, WHITE)
    np.testing.assert_array_equal(scan.grey_matter, GREY)
    np.testing.assert_array_equal(patient.extras["standard_plan"], RIM > 0)
    np.testing.assert_array_equal(patient.extras["recurrence"], CORE > 0)


def test_sbtc_tumour_outside_the_atlas_tissue_is_grey_matter(tmp_path):
    tissue = WHITE * 3 + GREY * 2
    tissue[CORE > 0] = 1
    patient = load_sbtc(sbtc(tmp_path, tissue), "case", "atlas/tissue.nii.gz")
    np.testing.assert_array_equal(np.asarray(patient.brain_mask.grey_matter), np.maximum(GREY, CORE))
    assert np.asarray(patient.brain_mask.mask)[RIM > 0].all()


def test_bad_sbtc_paths_and_tissue_are_refused(tmp_path):
    root = sbtc(tmp_path / "data")
    with pytest.raises(InputError, match="set TWINJAX_DATA"):
        load_sbtc(None)
    with pytest.raises(InputError, match="case 'nothing'"):
        load_sbtc(root, "nothing")
    with pytest.raises(InputError, match="leads out"):
        load_sbtc(root, "../../other")
    with pytest.raises(InputError, match="leads out"):
        load_sbtc(root, "case", "atlas/../../tissue.nii.gz")
    with pytest.raises(InputError, match="leads out"):
        load_sbtc(root, "case", str(root / "atlas" / "tissue.nii.gz"))
    with pytest.raises(InputError, match="tissue file 'atlas/none.nii.gz' does not exist"):
        load_sbtc(root, "case", "atlas/none.nii.gz")
    write(root / "atlas", {"tissue": np.full(SHAPE, 9, np.int8)})
    with pytest.raises(InputError, match=r"tissue labels \[9\] are unknown"):
        load_sbtc(root, "case", "atlas/tissue.nii.gz")


# GliomaSolver


def test_gliomasolver(tmp_path):
    files = {"WM": WHITE, "GM": GREY, "tumFLAIR": RIM - CORE, "tumT1c": CORE * 4, "tumPET": CORE * 0.5}
    write(tmp_path / "case", files)
    patient = load_gliomasolver(tmp_path, "case")
    scan = patient.baseline.scan
    np.testing.assert_array_equal(scan.core, CORE > 0)
    np.testing.assert_array_equal(scan.segmentation == OEDEMA, RIM > CORE)
    np.testing.assert_allclose(scan.image("FET"), CORE * 0.5)
    np.testing.assert_array_equal(np.asarray(patient.brain_mask.mask), (WHITE + GREY) > 0)
    with pytest.raises(InputError, match="set TWINJAX_DATA"):
        load_gliomasolver()
    (tmp_path / "case" / "GM.nii.gz").unlink()
    with pytest.raises(InputError, match=r"needs WM.nii.gz and GM.nii.gz"):
        load_gliomasolver(tmp_path, "case")


# PREDICT-GBM


def test_predict_gbm_data_set(tmp_path):
    later = RIM.copy()
    later[CORE > 0] = 3
    later[0, 0, 0] = 4
    files = {
        "ses-preop/tumor_segmentation/tumor_seg": RIM * 2 + CORE,
        "ses-preop/tumor_segmentation/standard_plan": RIM,
        "ses-preop/skull_stripped/brain_mask": WHITE,
        "ses-followup/longitudinal/recurrence_preop": later,
    }
    tissue = {f"ses-preop/tissue_segmentation/{name}_pbmap": a * 0.9 for name, a in (("wm", WHITE), ("gm", GREY))}
    patient = load_predict_gbm(write(tmp_path / "00042", files | tissue))
    assert patient.patient_id == "00042"
    np.testing.assert_array_equal(patient.baseline.scan.segmentation, RIM * 2 + CORE)
    np.testing.assert_array_equal(np.asarray(patient.brain_mask.mask), WHITE > 0)
    np.testing.assert_array_equal(patient.extras["recurrence"], RIM > 0)
    np.testing.assert_array_equal(patient.extras["recurrence_enhancing"], CORE > 0)
    np.testing.assert_array_equal(patient.extras["standard_plan"], RIM > 0)
    (tmp_path / "00042" / "ses-preop" / "tumor_segmentation" / "tumor_seg.nii.gz").unlink()
    with pytest.raises(InputError, match=r"tumor_seg.nii.gz is missing"):
        load_predict_gbm(tmp_path / "00042")


def test_predict_gbm_container_input(tmp_path):
    files = {"gm": GREY, "wm": WHITE, "csf": 1 - WHITE - GREY, "tumorseg": RIM * 2 + CORE, "pet": CORE * 1.5}
    root = write(tmp_path / "Patient-00007", {f"00007-{name}": array for name, array in files.items()})
    patient = load_predict_gbm(root)
    assert patient.patient_id == "Patient-00007" and patient.extras == {}
    np.testing.assert_array_equal(patient.baseline.scan.core, CORE > 0)
    np.testing.assert_allclose(patient.baseline.scan.image("FET"), CORE * 1.5)
    assert patient.baseline.scan.brain_mask is not None and patient.baseline.scan.brain_mask.all()
    (root / "00007-wm.nii.gz").unlink()
    with pytest.raises(InputError, match=r"needs 00007-wm.nii.gz"):
        load_predict_gbm(root)
    (root / "00007-tumorseg.nii.gz").unlink()
    with pytest.raises(InputError, match="neither ses-preop/ nor one file"):
        load_predict_gbm(root)


# TumorTwin


def tumortwin(tmp_path: Path, **change) -> Path:
    """A folder with two visits; `change` replaces keys of the JSON, None removes one."""
    root = tmp_path / "HGG_001"
    adc = np.where(RIM > 0, 900, 1200).astype(np.float32)
    files = {"brainmask": WHITE + GREY, "T1_post": RIM * 9.0}
    for number in (1, 2):
        files |= {f"ADC_v{number}": adc, f"ROI_enhance_v{number}": CORE, f"ROI_nonenhance_v{number}": RIM}
    write(root, files)
    images = {"adc": "ADC", "roi_enhance": "ROI_enhance", "roi_nonenhance": "ROI_nonenhance"}
    record = {
        "patient": "HGG_001",
        "brainmask": "{$image_dir}/brainmask.nii.gz",
        "T1_post": "T1_post.nii.gz",
        "T1_pre": None,
        "visits": [
            {"time": time, **{key: f"{{$image_dir}}/{name}_v{n}.nii.gz" for key, name in images.items()}}
            for n, time in ((1, "1996-11-15T00:00:00.000000"), (2, "1996-12-15T12:00:00.000000"))
        ],
        "radiotherapy": [{"time": "1996-12-11T00:00:00.000000", "dose": 2, "units": "Gy"}],
        "chemotherapy": [{"time": "1996-12-11T00:00:00.000000", "dose": 105, "units": "mg"}],
    } | change
    record = {key: value for key, value in record.items() if value is not None or key == "T1_pre"}
    (root / "HGG_001.json").write_text(json.dumps(record))
    return root


def test_tumortwin(tmp_path):
    root = tumortwin(tmp_path)
    patient = load_tumortwin(root, body_surface_area_m2=1.4, source="synthetic")
    scan = patient.baseline.scan
    assert (patient.patient_id, patient.source, patient.days.tolist()) == ("HGG_001", "synthetic", [0.0, 30.5])
    np.testing.assert_array_equal(scan.core, CORE > 0)
    np.testing.assert_array_equal(scan.whole_tumor, RIM > 0)
    np.testing.assert_allclose(scan.image("ADC"), np.where(RIM > 0, 9e-4, 1.2e-3), rtol=1e-6)
    np.testing.assert_allclose(scan.image("T1CE"), RIM * 9.0)
    np.testing.assert_allclose(cellularity(scan), np.where(CORE > 0, 0.7, np.where(RIM > 0, 0.16, 0)), rtol=1e-5)
    np.testing.assert_array_equal(np.asarray(patient.brain_mask.mask), (WHITE + GREY) > 0)
    radiotherapy, chemotherapy = patient.regimen.treatments
    assert isinstance(radiotherapy, Radiotherapy) and isinstance(chemotherapy, Chemotherapy)
    np.testing.assert_allclose(radiotherapy.times, [26])
    np.testing.assert_allclose(chemotherapy.doses, [75], rtol=1e-6)
    assert chemotherapy.drug == "temozolomide"
    assert load_tumortwin(root / "HGG_001.json", body_surface_area_m2=1.4).days.tolist() == [0.0, 30.5]


VISIT = {"time": "1996-11-15", "adc": "ADC_v1.nii.gz", "roi_enhance": "ROI_enhance_v1.nii.gz"}
WHOLE = VISIT | {"roi_nonenhance": "ROI_nonenhance_v1.nii.gz"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, r"chemotherapy\[0\]: a dose in mg needs body_surface_area_m2"),
        ({"breastmask": "x.nii.gz"}, "breast form is not supported yet"),
        ({"brainmask": None}, "the key 'brainmask'"),
        ({"brainmask": "none.nii.gz"}, "file 'none.nii.gz' of 'brainmask' does not exist"),
        ({"brainmask": "/etc/passwd"}, "leads out"),
        ({"brainmask": "{$image_dir}/../secret.nii.gz"}, "leads out"),
        ({"brainmask": "{$image_dir}//etc/passwd"}, "leads out"),
        ({"visits": []}, "'visits' is empty"),
        ({"visits": "none"}, "'visits' must be a list"),
        ({"visits": [VISIT]}, r"visits\[0\]: the key 'roi_nonenhance'"),
        ({"visits": [WHOLE | {"time": "15.11.1996"}]}, r"visits\[0\]: 'time' must be ISO-8601"),
        ({"visits": [WHOLE | {"time": None}]}, "'time' must be ISO-8601"),
        ({"visits": [WHOLE, WHOLE], "chemotherapy": []}, "more than one visit on day"),
        ({"visits": [WHOLE, WHOLE | {"time": "1996-11-01"}]}, "days since baseline"),
        ({"visits": [WHOLE | {"adc": "ROI_enhance_v1.nii.gz"}]}, "adc must be in 1e-6"),
        ({"radiotherapy": [{"time": "1996-11-01", "dose": 2, "units": "Gy"}]}, "before the first visit"),
        ({"radiotherapy": [{"time": "1996-12-01", "dose": 2, "units": "rad"}]}, "unit 'rad' is unknown"),
        ({"radiotherapy": [{"time": "1996-12-01", "units": "Gy"}]}, "dose must be a number"),
        ({"patient": "../a", "chemotherapy": []}, "patient_id must be"),
    ],
)
def test_bad_tumortwin_folders_are_refused(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        load_tumortwin(tumortwin(tmp_path, **change))


def test_bad_tumortwin_json_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"patient.path is not set"):
        load_tumortwin()
    with pytest.raises(InputError, match="0 JSON files"):
        load_tumortwin(tmp_path)
    (tmp_path / "a.json").write_text("{not json")
    with pytest.raises(InputError, match=r"a.json is no valid JSON"):
        load_tumortwin(tmp_path)
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(InputError, match="expected an object"):
        load_tumortwin(tmp_path)
    (tmp_path / "b.json").write_text("{}")
    with pytest.raises(InputError, match="2 JSON files"):
        load_tumortwin(tmp_path)


# Configs


@pytest.mark.parametrize("name", ["sbtc_001", "gliomasolver_case"])
def test_configs_say_which_variable_is_not_set(name, monkeypatch):
    monkeypatch.delenv("TWINJAX_DATA", raising=False)
    with pytest.raises(InputError, match="set TWINJAX_DATA"):
        load_named("patient", name)


@pytest.mark.parametrize("name", ["folder", "tumortwin", "predict_gbm"])
def test_configs_ask_for_a_path(name):
    with pytest.raises(InputError, match=r"patient.path is not set"):
        load_named("patient", name)


def test_a_config_loads_a_folder(tmp_path):
    files = {"gm": GREY, "wm": WHITE, "csf": 1 - WHITE - GREY, "tumorseg": RIM * 2 + CORE}
    root = write(tmp_path / "Patient-00007", {f"00007-{name}": array for name, array in files.items()})
    patient = load_named("patient", "predict_gbm", path=str(root))
    np.testing.assert_array_equal(patient.baseline.scan.whole_tumor, RIM > 0)


# Real cases


@pytest.fixture(scope="module")
def sbtc_001():
    return load_named("patient", "sbtc_001")


@needs_data
def test_sbtc_001_reproduces_the_published_plan(sbtc_001):
    scan, plan, recurrence = (sbtc_001.baseline.scan, *(sbtc_001.extras[n] for n in ("standard_plan", "recurrence")))
    assert int(plan.sum()) == 350_794
    assert int(recurrence.sum()) == 3_004
    assert (plan & recurrence).sum() == recurrence.sum()
    # The plan is all brain within 15 mm of the core: segmentation, brain mask and plan lie on each other.
    distance = np.asarray(ndimage.distance_transform_edt(~scan.core, sampling=scan.spacing))
    np.testing.assert_array_equal(plan, (distance <= 15) & scan.brain_mask)
    assert int(scan.core.sum()) == 68_417 and int(scan.whole_tumor.sum()) == 127_383
    assert np.asarray(sbtc_001.brain_mask.mask)[scan.whole_tumor].all()


@needs_data
def test_the_sri24_atlas_lies_on_sbtc_001(sbtc_001):
    assert DATA is not None
    file = Path(DATA) / "glioma/sri24_atlas/sub-mni152_tissue-with-antsN4_space-sri.nii.gz"
    atlas = read_nifti(file).data[::-1, ::-1]
    scan, healthy = sbtc_001.baseline.scan, ~sbtc_001.baseline.scan.whole_tumor
    np.testing.assert_array_equal(scan.white_matter, atlas == 3)
    np.testing.assert_array_equal(scan.grey_matter[healthy], (atlas == 2)[healthy])
    dice = 2 * np.sum((atlas > 0) & scan.brain_mask) / (np.sum(atlas > 0) + scan.brain_mask.sum())
    assert dice == pytest.approx(0.939, abs=0.001)


@needs_data
def test_the_gliomasolver_case():
    patient = load_named("patient", "gliomasolver_case")
    scan = patient.baseline.scan
    # 11 stray voxels of the core file count as oedema; the FLAIR mask leaves the core out.
    assert int(scan.core.sum()) == 25_603 - 11
    assert int((scan.segmentation == OEDEMA).sum()) == 150_893 + 11
    assert int(np.asarray(patient.brain_mask.mask).sum()) == 754_865 + 814_193
    assert np.asarray(patient.brain_mask.mask)[scan.whole_tumor].all()
    assert scan.image("FET").max() == 1.0
