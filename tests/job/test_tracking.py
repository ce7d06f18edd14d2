"""What is told of a run in TensorBoard, read back by TensorBoard, and what is not."""

import base64
import csv
import io
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread, imsave
from stand_in import NAMES, configuration
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.metadata import SESSION_START_INFO_TAG, parse_session_start_info_plugin_data

from twinjax.job import Run
from twinjax.job.tracking import TensorBoardTracker, cohort_record, numbers_of, patient_record, tracker_of

EVENTS = "events.out.tfevents.twinjax"
PICTURE = np.linspace(0, 255, 60).astype(np.uint8).reshape(4, 5, 3)
# Of a patient who is to stay unknown: all that could tell who it is.
PERSONAL = ("Jane", "Doe", "1957", "sub-07", "a1b2c3")


def metric(name: str, value: float | None) -> dict:
    return {"metric": name, "value": value, "unit": "%", "target": "≥ 90", "met": True, "n": 3}


def finished(folder: Path, *, synthetic: bool) -> tuple[dict, Run]:
    """The results and the folder of a run with a report of one picture."""
    run = Run(folder, stages=2)
    run.seconds = {"calibrate": 2.5, "write the report": 0.5}
    stream = io.BytesIO()
    imsave(stream, PICTURE, format="png")
    data = base64.b64encode(stream.getvalue()).decode()
    run.write_text("report.html", f'<h1>Jane Doe</h1><img alt="Size &amp; day" src="data:image/png;base64,{data}">')
    losses = [("PINN", 1, 0.5), ("PINN", 2, 0.25), ("PINN with noise levels", 1, 0.125)]
    run.write_csv("training.csv", [dict(zip(("stage", "step", "loss"), row, strict=True)) for row in losses])
    (folder / "processed").mkdir()
    (folder / "processed" / "sub-07_T1.nii").touch()
    results = {
        "patient": "Jane Doe",
        "synthetic": synthetic,
        "metrics": [metric("90 % interval covers size", 75.0), metric("median error", None)],
        "parameters": [{"parameter": "rate", "median": 0.02, "lower": 0.01, "upper": 0.03, "unit": "1/day"}],
        "diagnostics": {"converged": False, "verdict": "NOT CONVERGED: few draws", "pareto_k": 0.8, "r_hat": None},
        "provenance": {
            "versions": "jax 1",
            "machine": "x86_64",
            "revision": "b2",
            "seed": 3,
            "data (SHA-256)": "a1b2c3",
            "configuration": "patient: Jane Doe",
        },
    }
    return results, run


def settings(**calibration) -> dict:
    return {
        "seed": 3,
        "title": "Jane's twin",
        "patient": {"path": "scans/Jane Doe", "patient_id": "Doe", "birth_year": 1957},
        "imaging": {"registration": "rigid", "file_names": {"T1": "sub-07_T1.nii"}},
        "model": {"_target_": "twinjax.model.FisherKPP", "growth": "logistic"},
        "calibration": {"until_day": None, **calibration},
    }


def events(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def hparams(found: EventAccumulator) -> dict:
    content = found.SummaryMetadata(SESSION_START_INFO_TAG).plugin_data.content
    values = parse_session_start_info_plugin_data(content).hparams
    return {name: getattr(value, str(value.WhichOneof("kind"))) for name, value in values.items()}


def last(found: EventAccumulator) -> dict[str, float]:
    return {tag: found.Scalars(tag)[-1].value for tag in found.Tags()["scalars"]}


@pytest.mark.parametrize("synthetic", [True, False])
def test_tensorboard_reads_what_was_found(tmp_path, synthetic):
    results, run = finished(tmp_path, synthetic=synthetic)
    choices = {"model": "glioblastoma", "patient": "folder", "hydra/launcher": "basic"}
    TensorBoardTracker().write(tmp_path, patient_record(settings(until_day=95.0), choices, results, run))
    found = events(tmp_path)
    assert hparams(found) == {
        "model": "glioblastoma",
        "patient": "folder",
        "seed": 3,
        "imaging.registration": "rigid",
        "model.growth": "logistic",
        "calibration.until_day": 95,
    }
    assert last(found) == pytest.approx(
        {
            "metrics/90_percent_interval_covers_size": 75,
            "diagnostics/converged": 0,
            "diagnostics/pareto_k": 0.8,
            "parameters/rate": 0.02,
            "seconds/calibrate": 2.5,
            "seconds/write_the_report": 0.5,
            "seconds/in_all": 3,
            "training/PINN": 0.25,
            "training/PINN_with_noise_levels": 0.125,
        }
    )
    assert [(event.step, event.value) for event in found.Scalars("training/PINN")] == [(1, 0.5), (2, 0.25)]
    text = found.Tensors("verdict/text_summary")[0].tensor_proto.string_val[0].decode()
    assert text == "NOT CONVERGED: few draws"
    assert "training.csv" in found.Tensors("files/text_summary")[0].tensor_proto.string_val[0].decode()
    if synthetic:
        (image,) = found.Images("figures/1_Size_day")
        shown = np.round(255 * imread(io.BytesIO(image.encoded_image_string), format="png")[..., :3])
        np.testing.assert_array_equal(shown, PICTURE)
    else:
        assert found.Tags()["images"] == []


def test_nothing_tells_who_the_patient_is(tmp_path):
    results, run = finished(tmp_path, synthetic=False)
    TensorBoardTracker().write(tmp_path, patient_record(settings(), NAMES, results, run))
    content = (tmp_path / EVENTS).read_bytes()
    assert [word for word in PERSONAL if word.encode() in content] == []
    assert b"NOT CONVERGED" in content
    # Nor on which machine it was, which the writer's own names say.
    assert [path.name for path in tmp_path.glob("*tfevents*")] == [EVENTS]


def test_a_run_again_takes_the_place_of_the_one_before(tmp_path):
    results, run = finished(tmp_path, synthetic=True)
    for day in (10.0, 20.0):
        TensorBoardTracker().write(tmp_path, patient_record(settings(until_day=day), NAMES, results, run))
    found = events(tmp_path)
    assert hparams(found)["calibration.until_day"] == 20
    assert len(found.Scalars("metrics/90_percent_interval_covers_size")) == 1
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".tracking")) == []


def test_no_run_says_what_the_columns_of_all_are(tmp_path):
    """TensorBoard takes them from the first run that does; without one it gathers them from every run."""
    results, run = finished(tmp_path, synthetic=True)
    TensorBoardTracker().write(tmp_path, patient_record(settings(), NAMES, results, run))
    assert b"_hparams_/session_start_info" in (tmp_path / EVENTS).read_bytes()
    assert b"_hparams_/experiment" not in (tmp_path / EVENTS).read_bytes()


def test_a_cohort_is_told_by_its_metrics_and_counts(tmp_path):
    run = Run(tmp_path, stages=1)
    coverage = metric("90 % interval covers size", 80.0) | {"error": 2.0, "patients": 4}
    summary = {"patients": 5, "done": 4, "failed": {"Jane Doe": "no scan"}, "not_converged": ["Jane"]}
    record = cohort_record(settings(), NAMES, summary | {"metrics": [coverage]}, run)
    TensorBoardTracker().write(tmp_path, record)
    assert last(events(tmp_path)) == {
        "metrics/90_percent_interval_covers_size": 80,
        "cohort/patients": 5,
        "cohort/with_results": 4,
        "cohort/not_converged": 1,
    }
    content = (tmp_path / EVENTS).read_bytes()
    assert [word for word in PERSONAL if word.encode() in content] == []


def test_numbers_that_a_search_may_follow():
    results = {"metrics": [metric("error", 2), metric("none", None)], "diagnostics": {"elbo": -3.5, "verdict": "good"}}
    assert numbers_of(results) == {"error": 2.0, "elbo": -3.5}
    assert numbers_of({}) == {}


def test_it_is_off_by_default():
    assert tracker_of(configuration()) is None
    assert isinstance(tracker_of(configuration("tracking=tensorboard")), TensorBoardTracker)


@pytest.mark.parametrize("many", [(), ("cohort=virtual",)])
def test_without_its_package_nothing_is_computed(tmp_path, monkeypatch, capsys, command, many):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    assert command("model=claret", "tracking=tensorboard", f"hydra.run.dir={tmp_path}", *many) == 2
    shown = capsys.readouterr()
    assert shown.err == "twinjax: tracking=tensorboard needs tensorboardX: pip install 'twinjax[tracking]'\n"
    assert "[1/" not in shown.out and not (tmp_path / "config.yaml").exists()


@pytest.mark.slow
def test_every_patient_of_a_cohort_stands_beside_the_others(tmp_path):
    cohort = ("cohort=virtual", "cohort.patients=2", "model=claret", "calibrator=laplace", "decision=null")
    command = [sys.executable, "-m", "twinjax", *cohort, "tracking=tensorboard", f"hydra.run.dir={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"NPROC": "1"})
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "cohort.csv", newline="", encoding="utf-8") as stream:
        rows = {row["patient"]: row for row in csv.DictReader(stream)}
    assert len(rows) == 2
    name = "median error of sum_of_diameters_mm"
    for patient, row in rows.items():
        found = last(events(tmp_path / "patients" / patient))
        # Numbers are kept in single precision.
        wanted = struct.unpack("f", struct.pack("f", float(row[name])))[0]
        assert found[f"metrics/{name.replace(' ', '_')}"] == wanted
        results = json.loads((tmp_path / "patients" / patient / "results.json").read_text())
        assert found["seconds/forecast"] == pytest.approx(results["seconds"]["forecast"])
    assert last(events(tmp_path))["cohort/with_results"] == 2
