"""The folder of a run: stages, files and where the results came from."""

import csv
import errno
import json
import logging
import os
import re
from pathlib import Path

import numpy as np
import pytest

from twinjax.calibration import Posterior
from twinjax.core.errors import InputError
from twinjax.imaging import Scan
from twinjax.job import Run
from twinjax.job.provenance import provenance
from twinjax.patient import PatientData, Visit


def test_stages_are_counted_timed_and_logged(tmp_path, caplog):
    run = Run(tmp_path / "new" / "folder", stages=2)
    with caplog.at_level(logging.INFO, "twinjax"):
        with run.stage("first"):
            pass
        with run.stage("second"):
            pass
    assert list(run.seconds) == ["first", "second"] and min(run.seconds.values()) >= 0
    assert [m for m in caplog.messages if m.startswith("[")] == ["[1/2] first", "[2/2] second"]


def test_stage_that_fails_is_not_counted(tmp_path):
    run = Run(tmp_path, stages=1)
    with pytest.raises(ZeroDivisionError), run.stage("broken"):
        _ = 1 / 0
    assert run.seconds == {}


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write to the output folder"):
        Run(tmp_path / "file" / "folder", stages=1)


def test_json_holds_numbers_and_null(tmp_path):
    run = Run(tmp_path, stages=1)
    run.write_json(
        "a.json", {"a": np.float32(0.5), "b": np.asarray([1.0, np.nan]), 3: (np.int64(2), np.bool_(True), "ü")}
    )
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {
        "a": 0.5,
        "b": [1.0, None],
        "3": [2, True, "ü"],
    }


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    run = Run(tmp_path, stages=1)
    run.write_text("a.txt", "before")

    def full(path, text, **_):
        path.write_bytes(text[:2].encode())
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        run.write_text("a.txt", "after")
    monkeypatch.undo()
    assert (tmp_path / "a.txt").read_text() == "before"


def test_losses_of_training_are_a_file(tmp_path):
    rate = np.full((2, 5), 0.1)
    diagnostics = {"method": "a network", "verdict": "converged", "r_hat": None}
    diagnostics |= {"ess": {"rate": 10.0}, "contraction": {"rate": 0.9}}
    told = ({"rate": rate}, rate[..., None], {"rate": 0.1}, np.zeros(1), {"rate": "1/day"}, diagnostics)
    Run(tmp_path / "none", stages=1).write_posterior(Posterior(*told))
    assert not (tmp_path / "none" / "training.csv").exists()
    curves = {"first": np.array([2.0, 1.0]), "second": np.array([0.5])}
    Run(tmp_path / "some", stages=1).write_posterior(Posterior(*told, curves=curves))
    lines = (tmp_path / "some" / "training.csv").read_text().splitlines()
    assert lines == ["stage,step,loss", "first,1,2.0", "first,2,1.0", "second,1,0.5"]


def test_csv_has_the_columns_of_all_rows(tmp_path):
    run = Run(tmp_path, stages=1)
    run.write_csv("a.csv", [{"x": 1, "y": "a,b"}, {"x": 2, "z": 0.5}])
    with open(tmp_path / "a.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert rows == [{"x": "1", "y": "a,b", "z": ""}, {"x": "2", "y": "", "z": "0.5"}]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv"]


def test_provenance_follows_the_images():
    def patient(value):
        labels = np.full((2, 2, 2), 3, np.int8)
        scan = Scan(np.eye(4), {"T1": np.full((2, 2, 2), value, np.float32)}, labels, np.ones((2, 2, 2), bool))
        return PatientData.from_visits("a", [Visit(0, scan)])

    first, same, other = (provenance("seed: 3", 3, patient(value)) for value in (1.0, 1.0, 2.0))
    assert first == same
    assert first["data (SHA-256)"] != other["data (SHA-256)"]
    assert re.match(r"[0-9a-f]{40}|unknown", first["revision"])
    assert first["seed"] == 3 and first["configuration"] == "seed: 3"
    assert "twinjax" in first["versions"] and "jax" in first["versions"]
