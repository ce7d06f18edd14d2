"""`twinjax model=...` from end to end, for every model that has a virtual patient of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from twinjax.core.config import choices

ROOT = Path(__file__).parent.parent
# The default runs in tests/job and by `make demo`; one scan needs a patient of its own.
ELSEWHERE = {"glioblastoma", "glioblastoma_single_scan"}
MODELS = [name for name in choices("model") if name not in ELSEWHERE]
QUICK = ("calibrator=laplace", "forecast.draws=20", "decision.draws=10")


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_the_job_of_a_model_ends_in_a_report(model, tmp_path):
    command = [sys.executable, "-m", "twinjax", f"model={model}", "hydra.run.dir=out", *QUICK]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(ROOT / ".cache")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "out" / "report.html").stat().st_size > 50_000
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["synthetic"]
    held = [row for row in results["metrics"] if row["metric"].startswith("90 % interval covers")]
    assert held and all(0 <= row["value"] <= 100 for row in held)
    assert len(results["options"]) >= 2
    chances = [row["probability_best"] for row in results["options"]]
    assert sum(chances) == pytest.approx(1)
