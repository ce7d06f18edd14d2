"""The worked example of docs/adding-a-cancer-type.md, as a reader would follow it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NAME = "renal_cell_carcinoma"


def blocks(language: str) -> list[str]:
    text = (ROOT / "docs" / "adding-a-cancer-type.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.thorough
def test_a_sixth_cancer_type_is_one_file_and_one_config(tmp_path):
    for part in ("twinjax", "conf"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    model, known = blocks("python")
    config, patient = blocks("yaml")
    (tmp_path / "twinjax" / "model" / f"{NAME}.py").write_text(model, encoding="utf-8")
    with open(tmp_path / "twinjax" / "model" / "__init__.py", "a", encoding="utf-8") as init:
        init.write(known)
    (tmp_path / "conf" / "model" / f"{NAME}.yaml").write_text(config, encoding="utf-8")
    (tmp_path / "conf" / "patient" / f"virtual_{NAME}.yaml").write_text(patient, encoding="utf-8")
    command = [sys.executable, "-m", "twinjax", f"model={NAME}", "hydra.run.dir=out"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "XDG_CACHE_HOME": str(ROOT / ".cache")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "report.html").stat().st_size > 50_000
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["synthetic"] and results["diagnostics"]["converged"], results["diagnostics"]["verdict"]
    growth = next(row for row in results["parameters"] if row["parameter"] == "surface_growth")
    assert growth["lower"] < 0.36 < growth["upper"]
    assert growth["upper"] / growth["lower"] < 1.5
    held = [score for score in results["scores"] if score["held_out"]]
    assert len(held) == 4 and sum(score["in_interval"] for score in held) >= 3
    volumes = {row["option"]: row["median"] for row in results["options"]}
    assert volumes["radiotherapy_60_30"] < volumes["none"]
