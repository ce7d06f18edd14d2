"""PatientData from memory and from processed folders, good and bad."""

import logging

import nibabel
import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.imaging.nifti import write_nifti
from twinjax.imaging.scan import Scan
from twinjax.model import AnisotropicFisherKPP
from twinjax.patient import PatientData, Visit, load_folder
from twinjax.patient.truth import SpatialTruth
from twinjax.treatment import Radiotherapy, Regimen

SHAPE = (6, 7, 5)
AFFINE = np.diag([-1.0, 1.0, 2.0, 1.0])


def segmentation(tumor: bool = True) -> np.ndarray:
    labels = np.zeros(SHAPE, np.int8)
    if tumor:
        labels[2:4, 2:4, 2] = 3
        labels[2, 2, 2] = 1
        labels[4, 2:4, 2] = 2
    return labels


def scan(affine=AFFINE, labels=None, **maps) -> Scan:
    labels = segmentation() if labels is None else labels
    return Scan(affine, {}, labels, **({"brain_mask": np.ones(SHAPE, bool)} | maps))


def patient(days=(0, 30, 60), **arguments) -> PatientData:
    regimen = Regimen((Radiotherapy(np.asarray([10.0, 30.0, 40.0]), np.asarray([2.0, 2.0, 2.0])),))
    return PatientData.from_visits("synthetic_1", [Visit(day, scan()) for day in days], regimen, **arguments)


def write_visit(folder, *, affine=AFFINE, labels=None, without=(), **more):
    folder.mkdir(parents=True)
    white = np.zeros(SHAPE, np.float32)
    white[:, :4] = 0.8
    files = {
        "segmentation": segmentation() if labels is None else labels,
        "brain_mask": np.ones(SHAPE, np.int8),
        "white_matter": white,
        "grey_matter": np.where(white > 0, 0.2, 0.4).astype(np.float32),
        "FLAIR": np.full(SHAPE, 3.0, np.float32),
        **more,
    }
    for name, array in files.items():
        if name not in without:
            write_nifti(folder / f"{name}.nii.gz", array, affine)


# In memory


def test_the_domain_comes_from_the_baseline_tissue():
    white, grey = np.zeros(SHAPE), np.zeros(SHAPE)
    white[1:5], grey[5] = 1.0, 0.4
    mask = np.ones(SHAPE, bool)
    mask[1] = False
    visits = [Visit(0, scan(white_matter=white, grey_matter=grey, brain_mask=mask))]
    domain = PatientData.from_visits("a", visits).brain_mask
    np.testing.assert_array_equal(np.flatnonzero(np.asarray(domain.mask).all(axis=(1, 2))), [2, 3, 4])
    assert domain.spacing == (1.0, 1.0, 2.0)
    np.testing.assert_array_equal(domain.affine, AFFINE)


def test_without_tissue_maps_the_brain_mask_is_white_matter_with_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        domain = patient().brain_mask
    assert "white matter" in caplog.text
    assert np.asarray(domain.white_matter).all() and not np.asarray(domain.grey_matter).any()


TRUTH = SpatialTruth((0.0,), np.zeros((1, *SHAPE)), Domain(np.ones(SHAPE), (1.0,) * 3), {}, {"diffusivity": 0.1})


def test_source_follows_the_truth_and_the_repr_keeps_the_name():
    assert patient().source == "real"
    assert patient(truth=TRUTH).source == "synthetic"
    assert patient(source="synthetic").source == "synthetic"
    assert "synthetic_1" not in repr(patient())
    with pytest.raises(InputError, match="source must be"):
        patient(source="unknown")


def test_until_knows_nothing_of_later():
    recurrence = np.zeros(SHAPE, bool)
    whole = patient(extras={"recurrence": recurrence}, truth=TRUTH)
    early = whole.until(30)
    assert early.days.tolist() == [0, 30]
    # The dose on the day of the last scan is given after it.
    np.testing.assert_allclose(early.regimen.treatments[0].times, [10])
    assert early.extras == {} and early.truth is None and early.source == "synthetic"
    assert early.brain_mask is whole.brain_mask
    assert [visit.day for visit in whole.visits_after(30)] == [60]
    assert whole.visits_after(60) == ()
    with pytest.raises(InputError, match="no visit on or before day -1"):
        whole.until(-1)


def test_laboratory_values_make_a_course():
    visits = [Visit(0, scan(), {"psa_ng_ml": 8.0}), Visit(30, scan()), Visit(60, scan(), {"psa_ng_ml": 5.0})]
    course = PatientData.from_visits("synthetic_1", visits, source="synthetic").laboratory
    days, values = course.measurements["psa_ng_ml"]
    assert (days.tolist(), values.tolist(), course.source) == ([0.0, 60.0], [8.0, 5.0], "synthetic")
    assert patient().laboratory is None


@pytest.mark.parametrize("name", ["", "../a", "a/b", "a\\b", "/etc", "..", ".hidden", "a\nb", "x" * 65, "a..b"])
def test_a_patient_id_that_could_be_a_path_is_refused(name):
    with pytest.raises(InputError, match="patient_id must be"):
        PatientData.from_visits(name, [Visit(0, scan())])


def test_visits_must_share_one_grid():
    shifted = AFFINE.copy()
    shifted[0, 3] = 1.0
    with pytest.raises(InputError, match=r"day 30 is on another grid .* register it to the baseline"):
        PatientData.from_visits("a", [Visit(0, scan()), Visit(30, scan(shifted))])
    small = Scan(AFFINE, {}, segmentation()[:-1], np.ones((5, 7, 5), bool))
    with pytest.raises(InputError, match="day 14 is on another grid"):
        PatientData.from_visits("a", [Visit(0, scan()), Visit(14, small)])


@pytest.mark.parametrize(("days", "message"), [((0, 0), "more than one visit"), ((30, 0), "order of their days")])
def test_repeated_or_unsorted_days_are_refused(days, message):
    with pytest.raises(InputError, match=message):
        patient(days)


def test_what_is_missing_is_named():
    with pytest.raises(InputError, match="at least one visit"):
        PatientData.from_visits("a", [])
    unsegmented = Scan(AFFINE, {"T1": np.ones(SHAPE)}, None, np.ones(SHAPE, bool))
    with pytest.raises(InputError, match=r"day 7 has no segmentation; run ImagingPipeline"):
        PatientData.from_visits("a", [Visit(0, scan()), Visit(7, unsegmented)])
    with pytest.raises(InputError, match="no tumour"):
        PatientData.from_visits("a", [Visit(0, scan(labels=segmentation(tumor=False)))])
    with pytest.raises(InputError, match="neither tissue maps nor a brain mask"):
        PatientData.from_visits("a", [Visit(0, scan(brain_mask=None))])
    with pytest.raises(InputError, match=r"extras\['recurrence'\] has shape"):
        patient(extras={"recurrence": np.zeros((2, 2, 2), bool)})


def test_no_tumour_left_at_a_later_visit_is_fine():
    visits = [Visit(0, scan()), Visit(30, scan(labels=segmentation(tumor=False)))]
    assert not PatientData.from_visits("a", visits).visits[1].scan.whole_tumor.any()


# From a folder


def test_a_folder_with_numbered_days(tmp_path):
    root = tmp_path / "GBM_001"
    write_visit(root / "day_0000", ADC=np.full(SHAPE, 1e-3, np.float32))
    write_visit(root / "day_0030", labels=segmentation() * (segmentation() != 2))
    write_visit(root / "day_0100")
    (root / "treatment.csv").write_text("day,modality,dose,unit,drug\n5,radiotherapy,2,Gy,\n")
    loaded = PatientData(patient_id="GBM_001", imaging_dir=root, treatment_file=root / "treatment.csv")
    assert loaded.days.tolist() == [0, 30, 100]
    assert loaded.source == "real" and loaded.extras == {}
    np.testing.assert_array_equal(loaded.baseline.scan.segmentation, segmentation())
    np.testing.assert_allclose(loaded.baseline.scan.image("ADC"), 1e-3)
    assert set(loaded.visits[1].scan.images) == {"FLAIR"}
    assert loaded.visits[1].scan.whole_tumor.sum() == 4
    # The first four columns are 0.8 white and 0.2 grey matter, the others 0.4 grey: below one half.
    assert np.asarray(loaded.brain_mask.mask).sum() == 6 * 4 * 5
    np.testing.assert_allclose(loaded.regimen.treatments[0].times, [5])


def test_diffusion_tensors_of_the_baseline_are_maps_of_the_tissue(tmp_path):
    """As MRtrix writes them: xx, yy, zz, xy, xz, yz along the axes of patient space, of which the first is reversed."""
    write_visit(tmp_path / "day_0000")
    write_visit(tmp_path / "day_0030")
    tensor = np.broadcast_to([2.0, 1.0, 1.0, 0.3, 0.0, 0.1], (*SHAPE, 6)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(tensor, AFFINE), tmp_path / "day_0000" / "diffusion_tensor.nii.gz")
    domain = PatientData("P1", tmp_path).brain_mask
    inside = np.asarray(domain.mask)
    for name, value in {"xx": 2.0, "yy": 1.0, "xy": -0.3, "yz": 0.1}.items():
        np.testing.assert_allclose(np.asarray(domain.map(f"diffusion_tensor_{name}"))[inside], value, rtol=1e-6)
    assert AnisotropicFisherKPP(domain).relative_tensor().shape == (3, 3, *SHAPE)
    nibabel.save(nibabel.Nifti1Image(tensor[1:], AFFINE), tmp_path / "day_0000" / "diffusion_tensor.nii.gz")
    with pytest.raises(InputError, match=r"diffusion_tensor.nii.gz has another grid .shape \(5, 7, 5\)"):
        PatientData("P1", tmp_path)


def test_the_table_in_the_folder_is_never_passed_over(tmp_path):
    write_visit(tmp_path / "a" / "day_0000")
    assert load_folder(tmp_path / "a").regimen.treatments == ()
    (tmp_path / "a" / "treatment.csv").write_text("day,modality,dose,unit,drug\n5,chemotherapy,150,mg,temozolomide\n")
    loaded = load_folder(tmp_path / "a", body_surface_area_m2=2.0)
    assert loaded.patient_id == "a"
    np.testing.assert_allclose(loaded.regimen.treatments[0].times, [5])


def test_a_folder_with_dates(tmp_path):
    for name in ("2024-02-28", "2024-03-01"):
        write_visit(tmp_path / name)
    (tmp_path / "treatment.csv").write_text("date,modality,dose,unit,drug\n2024-02-29,radiotherapy,2,Gy,\n")
    loaded = PatientData("a", tmp_path)
    assert loaded.days.tolist() == [0, 2]
    np.testing.assert_allclose(loaded.regimen.treatments[0].times, [1])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "has no visit folders"),
        (("day_0000", "2024-03-01"), "mixes day_NNNN and dates"),
        (("day_0000", "followup"), "folder 'followup' is no visit"),
        (("2024-03-01", "2024-13-01"), "folder '2024-13-01' is no calendar date"),
        (("20240301",), "is no visit"),
        (("day_0000", "day_-007"), "visit folder 'day_-007'"),
        (("day_0000", "day_x"), "visit folder 'day_x'"),
        (("day_0000", "day_0014", "day_14"), "name the same day"),
        (("day_0003", "day_0014"), "the first visit is day_0003"),
    ],
)
def test_bad_visit_names_are_refused(tmp_path, names, message):
    (tmp_path / "patient").mkdir()
    for name in names:
        (tmp_path / "patient" / name).mkdir()
    with pytest.raises(InputError, match=message):
        PatientData("a", tmp_path / "patient")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"without": ("segmentation",)}, r"segmentation.nii.gz is missing in 'day_0000'; run ImagingPipeline"),
        ({"labels": np.full(SHAPE, 7, np.int8)}, r"labels \[7\] do not belong"),
        ({"white_matter": np.full(SHAPE, 80.0, np.float32)}, "white_matter must hold fractions"),
        ({"FLAIR": np.ones((6, 7, 4), np.float32)}, "has another grid"),
        ({"labels": segmentation(tumor=False)}, "no tumour"),
        ({"without": ("white_matter", "grey_matter", "brain_mask")}, "neither tissue maps nor a brain mask"),
    ],
)
def test_bad_visit_files_are_refused(tmp_path, change, message):
    write_visit(tmp_path / "day_0000", **change)
    with pytest.raises(InputError, match=message):
        PatientData("a", tmp_path)


def test_a_visit_on_another_grid_is_named(tmp_path):
    write_visit(tmp_path / "day_0000")
    write_visit(tmp_path / "day_0030", affine=np.diag([1.0, 1.0, 2.0, 1.0]))
    with pytest.raises(InputError, match="day 30 is on another grid"):
        PatientData("a", tmp_path)


def test_links_out_of_the_folder_are_refused(tmp_path):
    write_visit(tmp_path / "other" / "day_0000")
    (tmp_path / "patient").mkdir()
    (tmp_path / "patient" / "day_0000").symlink_to(tmp_path / "other" / "day_0000")
    with pytest.raises(InputError, match="leads out of"):
        PatientData("a", tmp_path / "patient")
    write_visit(tmp_path / "linked" / "day_0000", without=("segmentation",))
    target = tmp_path / "other" / "day_0000" / "segmentation.nii.gz"
    (tmp_path / "linked" / "day_0000" / "segmentation.nii.gz").symlink_to(target)
    with pytest.raises(InputError, match="leads out of"):
        PatientData("a", tmp_path / "linked")


def test_a_linked_treatment_table_is_refused(tmp_path):
    write_visit(tmp_path / "patient" / "day_0000")
    (tmp_path / "treatment.csv").write_text("day,modality,dose,unit,drug\n")
    (tmp_path / "patient" / "treatment.csv").symlink_to(tmp_path / "treatment.csv")
    with pytest.raises(InputError, match="leads out of"):
        load_folder(tmp_path / "patient")
    (tmp_path / "patient" / "treatment.csv").unlink()
    # Named by the user, a table may lie anywhere.
    loaded = PatientData("a", tmp_path / "patient", tmp_path / "treatment.csv", source="synthetic")
    assert loaded.source == "synthetic" and loaded.regimen.treatments == ()


def test_unknown_images_and_missing_folders_are_named(tmp_path, caplog):
    write_visit(tmp_path / "day_0000", T1C=np.ones(SHAPE, np.float32))
    with caplog.at_level(logging.WARNING):
        PatientData("a", tmp_path)
    assert "T1C.nii.gz is not read" in caplog.text
    with pytest.raises(InputError, match="does not exist"):
        PatientData("a", tmp_path / "none")
    with pytest.raises(InputError, match=r"patient.path is not set"):
        load_folder()
