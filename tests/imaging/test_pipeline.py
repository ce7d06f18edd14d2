"""The pipeline on small synthetic heads: one grid, physical units, and every refusal."""

import logging
import shutil

import nibabel as nib
import numpy as np
import pytest
from phantom import SIGNALS, anatomy, dice, grid, write_visit

from twinjax.core.errors import InputError
from twinjax.domain import resample
from twinjax.imaging import (
    ExistingMaskSegmenter,
    ImagingPipeline,
    RuleBasedSegmenter,
    brain_template,
    default_preprocessing,
    labels,
    read_nifti,
    write_nifti,
)
from twinjax.imaging.raw_folder import find_files, raw_visits
from twinjax.imaging.registration import largest_motion, register

MODALITIES = ["T1", "T1CE", "T2", "FLAIR"]


def pipeline(**kwargs):
    return ImagingPipeline(**{"modalities": MODALITIES, "registration": "none"} | kwargs)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Two visits of a synthetic patient; the second on another grid and without maps."""
    root = tmp_path_factory.mktemp("patient")
    write_visit(root / "day_0000", core_mm=7.0)
    later = grid((44, 36, 30), (1.4, 1.6, 1.9))
    write_visit(root / "day_0030", core_mm=9.0, seed=1, geometry=later, mask=False, tissue=False)
    (root / "treatment.csv").write_text("day,modality,dose,unit,drug\n3,radiotherapy,2,Gy,\n")
    (root / "truth").mkdir()
    return root


@pytest.fixture(scope="module")
def processed(raw, tmp_path_factory):
    """The call of the documentation, with the Compose that it shows."""
    from monai.transforms import Compose, CropForeground, EnsureChannelFirst, LoadImage, ScaleIntensity, Spacing

    steps = [
        LoadImage(image_only=True),
        EnsureChannelFirst(),
        Spacing(pixdim=(1.0, 1.0, 1.0)),
        ScaleIntensity(minv=0.0, maxv=1.0),
        CropForeground(),
    ]
    output = tmp_path_factory.mktemp("processed") / "patient"
    return pipeline(preprocessing=Compose(steps)).process(raw, output), output


def truth_on(scan, core_mm):
    fine, shape = grid((120, 120, 112), (0.5, 0.5, 0.5))
    return resample(anatomy(fine, shape, core_mm=core_mm)[1], fine, scan.affine, scan.shape, order=0)


def test_images_are_a_metatensor_for_a_monai_inferer(processed):
    from monai.data.meta_tensor import MetaTensor
    from monai.inferers.inferer import SlidingWindowInferer

    imaging, scan = processed[0]["imaging"], processed[0]["scan_baseline"]
    assert isinstance(imaging, MetaTensor) and imaging.shape == (1, 4, *scan.shape)
    np.testing.assert_allclose(np.asarray(imaging.affine), scan.affine)
    np.testing.assert_allclose(scan.spacing, 1.0, atol=1e-6)
    for channel, name in enumerate(MODALITIES):
        np.testing.assert_array_equal(imaging[0, channel].numpy(), scan.image(name))
        assert scan.image(name).min() >= 0 and 0.95 < scan.image(name).max() <= 1 + 1e-6
    halved = SlidingWindowInferer(roi_size=(32, 32, 32))(imaging, lambda window: window / 2)
    np.testing.assert_allclose(np.asarray(halved), np.asarray(imaging) / 2, atol=1e-5)


def test_keys(processed):
    patient = processed[0]
    assert list(patient) == ["imaging", "segmentation", "scan_baseline", "scan_followup", "visits"]
    assert len(patient) == 5
    assert patient["segmentation"].shape == (1, 1, *patient["scan_baseline"].shape)
    assert [day for day, _ in patient["visits"]] == [0.0, 30.0]
    assert patient["visits"][1][1] is patient["scan_followup"]
    with pytest.raises(KeyError):
        patient["images"]


@pytest.mark.parametrize(("key", "core_mm"), [("scan_baseline", 7.0), ("scan_followup", 9.0)])
def test_every_visit_is_segmented_on_the_grid_of_the_baseline(processed, key, core_mm):
    scan, first = processed[0][key], processed[0]["scan_baseline"]
    assert scan.shape == first.shape
    np.testing.assert_array_equal(scan.affine, first.affine)
    truth = truth_on(scan, core_mm)
    assert dice(scan.whole_tumor, truth > 0) > 0.85
    assert dice(scan.core, np.isin(truth, labels.CORE)) > 0.85


def test_adc_keeps_its_units(processed):
    scan = processed[0]["scan_baseline"]
    truth = truth_on(scan, 7.0)
    oedema = scan.image("ADC")[truth == labels.OEDEMA]
    # Slices of 3 mm share their outermost voxels with healthy tissue.
    assert np.median(oedema) == pytest.approx(SIGNALS["ADC"][4], rel=0.04)


def test_output_is_the_processed_layout(processed, raw):
    patient, output = processed
    names = ["ADC", "FLAIR", "T1", "T1CE", "T2", "brain_mask", "grey_matter", "segmentation", "white_matter"]
    for folder, (_, scan) in zip(("day_0000", "day_0030"), patient["visits"], strict=True):
        assert sorted(p.name for p in (output / folder).iterdir()) == [f"{name}.nii.gz" for name in names]
        written = read_nifti(output / folder / "segmentation.nii.gz")
        np.testing.assert_array_equal(written.data, scan.segmentation)
        np.testing.assert_allclose(written.affine, scan.affine, atol=1e-5)
        np.testing.assert_array_equal(read_nifti(output / folder / "ADC.nii.gz").data, scan.image("ADC"))
    assert (output / "treatment.csv").read_text() == (raw / "treatment.csv").read_text()


def test_processing_again_replaces_the_output(processed, raw, tmp_path):
    patient, output = processed
    shutil.copytree(output, tmp_path / "out")
    (tmp_path / "out" / "day_0000" / "FET.nii.gz").write_bytes(b"of an earlier run")
    pipeline().process(raw, tmp_path / "out")
    assert not (tmp_path / "out" / "day_0000" / "FET.nii.gz").exists()
    np.testing.assert_allclose(
        read_nifti(tmp_path / "out" / "day_0000" / "T1.nii.gz").data, patient["scan_baseline"].image("T1"), atol=1e-6
    )


def test_crop_boxes_of_single_images_are_united(tmp_path):
    """T1 shows the upper half of the head only: nothing of the others may be lost."""
    folder = write_visit(tmp_path / "day_0000")
    t1 = read_nifti(folder / "T1.nii.gz")
    t1.data[:, :, :8] = 0
    write_nifti(folder / "T1.nii.gz", t1.data, t1.affine)
    names = ["T1", "T2"]
    labels_file = np.zeros(t1.data.shape, np.int8)
    labels_file[18:24, 18:24, 10:16] = 1
    write_nifti(folder / "segmentation.nii.gz", labels_file, t1.affine)
    scan = pipeline(modalities=names, segmentation_model=ExistingMaskSegmenter()).process(tmp_path)["scan_baseline"]
    brain = anatomy(*grid())[0] > 0
    volume = brain.sum() * np.prod([1.5, 1.5, 2.0])
    assert (scan.image("T2") > 0).sum() >= volume
    assert scan.core.sum() == pytest.approx(6**3 * 1.5 * 1.5 * 2, rel=0.1)


def test_a_flat_folder_is_one_visit_without_followup(tmp_path):
    write_visit(tmp_path / "flat")
    patient = pipeline().process(tmp_path / "flat", tmp_path / "out")
    assert (tmp_path / "out" / "day_0000" / "segmentation.nii.gz").is_file()
    assert "scan_followup" not in list(patient) and len(patient) == 4
    with pytest.raises(InputError, match="one visit"):
        patient["scan_followup"]


def test_the_brain_mask_is_estimated_from_the_images(tmp_path):
    write_visit(tmp_path / "day_0000", mask=False)
    scan = pipeline().process(tmp_path)["scan_baseline"]
    fine = anatomy(scan.affine, scan.shape)[0] > 0
    assert dice(scan.brain_mask, fine) > 0.95


def test_a_moved_head_is_moved_back(tmp_path):
    moved = np.eye(4)
    turn = np.deg2rad(6)
    moved[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    moved[:3, 3] = [2.5, -3.0, 2.0]
    write_visit(tmp_path / "day_0000", core_mm=8.0)
    write_visit(tmp_path / "day_0030", core_mm=8.0, moved=moved, seed=2, mask=False, tissue=False)
    results = {kind: pipeline(registration=kind).process(tmp_path) for kind in ("none", "rigid")}
    overlap = {k: dice(p["scan_baseline"].whole_tumor, p["scan_followup"].whole_tumor) for k, p in results.items()}
    assert overlap["rigid"] > 0.9 > overlap["none"]


def test_registration_finds_a_known_motion():
    scan = brain_template(4.0)
    motion = np.eye(4)
    turn = np.deg2rad(8)
    motion[:3, :3] = [[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]]
    motion[:3, 3] = [4, -6, 3]
    t1 = scan.image("T1")
    found = register(t1, scan.affine, t1, motion @ scan.affine, resolution_mm=4.0)
    assert largest_motion(np.linalg.inv(motion) @ found, scan.brain_mask, scan.affine) < 0.5


def test_tissue_comes_from_the_template_where_there_is_none(tmp_path):
    """The template itself as a patient, scaled and moved: its tissue must be found again."""
    scan = brain_template(3.0)
    change = np.diag([1.06, 0.95, 1.0, 1.0])
    change[:3, 3] = [5, -4, 6]
    affine = change @ scan.affine
    tumor = np.zeros(scan.shape, np.int8)
    tumor[30:36, 40:46, 30:36] = labels.ENHANCING
    for name, array in {"T1": scan.image("T1"), "brain_mask": scan.brain_mask, "segmentation": tumor}.items():
        write_nifti(tmp_path / f"{name}.nii.gz", array, affine)
    from monai.transforms import Compose, EnsureChannelFirst, LoadImage

    found = ImagingPipeline(
        ["T1"], Compose([LoadImage(image_only=True), EnsureChannelFirst()]), "existing_mask"
    ).process(tmp_path)["scan_baseline"]
    assert found.shape == scan.shape
    assert dice(found.white_matter > 0.5, scan.white_matter > 0.5) > 0.9
    assert dice(found.grey_matter > 0.5, scan.grey_matter > 0.5) > 0.85


def test_a_fourth_axis_of_one_is_no_obstacle(one):
    image = nib.load(one / "T1.nii.gz")
    nib.save(nib.Nifti1Image(image.get_fdata(dtype=np.float32)[..., None], image.affine), one / "T1.nii.gz")
    assert pipeline().process(one.parent)["imaging"].shape[:2] == (1, 4)


def test_names_of_files(tmp_path):
    names = ["sub-01_T1.nii.gz", "BraTS-00001-t1c.nii.gz", "x_t2w.nii", "Flair.nii.gz", "p_ADC.nii.gz", "p_seg.nii.gz"]
    for name in [*names, "other.nii.gz", "notes.txt"]:
        (tmp_path / name).touch()
    found = find_files(tmp_path, tmp_path)
    assert {key: path.name for key, path in found.items()} == dict(
        zip(["T1", "T1CE", "T2", "FLAIR", "ADC", "segmentation"], names, strict=True)
    )
    (tmp_path / "t1gd.nii.gz").touch()
    with pytest.raises(InputError, match="are both T1CE"):
        find_files(tmp_path, tmp_path)


def test_calendar_dates_become_days(tmp_path):
    for name in ("2024-03-01", "2024-02-28", "2024-04-01"):
        (tmp_path / name).mkdir()
    assert [(v.day, v.name) for v in raw_visits(tmp_path)] == [(0, "2024-02-28"), (2, "2024-03-01"), (33, "2024-04-01")]


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ([], "no visit folders"),
        (["day_0000", "2024-03-01"], "mixes"),
        (["day_0014", "day_0030"], "must be day_0000"),
        (["day_0000", "day_30", "day_0030"], "same day"),
        (["day_0000", "day-30"], "write day_"),
        (["2024-02-30"], "no calendar date"),
    ],
)
def test_badly_named_visits(tmp_path, folders, message):
    for name in folders:
        (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=message):
        raw_visits(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"modalities": "T1"}, "give a list"),
        ({"modalities": ["T1", "T9"]}, "T9"),
        ({"modalities": []}, "modalities"),
        ({"modalities": ["ADC"]}, "other than ADC"),
        ({"modalities": ["T1", "T1"]}, "once"),
        ({"modalities": ["T1", "T2"]}, "needs FLAIR, T1CE"),
        ({"segmentation_model": "by_eye"}, "choose one of .*rule_based"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(InputError, match=message):
        pipeline(**settings)


@pytest.fixture
def one(raw, tmp_path):
    """A copy of the baseline to spoil."""
    return shutil.copytree(raw / "day_0000", tmp_path / "patient" / "day_0000")


def rewrite(path, *, data=None, affine=None):
    image = read_nifti(path)
    write_nifti(path, image.data if data is None else data, image.affine if affine is None else affine)


def test_missing_modality_names_what_there_is(one):
    (one / "FLAIR.nii.gz").unlink()
    with pytest.raises(InputError, match="'day_0000': FLAIR missing, found ADC, T1, T1CE, T2"):
        pipeline().process(one.parent)


def test_missing_folder(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        pipeline().process(tmp_path / "none")


def test_truncated_image(one):
    path = one / "T2.nii.gz"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match="T2.nii.gz is corrupt"):
        pipeline().process(one.parent)


def test_links_out_of_the_folder(one, tmp_path):
    shutil.move(one / "T1.nii.gz", tmp_path / "T1.nii.gz")
    (one / "T1.nii.gz").symlink_to(tmp_path / "T1.nii.gz")
    with pytest.raises(InputError, match="T1.nii.gz' leads out"):
        pipeline().process(one.parent)
    (one / "T1.nii.gz").unlink()
    shutil.move(one, tmp_path / "elsewhere")
    one.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="day_0000' leads out"):
        pipeline().process(one.parent)


def test_images_of_different_places(one):
    affine = read_nifti(one / "T2.nii.gz").affine
    affine[:3, 3] += 5e4
    rewrite(one / "T2.nii.gz", affine=affine)
    with pytest.raises(InputError, match="too far apart"):
        pipeline().process(one.parent)


def test_no_tumour(tmp_path):
    write_visit(tmp_path / "day_0000", core_mm=0)
    with pytest.raises(InputError, match="'day_0000': empty tumour"):
        pipeline().process(tmp_path)


def test_a_later_visit_may_be_free_of_tumour(tmp_path, caplog):
    write_visit(tmp_path / "day_0000")
    write_visit(tmp_path / "day_0090", core_mm=0)
    with caplog.at_level(logging.WARNING, logger="twinjax"):
        followup = pipeline().process(tmp_path)["scan_followup"]
    assert not followup.whole_tumor.any() and "no tumour found on day 90" in caplog.text


def test_adc_in_other_units(one):
    rewrite(one / "ADC.nii.gz", data=read_nifti(one / "ADC.nii.gz").data * 1e6)
    with pytest.raises(InputError, match="ADC must be in mm²/s"):
        pipeline().process(one.parent)


def test_tissue_in_per_cent(one):
    rewrite(one / "white_matter.nii.gz", data=read_nifti(one / "white_matter.nii.gz").data * 100.0)
    with pytest.raises(InputError, match="white_matter.nii.gz must hold fractions"):
        pipeline().process(one.parent)


def test_empty_brain_mask(one):
    rewrite(one / "brain_mask.nii.gz", data=np.zeros((40, 40, 28), np.int8))
    with pytest.raises(InputError, match="brain mask is empty"):
        pipeline().process(one.parent)


def test_unknown_labels_of_an_existing_mask(one):
    labels_file = np.zeros((40, 40, 28), np.int8)
    labels_file[20:25, 20:25, 10:15] = 9
    write_nifti(one / "segmentation.nii.gz", labels_file, grid()[0])
    with pytest.raises(InputError, match="labels \\[9\\]"):
        pipeline(segmentation_model=ExistingMaskSegmenter()).process(one.parent)


def test_preprocessing_that_gives_no_image(one):
    from monai.transforms import Compose, LoadImage, ScaleIntensity

    with pytest.raises(InputError, match="\\(1, X, Y, Z\\)"):
        pipeline(preprocessing=Compose([LoadImage(image_only=True)])).process(one.parent)
    with pytest.raises(InputError, match="start it with LoadImage"):
        pipeline(preprocessing=Compose([ScaleIntensity()])).process(one.parent)


def test_output_folders_that_are_refused(one, tmp_path):
    with pytest.raises(InputError, match="lies in the raw patient folder"):
        pipeline().process(one.parent, one.parent / "processed")
    (tmp_path / "out" / "day_0099").mkdir(parents=True)
    with pytest.raises(InputError, match="day_0099"):
        pipeline().process(one.parent, tmp_path / "out")


def test_nothing_is_logged_about_who_the_patient_is(one, tmp_path, caplog):
    named = shutil.move(one.parent, tmp_path / "Jane_Doe")
    with caplog.at_level(logging.DEBUG, logger="twinjax"):
        pipeline().process(named, tmp_path / "out")
    assert "visit 1 of 1" in caplog.text and "Jane" not in caplog.text
    assert all(b"Jane" not in path.read_bytes() for path in (tmp_path / "out").rglob("*.nii.gz"))


def test_default_preprocessing_is_the_documented_one():
    names = [type(step).__name__ for step in default_preprocessing().transforms]
    assert names == ["LoadImage", "EnsureChannelFirst", "Spacing", "ScaleIntensity", "CropForeground"]
    assert isinstance(ImagingPipeline(MODALITIES).segmenter, RuleBasedSegmenter)
