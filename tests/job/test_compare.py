"""Two run folders side by side."""

import json

import pytest

from twinjax.core.errors import InputError
from twinjax.job.compare import compare_runs


def write_run(folder, *, seed: int, error: float, revision: str = "a1") -> None:
    folder.mkdir(parents=True)
    text = f"seed: {seed}\nforecast: {{draws: 100}}\ndecision: {{options: [none, sbrt]}}\n"
    (folder / "config.yaml").write_text(text)
    metrics = [
        {"metric": "median error", "value": error, "unit": "%", "target": ""},
        {"metric": "coverage", "value": 100.0, "unit": "%", "target": "≥ 90"},
    ]
    results = {"diagnostics": {"verdict": "converged"}, "metrics": metrics, "seconds": {"fit": 1.2, "report": 2.0}}
    results["provenance"] = {"revision": revision, "seed": seed, "versions": "jax 1"}
    (folder / "results.json").write_text(json.dumps(results))


def lines(text: str) -> dict[str, list[str]]:
    found = [[cell for cell in line.split("  ") if cell] for line in text.splitlines()]
    return {cells[0]: [cell.strip() for cell in cells[1:]] for cells in found if cells}


def test_what_differs_and_what_was_found(tmp_path):
    write_run(tmp_path / "A", seed=1, error=12.34567)
    write_run(tmp_path / "B", seed=2, error=9.0, revision="b2")
    found = lines(compare_runs(tmp_path / "A", tmp_path / "B"))
    assert found["differs"] == found["found"] == ["A", "B"]
    assert found["seed"] == ["1", "2"] and found["revision"] == ["a1", "b2"]
    assert not {"forecast.draws", "decision.options.0", "versions"} & set(found)
    assert found["median error"] == ["12.35 %", "9 %"] and found["coverage"] == ["100 % (target ≥ 90)"] * 2
    assert found["seconds"] == ["3", "3"]


def test_equal_settings_are_told(tmp_path):
    write_run(tmp_path / "one" / "A", seed=1, error=1.0)
    write_run(tmp_path / "two" / "A", seed=1, error=1.0)
    text = compare_runs(tmp_path / "one" / "A", tmp_path / "two" / "A")
    assert text.startswith("The settings are the same.") and str(tmp_path / "two" / "A") in text


def test_a_cohort_beside_one_patient(tmp_path):
    write_run(tmp_path / "A", seed=1, error=1.0)
    (tmp_path / "C").mkdir()
    (tmp_path / "C" / "config.yaml").write_text("seed: 1\ncohort: {patients: 3}\n")
    metric = {"metric": "median error", "value": 5.0, "unit": "%", "target": ""}
    summary = {"patients": 3, "done": 2, "not_converged": ["x"], "metrics": [metric]}
    (tmp_path / "C" / "cohort.json").write_text(json.dumps(summary))
    found = lines(compare_runs(tmp_path / "A", tmp_path / "C"))
    assert found["cohort.patients"] == ["-", "3"] and found["patients with results"] == ["-", "2 of 3"]
    assert found["median error"] == ["1 %", "5 %"]


def test_a_folder_without_a_run(tmp_path):
    write_run(tmp_path / "A", seed=1, error=1.0)
    with pytest.raises(InputError, match="holds no finished run"):
        compare_runs(tmp_path / "A", tmp_path)
    (tmp_path / "A" / "results.json").write_text('{"metrics": ')
    with pytest.raises(InputError, match="results.json"):
        compare_runs(tmp_path / "A", tmp_path / "A")
