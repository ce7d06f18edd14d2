"""Patients as tables of measurements through the whole job, by the synthetic example of docs/measurements.md."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "measurements.md"


@pytest.mark.slow
def test_a_cohort_of_tables_tells_no_date(tmp_path):
    sizes, treatment, patients = re.findall(r"```csv\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "LUNG_007.csv").write_text(sizes, encoding="utf-8")
    (tmp_path / "LUNG_007_treatment.csv").write_text(treatment, encoding="utf-8")
    # The second patient of the example has a mistyped date.
    (tmp_path / "LUNG_008.csv").write_text(sizes.replace("2031-08-04", "04.08.2031"), encoding="utf-8")
    (tmp_path / "patients.csv").write_text(patients, encoding="utf-8")
    settings = ("model=stein", "patient=table", "patient.source=synthetic", "cohort=table", "cohort.path=patients.csv")
    cheap = ("calibrator=laplace", "decision=null", "forecast.draws=10", "hydra.run.dir=out")
    command = [sys.executable, "-m", "twinjax", *settings, *cheap]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(ROOT / ".cache")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 1, done.stderr
    with open(tmp_path / "out" / "cohort.csv", newline="", encoding="utf-8") as file:
        good, bad = csv.DictReader(file)
    assert (good["patient"], bad["patient"]) == ("LUNG_007", "LUNG_008")
    assert not good["message"] and "line 7, column date: that is not an ISO date" in bad["message"]
    results = json.loads((tmp_path / "out" / "patients" / "LUNG_007" / "results.json").read_text())
    assert results["synthetic"] and results["diagnostics"]["converged"], results["diagnostics"]["verdict"]
    assert [score["day"] for score in results["scores"] if score["held_out"]] == [210, 252, 294]
    texts = [
        path for path in (tmp_path / "out").rglob("*") if path.suffix in (".html", ".json", ".csv", ".log", ".yaml")
    ]
    assert len(texts) > 10
    told = done.stdout + done.stderr + "".join(path.read_text(encoding="utf-8") for path in texts)
    assert not re.search(r"2031-\d\d-\d\d|04\.08\.2031", told)
