"""The patients of a cohort: folders, lines of a table, and virtual ones; seeds follow the name."""

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from twinjax.core.config import conf_dir, instantiate
from twinjax.core.errors import InputError
from twinjax.job.cohort import FolderCohort, TableCohort, VirtualCohort
from twinjax.job.cohort.source import seed_of

FOLDER = {"_target_": "twinjax.patient.load_folder", "path": None, "patient_id": None, "body_surface_area_m2": None}
TRIAL = {"_target_": "twinjax.patient.load_bruchovsky", "data_folder": "data", "case": "prostate", "patient_id": "P17"}
PRIOR = {
    "_target_": "twinjax.calibration.Prior",
    "parameters": {"growth_rate": {"distribution": ["lognormal", 0.001, 0.5], "where": ["model.growth_rate"]}},
}


def table(tmp_path, text: str) -> TableCohort:
    (tmp_path / "patients.csv").write_text(text, encoding="utf-8")
    return TableCohort(tmp_path / "patients.csv")


def test_folders_are_patients(tmp_path):
    for name in ("B", "A", ".hidden"):
        (tmp_path / name).mkdir()
    (tmp_path / "notes.txt").touch()
    members = FolderCohort(tmp_path).members({"patient": FOLDER, "seed": 0})
    assert [member.name for member in members] == ["A", "B"]
    assert [member.patient["path"] for member in members] == [str(tmp_path / "A"), str(tmp_path / "B")]
    alone = FolderCohort(tmp_path)
    (tmp_path / "A").rmdir()
    # The seed is that of the name, whoever else is there.
    assert alone.members({"patient": FOLDER, "seed": 0})[0].seed == members[1].seed == seed_of(0, "B")
    assert seed_of(1, "B") != seed_of(0, "B") != seed_of(0, "A")


def test_lines_of_a_table_are_patients(tmp_path):
    (tmp_path / "scans").mkdir()
    cohort = table(tmp_path, "patient,path,body_surface_area_m2\n007,scans,1.8\nB 2,../elsewhere,\n")
    first, second = cohort.members({"patient": FOLDER, "seed": 0})
    assert (first.name, first.patient["patient_id"], first.patient["body_surface_area_m2"]) == ("007", "007", 1.8)
    assert first.patient["path"] == str(tmp_path / "scans")
    assert second.patient["body_surface_area_m2"] is None and second.patient["path"].endswith("elsewhere")
    (tmp_path / "scans" / "new.nii").touch()
    again = cohort.members({"patient": FOLDER, "seed": 0})
    assert again[0].inputs != first.inputs and again[1].inputs == second.inputs


def test_a_table_of_names_is_enough_for_a_public_set(tmp_path):
    members = table(tmp_path, "patient\nP1\nP6\n").members({"patient": TRIAL, "seed": 0})
    assert [member.patient for member in members] == [TRIAL | {"patient_id": "P1"}, TRIAL | {"patient_id": "P6"}]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,path\nA,a\n", "column patient"),
        ("patient,colour\nA,red\n", "'colour' is no key .* patient_id"),
        ("patient,path\nA\n", "line 2: .* as many fields"),
        ("patient,path\n../A,a\n", "line 2: patient"),
        ("patient,path\nA,a\nA,b\n", "'A' is there more than once"),
        ("patient,path\n", "no patients"),
    ],
)
def test_a_bad_table_is_refused(tmp_path, text, words):
    with pytest.raises(InputError, match=words):
        table(tmp_path, text).members({"patient": FOLDER, "seed": 0})


@pytest.mark.parametrize(
    ("cohort", "words"),
    [
        (FolderCohort(), "cohort.path is not set"),
        (TableCohort("nowhere.csv"), "nowhere.csv"),
        (VirtualCohort(0), "cohort.patients"),
    ],
)
def test_a_cohort_that_is_not_there_is_refused(cohort, words):
    with pytest.raises(InputError, match=words):
        cohort.members({"patient": FOLDER, "prior": PRIOR, "seed": 0})


def test_a_path_of_one_patient_contradicts_a_cohort(tmp_path):
    with pytest.raises(InputError, match="patient.path .* leave it out"):
        FolderCohort(tmp_path).members({"patient": FOLDER | {"path": "a"}, "seed": 0})


def test_real_patients_are_not_drawn():
    with pytest.raises(InputError, match="patient=virtual_"):
        VirtualCohort(2).members({"patient": FOLDER, "prior": PRIOR, "seed": 0})


def test_folders_need_a_patient_with_a_path(tmp_path):
    with pytest.raises(InputError, match="patient=folder"):
        FolderCohort(tmp_path).members({"patient": TRIAL, "seed": 0})


def test_virtual_patients_are_numbered_and_drawn():
    model = {"_target_": "twinjax.model.ClaretInhibition"}
    rates = {"growth_rate": 0.0014, "drug_kill_rate": 0.014, "resistance_rate": 0.017}
    like = {
        "_target_": "twinjax.patient.VirtualCourse",
        "patient_id": "virtual_claret",
        "model": model | rates,
        "size": 90,
        "schedule": {"sum_of_diameters_mm": [0, 42, 84]},
        "noise": {"sum_of_diameters_mm": 0.08},
    }
    config = {"patient": like, "prior": PRIOR, "seed": 5}
    members = VirtualCohort(12).members(config)
    assert [members[0].name, members[-1].name] == ["virtual_0001", "virtual_0012"]
    assert members[:2] == VirtualCohort(2).members(config)
    drawn = members[0].patient
    assert drawn["_target_"] == "twinjax.calibration.drawn_patient" and drawn["patient"] == like
    assert drawn["seed"] == members[0].seed != members[1].seed and drawn["patient_id"] == "virtual_0001"


def test_tables_of_measurements_are_patients(tmp_path):
    """A synthetic patient a line; a change in one of its files makes its results old."""
    header = "day,quantity,value,unit\n"
    (tmp_path / "sizes").mkdir()
    for name, size in (("a", 8), ("b", 9)):
        (tmp_path / "sizes" / f"{name}.csv").write_text(f"{header}0,diameter,{size},cm\n30,diameter,80,mm\n")
    (tmp_path / "given.csv").write_text("day,modality,dose,unit,drug\n5,radiotherapy,2,Gy,\n")
    cohort = table(tmp_path, "patient,path,treatment_file\nA,sizes/a.csv,\nB,sizes/b.csv,given.csv\n")
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        composed = OmegaConf.to_container(compose("config", ["patient=table"]).patient)
    first, second = cohort.members({"patient": composed, "seed": 0})
    courses = [instantiate(member.patient) for member in (first, second)]
    assert [course.patient_id for course in courses] == ["A", "B"]
    assert [course.measurements["diameter_mm"][1].tolist() for course in courses] == [[80, 80], [90, 80]]
    assert [len(course.regimen.treatments) for course in courses] == [0, 1]
    for path in (tmp_path / "sizes" / "b.csv", tmp_path / "given.csv"):
        before = cohort.members({"patient": composed, "seed": 0})
        path.write_text(path.read_text() + "\n")
        after = cohort.members({"patient": composed, "seed": 0})
        assert after[0].inputs == before[0].inputs and after[1].inputs != before[1].inputs
