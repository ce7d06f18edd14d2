"""The main job on a cohort: a bad patient does not stop the others, and what was stopped goes on to the same end."""

import csv
import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from stand_in import NAMES, configuration, stand_in

from twinjax.core.errors import InputError
from twinjax.core.processes import Died
from twinjax.job import run_cohort
from twinjax.job.cohort import cohort as cohort_module

SAME = ("cohort.csv", "cohort.json")
VIRTUAL = ("cohort=virtual", "cohort.patients=4")


@pytest.fixture
def here(monkeypatch):
    """Patients are done in this process; returns the names of those that were."""
    done = []

    def serial(work, tasks, workers):
        for task in tasks:
            done.append(task.member.name)
            yield task, work(task)

    monkeypatch.setattr(cohort_module, "in_processes", serial)
    return done


def rows(folder: Path, name: str = "cohort.csv") -> list[dict[str, str]]:
    with open(folder / name, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_every_patient_has_a_folder_a_line_and_a_part_in_the_summary(here, tmp_path):
    summary = run_cohort(configuration(*VIRTUAL), tmp_path, NAMES, job=stand_in)
    names = [f"virtual_000{number}" for number in (1, 2, 3, 4)]
    assert here == names == sorted(path.name for path in (tmp_path / "patients").iterdir())
    assert (summary["patients"], summary["done"], summary["failed"]) == (4, 4, {})
    found = rows(tmp_path)
    assert [row["patient"] for row in found] == names and {row["state"] for row in found} == {"done"}
    sizes = [float(row["median error of size"]) for row in found]
    error, coverage = summary["metrics"]
    assert error["value"] == pytest.approx((sorted(sizes)[1] + sorted(sizes)[2]) / 2)
    small = sum(size < 5 for size in sizes)
    assert 0 < small < 4 and error["met"] == small
    assert coverage["value"] == pytest.approx(100 - 25 * small / 4) and coverage["n"] == 16
    assert summary["parameters"][0]["covered"] == small
    (held,) = summary["held_out"]
    assert (held["quantity"], held["n"]) == ("size", 12)
    # Three held-out days a patient, all of one share; forecasts are a tenth too high.
    assert sorted(held["shares_below"])[::3] == pytest.approx([size / 10 for size in sorted(sizes)])
    assert 0.9 < held["concordance"] < 1
    assert json.loads((tmp_path / "cohort.json").read_text()) == summary
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for text in ("virtual_0004", "Do the intervals hold", "Cohort of 4 patients"):
        assert text in page
    assert "<script" not in page
    assert not (tmp_path / ".unfinished").exists()


def test_a_second_run_does_only_what_is_missing(here, tmp_path):
    config = configuration(*VIRTUAL)
    run_cohort(config, tmp_path, NAMES, job=stand_in)
    before = [(tmp_path / name).read_bytes() for name in SAME]
    (tmp_path / "patients" / "virtual_0002").rename(tmp_path / "elsewhere")
    here.clear()
    run_cohort(config, tmp_path, NAMES, job=stand_in)
    assert here == ["virtual_0002"]
    assert [(tmp_path / name).read_bytes() for name in SAME] == before
    # A larger cohort has the same patients first.
    four = rows(tmp_path)
    here.clear()
    run_cohort(configuration("cohort=virtual", "cohort.patients=5"), tmp_path, NAMES, job=stand_in)
    assert here == ["virtual_0005"] and rows(tmp_path)[:4] == four


def test_a_bad_patient_is_told_and_tried_again(here, tmp_path, caplog):
    overrides = (*VIRTUAL, "title=one is bad")
    config = configuration(*overrides)
    with caplog.at_level("WARNING", "twinjax"):
        summary = run_cohort(config, tmp_path / "secret", NAMES, job=stand_in)
    assert list(summary["failed"]) == ["virtual_0003"] and summary["done"] == 3
    bad = rows(tmp_path / "secret")[2]
    assert (bad["state"], bad["message"]) == ("failed", summary["failed"]["virtual_0003"])
    assert "has no voxels" in bad["message"] and "secret" not in bad["message"]
    assert "has no voxels" in (tmp_path / "secret" / "failed" / "virtual_0003" / "twinjax.log").read_text()
    assert "has no voxels" in (tmp_path / "secret" / "report.html").read_text(encoding="utf-8")
    here.clear()
    run_cohort(config, tmp_path / "secret", NAMES, job=stand_in)
    assert here == ["virtual_0003"]


def test_an_unforeseen_error_of_every_patient_is_told_too(here, tmp_path):
    summary = run_cohort(configuration(*VIRTUAL, "title=one has a bug"), tmp_path, NAMES, job=stand_in)
    assert summary["done"] == 0 and set(summary["failed"].values()) == {"ZeroDivisionError: division by zero"}
    assert "Traceback" in (tmp_path / "failed" / "virtual_0001" / "twinjax.log").read_text()
    assert "4 of 4 patients have no results" in (tmp_path / "report.html").read_text(encoding="utf-8")


def full_disk(config, folder, choices):
    if config.patient.patient_id != "virtual_0001":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "results.json"))
    return stand_in(config, folder, choices)


def test_a_full_disk_loses_nothing(here, tmp_path):
    run_cohort(configuration(*VIRTUAL), tmp_path / "undisturbed", NAMES, job=stand_in)
    summary = run_cohort(configuration(*VIRTUAL), tmp_path / "full", NAMES, job=full_disk)
    assert summary["done"] == 1 and "No space left" in summary["failed"]["virtual_0002"]
    here.clear()
    run_cohort(configuration(*VIRTUAL), tmp_path / "full", NAMES, job=stand_in)
    assert here == ["virtual_0002", "virtual_0003", "virtual_0004"]
    assert files(tmp_path / "full") == files(tmp_path / "undisturbed")


def test_a_patient_whose_process_died_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(cohort_module, "in_processes", lambda work, tasks, workers: [(t, Died(9)) for t in tasks])
    summary = run_cohort(configuration(*VIRTUAL), tmp_path, NAMES, job=stand_in)
    assert len(summary["failed"]) == 4 and "signal 9" in summary["failed"]["virtual_0001"]


def test_results_of_other_settings_are_not_mixed(here, tmp_path):
    run_cohort(configuration(*VIRTUAL), tmp_path, NAMES, job=stand_in)
    with pytest.raises(InputError, match="other settings .forecast.draws: 100, now 20.* hydra.run.dir"):
        run_cohort(configuration(*VIRTUAL, "forecast.draws=20"), tmp_path, NAMES, job=stand_in)
    run_cohort(configuration(*VIRTUAL, "cohort.workers=3"), tmp_path, NAMES, job=stand_in)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("cohort.workers=0", "cohort.workers"),
        ("cohort.patients=0", "cohort.patients"),
        ("forecast.horizon_days=-1", "forecast.horizon_days"),
        ("calibrator.draws=0", "draws"),
        ("prior=lung_volume", "prior"),
    ],
)
def test_what_no_patient_can_be_run_with_is_refused_at_the_door(here, tmp_path, override, words):
    with pytest.raises(InputError, match=words):
        run_cohort(configuration(*VIRTUAL, override), tmp_path, NAMES, job=stand_in)
    assert here == []


def test_a_patient_whose_data_changed_is_done_again(here, tmp_path):
    for name in ("A", "B"):
        (tmp_path / "data" / name).mkdir(parents=True)
    overrides = ("patient=folder", "cohort=folder", f"cohort.path={tmp_path / 'data'}")
    config = configuration(*overrides)
    run_cohort(config, tmp_path / "out", NAMES, job=stand_in)
    (tmp_path / "data" / "B" / "treatment.csv").write_text("day\n")
    here.clear()
    run_cohort(config, tmp_path / "out", NAMES, job=stand_in)
    assert here == ["B"]


def files(folder: Path) -> dict[str, bytes]:
    """All that must not depend on when a cohort was stopped."""
    found = {name: (folder / name).read_bytes() for name in SAME}
    for path in (folder / "patients").rglob("*"):
        if path.name in ("results.json", "forecast.csv", "inputs.txt"):
            found[str(path.relative_to(folder))] = path.read_bytes()
    assert not [path for path in folder.rglob("*.partial")]
    return found


def killed_until_done(command: list[str], folder: Path, kills: int) -> int:
    """Start it, kill it at a random moment after some more patients are done, and start it again."""
    rng, killed = random.Random(0), 0
    while True:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        wanted = len(list(folder.glob("patients/*"))) + 1
        while killed < kills and process.poll() is None:
            if len(list(folder.glob("patients/*"))) >= wanted:
                time.sleep(rng.uniform(0, 0.3))
                break
            time.sleep(0.01)
        if killed == kills or process.poll() is not None:
            _, errors = process.communicate()
            assert process.returncode == 0, errors
            return killed
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stderr is not None
        process.stderr.close()
        killed += 1


@pytest.mark.thorough
def test_a_cohort_that_is_killed_goes_on_to_the_same_end(here, tmp_path):
    # A dozen are done within a second: enough of them that none of the kills comes too late.
    config = configuration("cohort=virtual", "cohort.patients=40", "cohort.workers=2")
    run_cohort(config, tmp_path / "undisturbed", NAMES, job=stand_in)
    command = [sys.executable, str(Path(__file__).with_name("stand_in.py")), "2", "40", str(tmp_path / "killed")]
    assert killed_until_done(command, tmp_path / "killed", kills=3) == 3
    assert files(tmp_path / "killed") == files(tmp_path / "undisturbed")


def results(folder: Path) -> dict[str, dict]:
    """The results of every patient, without what a clock said."""
    found = {}
    for path in sorted((folder / "patients").iterdir()):
        kept = json.loads((path / "results.json").read_text())
        for key in ("seconds", "seconds_per_effective_draw"):
            kept["diagnostics"].pop(key)
        found[path.name] = {key: value for key, value in kept.items() if key != "seconds"}
    return found


@pytest.mark.slow
def test_the_real_job_is_killed_ten_times_and_goes_on_to_the_same_end(tmp_path):
    settings = ("model=claret", "calibrator=laplace", "decision=null", "forecast.draws=10", "cohort=virtual")
    command = [sys.executable, "-m", "twinjax", *settings, "cohort.patients=16"]
    undisturbed = [*command, f"hydra.run.dir={tmp_path / 'undisturbed'}"]
    subprocess.run(undisturbed, check=True, capture_output=True)
    killed = [*command, "cohort.workers=2", f"hydra.run.dir={tmp_path / 'killed'}"]
    assert killed_until_done(killed, tmp_path / "killed", kills=10) == 10
    assert results(tmp_path / "killed") == results(tmp_path / "undisturbed")
    for name in SAME:
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()
