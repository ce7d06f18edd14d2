"""`twinjax-train`: its files, that it goes on, and what it refuses."""

import csv
import json
import shutil

import numpy as np
import pytest
from matplotlib.image import imread
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from twinjax.simulation import load_operator
from twinjax.training import Trainer

SMALL = (
    "training.brains=2",
    "training.validation_brains=1",
    "training.test_brains=1",
    "training.width=4",
    "training.blocks=1",
    "training.tumors.voxels=8",
    "training.tumors.start_mm=[5,7]",
    "training.tumors.farthest_mm=9",
    "training.tumors.per_brain=2",
    "training.tumors.times=2",
    "training.trainer.steps=6",
    "training.trainer.batch=2",
    "training.trainer.every=2",
)
FILES = {"operator.safetensors", "losses.csv", "losses.png", "results.json", "config.yaml", "checkpoints"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return tmp_path_factory.mktemp("whole")


def losses(folder) -> list[dict]:
    with open(folder / "losses.csv", newline="", encoding="utf-8") as stream:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(stream)]


@pytest.mark.thorough
def test_a_training_from_the_command_leaves_its_files(command, whole, capsys):
    assert command(*SMALL, f"hydra.run.dir={whole}", "tracking=tensorboard", train=True) == 0
    assert {path.name for path in whole.iterdir()} >= FILES
    results = json.loads((whole / "results.json").read_text())
    operator = load_operator(whole / "operator.safetensors")
    assert {leaf.dtype for leaf in operator.network.weights["lift"].values()} == {np.dtype("float32")}
    told = {row["metric"]: row["value"] for row in results["metrics"]}
    assert sorted(told.values()) == sorted(value for _, value in operator.errors)
    assert 0 < told["relative L2 error, median"] < 1
    assert results["ranges"].keys() == dict(operator.ranges).keys()
    assert "twinjax" in results["provenance"]["versions"] and "farthest_mm: 9" in results["provenance"]["configuration"]
    assert [row["step"] for row in losses(whole)] == [2, 4, 6]
    assert imread(whole / "losses.png").std() > 0
    events = EventAccumulator(str(whole))
    events.Reload()
    shown = [event.value for event in events.Scalars("training/validation")]
    np.testing.assert_allclose(shown, [row["validation"] for row in losses(whole)], rtol=1e-6)
    assert "[3/3]" in capsys.readouterr().out


@pytest.mark.thorough
def test_an_interrupted_training_goes_on_to_the_same_file(command, whole, tmp_path, capsys, monkeypatch):
    fit = Trainer.fit

    def stopped(self, *args, report, **kwargs):
        def report_and_stop(progress):
            report(progress)
            if int(progress.step) == 4:
                raise KeyboardInterrupt

        return fit(self, *args, report=report_and_stop, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "fit", stopped)
        assert command(*SMALL, f"hydra.run.dir={tmp_path}", train=True) == 130
    assert "last checkpoint" in capsys.readouterr().err
    assert [row["step"] for row in losses(tmp_path)] == [2, 4]
    assert not (tmp_path / "operator.safetensors").exists()
    assert command(*SMALL, f"hydra.run.dir={tmp_path}", train=True) == 0
    assert losses(tmp_path) == losses(whole)
    assert (tmp_path / "operator.safetensors").read_bytes() == (whole / "operator.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("training=nonsense", ("training/nonsense", "operator")),
        ("nokey=3", ("nokey",)),
        ("training.layers=3", ("layers",)),
        ("+training.layers=3", ("layers",)),
        ("training.trainer.batch=0", ("trainer.batch", "0")),
        ("training.tumors.start_mm=[5,40]", ("64 mm", "48 mm")),
        ("precision=half", ("precision", "float32", "float64", "half")),
        ("seed=-1", ("seed", "-1")),
        ("tracking=paper", ("tracking/paper", "tensorboard")),
    ],
)
def test_bad_settings_are_refused_at_the_door(command, tmp_path, capsys, argument, words):
    assert command(argument, f"hydra.run.dir={tmp_path / 'output'}", train=True) == 2
    shown = capsys.readouterr()
    (line,) = shown.err.strip().splitlines()
    assert line.startswith("twinjax: ") and [word for word in words if word not in line] == []
    assert "[1/" not in shown.out


@pytest.mark.thorough
def test_another_training_in_the_same_folder_is_refused(command, whole, tmp_path, capsys):
    shutil.copytree(whole / "checkpoints", tmp_path / "checkpoints")
    assert command(*SMALL, "seed=1", f"hydra.run.dir={tmp_path}", train=True) == 2
    shown = capsys.readouterr()
    assert "seed=0, not 1" in shown.err and "[1/" not in shown.out


def test_its_help_is_its_own(command, capsys):
    assert command("--help", train=True) == 0
    assert "twinjax-train precision=float64" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_to_is_refused(command, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert command(*SMALL, f"hydra.run.dir={tmp_path / 'file' / 'below'}", train=True) == 2
    assert "file/below" in capsys.readouterr().err
