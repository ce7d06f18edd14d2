"""The command line: what is wrong with a setting or a file ends in one line and exit code 2, before any work."""

import csv
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from twinjax import job
from twinjax.core.config import conf_dir, load_named
from twinjax.core.errors import InputError
from twinjax.core.folder import only_job_in
from twinjax.domain import Domain
from twinjax.imaging import write_nifti
from twinjax.job import settings_of
from twinjax.job.output import Run
from twinjax.job.patient import without_places
from twinjax.model import UntimedFisherKPP

SHAPE = (16, 16, 16)
AFFINE = np.diag([-2.0, 2.0, 2.0, 1.0])
# One patient, and a cohort.
MANY = [(), ("cohort=virtual", "cohort.patients=2")]


def write_visit(folder: Path, *, radius: float = 4.0, affine=AFFINE, shape=SHAPE) -> None:
    """A processed visit of a synthetic tumour: a ball of `radius` voxels in a block of white matter."""
    folder.mkdir(parents=True, exist_ok=True)
    distance = np.linalg.norm(np.indices(shape) - 7.5, axis=0)
    arrays = {
        "T1CE": np.exp(-distance / 4).astype(np.float32),
        "segmentation": np.select([distance < radius - 1.5, distance < radius], [3, 2]).astype(np.int8),
        "brain_mask": np.ones(shape, np.int8),
        "white_matter": np.full(shape, 0.8, np.float32),
        "grey_matter": np.full(shape, 0.2, np.float32),
    }
    for name, array in arrays.items():
        write_nifti(folder / f"{name}.nii.gz", array, affine)


def write_treatment(folder: Path, unit: str = "Gy") -> None:
    with open(folder / "treatment.csv", "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["day", "modality", "dose", "unit", "drug"], [5, "radiotherapy", 2, unit, ""]])


@pytest.fixture
def folder(tmp_path):
    """A good processed folder with visits on the days 0 and 30."""
    for day, radius in ((0, 4.0), (30, 5.0)):
        write_visit(tmp_path / "patient" / f"day_{day:04d}", radius=radius)
    write_treatment(tmp_path / "patient")
    return tmp_path / "patient"


@pytest.fixture
def refused(tmp_path, capsys, command):
    """Runs the command with arguments that it must refuse; returns its one line."""

    def run(*arguments: str) -> str:
        where = [] if arguments[0] in ("compare", "predict_gbm") else [f"hydra.run.dir={tmp_path / 'output'}"]
        code = command(*arguments, *where)
        shown = capsys.readouterr()
        assert code == 2
        lines = shown.err.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("twinjax: "), shown.err
        # Refused at the door: no stage has begun.
        assert "[1/" not in shown.out
        assert not list((tmp_path / "output").glob("raw"))
        return lines[0]

    return run


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("patient=nonsense", ("patient/nonsense", "virtual_glioblastoma", "sbtc_001")),
        ("calibrator=guess", ("calibrator/guess", "laplace", "nuts")),
        ("nokey=3", ("nokey",)),
        ("forecast.horizon=3", ("horizon",)),
        ("+forecast.horizon=3", ("horizon",)),
        ("forecast.horizon_days=0", ("forecast.horizon_days", "0")),
        ("forecast.horizon_days=-10", ("forecast.horizon_days", "-10")),
        ("forecast.horizon_days=nan", ("forecast.horizon_days", "nan")),
        ("forecast.horizon_days=soon", ("soon",)),
        ("forecast.horizon_days=90", ("forecast.horizon_days", "day 95")),
        ("forecast.draws=-5", ("forecast.draws", "-5")),
        ("forecast.draws=20.5", ("20.5",)),
        ("forecast.interval_days=0", ("forecast.interval_days",)),
        ("calibration.until_day=5", ("calibration.until_day=5", "two")),
        ("calibration.until_day=late", ("late",)),
        ("calibration.resolution_mm=-3", ("calibration.resolution_mm", "-3")),
        ("calibration.max_step=0", ("calibration.max_step",)),
        ("calibration=3", ("calibration",)),
        ("decision.options=[none,prayer]", ("decision.options", "prayer", "reirradiation")),
        ("decision.options=[none]", ("decision.options", "two")),
        ("decision.options=none", ("decision.options", "two")),
        ("decision.draws=1", ("decision.draws", "1")),
        ("forecast.progression.mm3=who", ("progression", "'who'", "rano_2_0, recist_1_1, forty_percent")),
        ("forecast.baseline_day=120", ("forecast.baseline_day", "day 0 and 95")),
        (
            "recommendation=target_volume recommendation.at_risk=a.nii.gz",
            ("at_risk", "largest_dose_at_risk", "together"),
        ),
        ("decision.horizon_days=0", ("decision.horizon_days",)),
        ("recommendation=prayer", ("recommendation/prayer", "reirradiation")),
        ("seed=lucky", ("seed", "lucky")),
        ("seed=-1", ("seed", "-1")),
        ("model.resolution_mm=0", ("resolution_mm", "0")),
        ("model.growth=exponential", ("growth", "logistic")),
        ("calibrator.proposals=0", ("proposals",)),
        ("patient.visit_days=[0,60,14]", ("visit_days", "ascending")),
        ("patient.visit_days=[0,14,14]", ("visit_days", "ascending")),
        ("patient.visit_days=[-3,14]", ("visit_days",)),
        ("patient.visit_days=[0]", ("glioblastoma_single_scan",)),
        ("patient.diffusivity=-0.1", ("diffusivity", "-0.1")),
        ("model=glioblastoma_single_scan", ("several visits", "model=glioblastoma")),
        ("prior=glioblastoma_single_scan", ("model.front_width", "prior=glioblastoma")),
        ("patient=folder", ("patient.path",)),
        ("patient=tumortwin", ("patient.path",)),
        ("segmentation=segresnet", ("weights",)),
        ("cohort=everybody", ("cohort/everybody", "folder", "virtual")),
        ("cohort=folder patient=folder", ("cohort.path",)),
        ("cohort=table cohort.path=nowhere.csv", ("cohort.path", "nowhere.csv")),
        ("cohort=virtual patient=folder", ("virtual", "patient=virtual_")),
        ("cohort=virtual cohort.workers=0", ("cohort.workers", "0")),
        ("cohort=virtual cohort.size=3", ("size",)),
        ("experiment=alchemy", ("experiment/alchemy", "androgen_deprivation")),
        ("experiment=virtual_patients calibration.until=9", ("calibration.until",)),
        ("tracking=paper", ("tracking/paper", "tensorboard")),
        ("tracking=tensorboard tracking.folder=x", ("folder",)),
        ("seed=1 seed=2", ("seed=1", "seed=2", "twice")),
        ("model=lung model=claret", ("model=lung", "model=claret")),
        ("compare outputs", ("two runs",)),
        ("predict_gbm only_one", ("predict_gbm wants two folders",)),
        ("predict_gbm no_such no_output", ("has no folder Patient-NUMBER",)),
        ("compare nowhere elsewhere", ("nowhere", "results.json")),
    ],
)
def test_bad_setting_is_refused_at_the_door(refused, argument, words):
    line = refused(*argument.split(" "))
    assert [word for word in words if word not in line] == []


@pytest.mark.parametrize("name", ["gliomasolver_case", "predict_gbm", "sbtc_001"])
def test_patients_with_one_scan_bring_settings_that_fit(name):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        settings = settings_of(compose("config", [f"patient={name}"]))
    model = UntimedFisherKPP(Domain(np.ones((4, 4, 4)), (2.0, 2.0, 2.0)))
    settings.check([0.0], model, load_named("prior", "glioblastoma_single_scan"))
    assert (settings.margin_mm, settings.max_step, settings.until_day, list(settings.options)) == (32, 0.025, None, [])


def test_a_plan_needs_several_visits(refused):
    assert "a recommendation needs several visits" in refused("+job=single_scan", "recommendation=reirradiation")


def test_switching_androgen_deprivation_needs_a_model_of_it(refused):
    line = refused("model=lung_volume", "recommendation=intermittent_androgen_deprivation")
    assert "VolumeModel is not; choose model=prostate_androgen_deprivation" in line


def test_a_target_needs_a_model_with_space(refused):
    assert "a model with space, which VolumeModel is not" in refused(
        "model=lung_volume", "recommendation=target_volume"
    )


@pytest.mark.parametrize("group", ["model", "prior", "calibrator", "solver", "patient", "imaging"])
def test_hostile_target_does_not_run(refused, tmp_path, group):
    line = refused(f"{group}._target_=os.system", f"+{group}.command='touch {tmp_path / 'proof'}'")
    assert "os.system" in line and "not allowed" in line
    assert not (tmp_path / "proof").exists()


def test_public_data_need_their_folder(refused, monkeypatch, tmp_path):
    monkeypatch.delenv("TWINJAX_DATA", raising=False)
    assert "TWINJAX_DATA" in refused("patient=sbtc_001")
    monkeypatch.setenv("TWINJAX_DATA", str(tmp_path / "nowhere"))
    assert "nowhere" in refused("patient=sbtc_001")


@pytest.mark.parametrize("many", MANY)
def test_output_folder_that_cannot_be_made(refused, tmp_path, many):
    (tmp_path / "file").touch()
    assert str(tmp_path / "file") in refused(f"hydra.run.dir={tmp_path / 'file' / 'output'}", "model=claret", *many)


@pytest.mark.parametrize("many", MANY)
def test_two_jobs_in_one_folder(refused, tmp_path, many):
    with only_job_in(tmp_path / "output"):
        line = refused("model=claret", *many)
    assert "another job" in line and str(tmp_path / "output") in line


@pytest.mark.parametrize("many", MANY)
def test_a_full_disk_is_told(refused, monkeypatch, many):
    def full(run, name, text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)

    monkeypatch.setattr(Run, "write_text", full)
    line = refused("model=claret", *many)
    assert "the disk is full" in line and "config.yaml" in line


@pytest.fixture
def swept(tmp_path, monkeypatch, command):
    """A sweep with a job that only tells what it was given; a seed of 13 is refused. Returns exit code and jobs."""

    def run(*arguments: str) -> tuple[int, dict[str, tuple]]:
        found = {}

        def told(config, folder, choices):
            if config.seed == 13:
                raise InputError("seed 13 brings bad luck")
            found[Path(folder).name] = (choices["model"], choices["calibrator"], config.seed)
            return {}

        monkeypatch.setattr(job, "run_patient", told)
        return command("-m", f"hydra.sweep.dir={tmp_path / 'sweep'}", *arguments), found

    return run


def test_a_sweep_runs_every_combination_in_a_folder_of_its_own(swept):
    code, found = swept("model=claret,stein", "calibrator=laplace", "seed=range(0,3)")
    assert code == 0
    wanted = {(model, "laplace", seed) for model in ("claret", "stein") for seed in range(3)}
    assert set(found.values()) == wanted and len(found) == 6
    assert found["calibrator=laplace,model=stein,seed=2"] == ("stein", "laplace", 2)


def test_a_bad_job_of_a_sweep_leaves_the_others(swept, capsys):
    code, found = swept("model=claret", "seed=12,13,14")
    assert code == 2 and sorted(found) == ["model=claret,seed=12", "model=claret,seed=14"]
    assert capsys.readouterr().err.strip().splitlines()[-1] == "twinjax: seed 13 brings bad luck"


def truncate(folder):
    path = folder / "day_0030" / "T1CE.nii.gz"
    path.write_bytes(path.read_bytes()[:200])


def no_image(folder):
    (folder / "day_0000" / "segmentation.nii.gz").write_bytes(b"no image at all")


def nan(folder):
    image = np.zeros(SHAPE, np.float32)
    image[3, 3, 3] = np.nan
    # write_nifti refuses to write it.
    nibabel.save(nibabel.Nifti1Image(image, AFFINE), folder / "day_0030" / "T1CE.nii.gz")


def no_segmentation(folder):
    (folder / "day_0030" / "segmentation.nii.gz").unlink()


def outside(folder):
    target = folder.parent / "elsewhere.nii.gz"
    (folder / "day_0030" / "T1CE.nii.gz").rename(target)
    (folder / "day_0030" / "T1CE.nii.gz").symlink_to(target)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (truncate, ("T1CE.nii.gz",)),
        (no_image, ("segmentation.nii.gz",)),
        (nan, ("T1CE", "NaN")),
        (no_segmentation, ("segmentation", "day_0030")),
        (outside, ("T1CE.nii.gz", "leads out")),
        (lambda f: write_visit(f / "day_0030", affine=AFFINE + 0.5 * np.eye(4, k=3)), ("day 30", "affine")),
        (lambda f: write_visit(f / "day_0030", shape=(16, 16, 12)), ("day 30", "shape")),
        (lambda f: write_visit(f / "day_0000", radius=0.0), ("no tumour",)),
        (lambda f: (f / "day_0030").rename(f / "day_-030"), ("day_-030",)),
        (lambda f: write_visit(f / "day_00030"), ("same day", "day_0030")),
        (lambda f: (f / "day_0000").rename(f / "day_0002"), ("day_0002", "day_0000")),
        (lambda f: write_treatment(f, unit="mSv"), ("treatment.csv line 2", "mSv", "Gy")),
        (lambda f: (f / "treatment.csv").write_bytes(b"\xff\xfe\x00"), ("treatment.csv", "UTF-8")),
    ],
    ids=lambda value: getattr(value, "__name__", None) or "-".join(value).replace(" ", "_"),
)
def test_bad_file_is_refused(refused, folder, spoil, words):
    spoil(folder)
    line = refused("patient=folder", f"patient.path={folder}")
    assert [word for word in words if word not in line] == []


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    environment.pop("TWINJAX_DATA", None)
    run = [sys.executable, "-m", "twinjax", *arguments]
    return subprocess.run(run, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["patient=nonsense"], ("patient/nonsense", "virtual_glioblastoma")),
        (["patient=sbtc_001"], ("TWINJAX_DATA",)),
        pytest.param(["forecast.horizon_days=soon"], ("forecast.horizon_days", "soon"), marks=pytest.mark.thorough),
    ],
    ids=["unknown_choice", "missing_data", "horizon"],
)
def test_the_command_itself_ends_with_one_line_and_code_2(tmp_path, arguments, words):
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if line]
    assert len(lines) == 1 and all(word in lines[0] for word in words), done.stderr


@pytest.mark.slow
def test_a_model_without_space_is_fitted_to_the_sizes_of_scans(folder, tmp_path):
    """The balls have a core of radius 2.5 and 3.5 voxels of 2 mm."""
    settings = ("calibrator=laplace", "forecast.horizon_days=60", "forecast.draws=10", "calibration.until_day=30")
    where = (f"patient.path={folder}", f"hydra.run.dir={tmp_path / 'out'}", "decision.options=[]")
    done = command("model=lung_volume", "patient=folder", *where, *settings, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    measured = {row["day"]: row["measured"] for row in results["scores"] if row["quantity"] == "volume_mm3"}
    distance = np.linalg.norm(np.indices(SHAPE) - 7.5, axis=0)
    assert measured == pytest.approx({0: 8.0 * (distance < 2.5).sum(), 30: 8.0 * (distance < 3.5).sum()})
    assert "proliferation_rate" in (tmp_path / "out" / "parameters.csv").read_text()


def test_help_lists_the_choices(tmp_path):
    done = command("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "virtual_glioblastoma" in done.stdout and "importance" in done.stdout
    # What the whole configuration is, another flag tells.
    assert "twinjax compare" in done.stdout and "lognormal" not in done.stdout


def test_places_of_this_machine_stay_out_of_the_results():
    config = {"patient": {"path": "scans/Jane Doe", "case": "a/b", "parts": [{"weights": "w.pth", "unit": "mm²/day"}]}}
    kept = {"path": "(left out)", "case": "a/b", "parts": [{"weights": "(left out)", "unit": "mm²/day"}]}
    assert without_places(config) == {"patient": kept}
    assert without_places({"path": None}) == {"path": None}
