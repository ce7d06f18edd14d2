"""`hydra/sweeper=optuna`: what it tries, how it goes on, and what it refuses."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from twinjax import job
from twinjax.core.errors import InputError

SEARCH = ("calibrator.max_steps=int(interval(1,12))", "seed=range(0,3)")
OBJECTIVE = "hydra.sweeper.objective=error"


@pytest.fixture
def search(tmp_path, monkeypatch, command):
    """A sweep with a job whose error is least at 7 steps and seed 1; returns exit code, and what was run."""

    def run(*arguments: str, folder: str = "search", stops_at: int | None = None) -> tuple[int, list[tuple[int, int]]]:
        ran = []

        def told(config, folder, choices):
            if len(ran) == stops_at:
                raise KeyboardInterrupt
            steps, seed = config.calibrator.max_steps, config.seed
            ran.append((steps, seed))
            if seed == 2:
                raise InputError("seed 2 brings bad luck")
            unknown = config.title == "sometimes none" and len(ran) == 2
            error = {"metric": "error", "value": None if unknown else error_of(steps, seed)}
            return {"metrics": [error], "diagnostics": {"log_evidence": -1.0, "verdict": "converged"}}

        monkeypatch.setattr(job, "run_patient", told)
        where = f"hydra.sweep.dir={tmp_path / folder}"
        common = ("-m", "hydra/sweeper=optuna", "model=claret", "calibrator=laplace", where)
        return command(*common, *arguments), ran

    return run


def error_of(steps: int, seed: int) -> float:
    return (steps - 7) ** 2 + 0.5 * abs(seed - 1)


def trials(folder: Path) -> list[dict[str, str]]:
    with open(folder / "trials.csv", newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_it_keeps_the_least_and_runs_no_job_twice(search, tmp_path):
    few = ("calibrator.max_steps=int(interval(4,7))", "seed=0", "hydra.sweeper.n_trials=6")
    code, ran = search(*few, OBJECTIVE)
    assert code == 0 and len(ran) == len(set(ran)) < 6
    rows = trials(tmp_path / "search")
    assert len(rows) == 6
    assert {(int(row["calibrator.max_steps"]), float(row["error"])) for row in rows} == {
        (steps, error_of(steps, seed)) for steps, seed in ran
    }
    best = OmegaConf.load(tmp_path / "search" / "best.yaml")
    steps, _ = min(ran, key=lambda job: error_of(*job))
    assert best == {
        "objective": "error",
        "value": error_of(steps, 0),
        "parameters": {"calibrator.max_steps": steps},
        "trials": 6,
    }


def test_a_diagnostic_may_be_made_large(search, tmp_path):
    largest = ("hydra.sweeper.objective=log_evidence", "hydra.sweeper.direction=maximize", "hydra.sweeper.n_trials=2")
    assert search(SEARCH[0], "seed=0", *largest)[0] == 0
    assert {row["log_evidence"] for row in trials(tmp_path / "search")} == {"-1.0"}


def test_a_bad_job_leaves_the_others_and_is_told_at_the_end(search, tmp_path, capsys):
    code, ran = search(*SEARCH, OBJECTIVE, "hydra.sweeper.n_trials=6")
    assert code == 2 and {seed for _, seed in ran} > {2}
    assert capsys.readouterr().err.strip().splitlines()[-1] == "twinjax: seed 2 brings bad luck"
    for row in trials(tmp_path / "search"):
        bad = row["seed"] == "2"
        assert (row["complaint"], row["error"] == "") == ("seed 2 brings bad luck" if bad else "", bad)


@pytest.mark.thorough
def test_what_was_stopped_goes_on_to_the_same_end(search, tmp_path):
    whole, all_of_it = search(*SEARCH, OBJECTIVE, "hydra.sweeper.n_trials=5", folder="whole")
    stopped, first = search(*SEARCH, OBJECTIVE, "hydra.sweeper.n_trials=5", stops_at=3)
    assert (whole, stopped, len(first)) == (2, 130, 3)
    _, rest = search(*SEARCH, OBJECTIVE, "hydra.sweeper.n_trials=5")
    assert first + rest == all_of_it
    assert (tmp_path / "search" / "trials.csv").read_bytes() == (tmp_path / "whole" / "trials.csv").read_bytes()


def test_results_of_other_settings_are_not_mixed(search, capsys):
    assert search(SEARCH[0], "seed=0", OBJECTIVE, "hydra.sweeper.n_trials=1")[0] == 0
    for other in ("seed=1", "seed=0,1"):
        assert search(SEARCH[0], other, OBJECTIVE, "hydra.sweeper.n_trials=2") == (2, [])
        assert "holds a study of other settings (seed" in capsys.readouterr().err


def test_an_objective_that_no_job_has_ends_it_at_the_first(search, capsys):
    code, ran = search(*SEARCH, "hydra.sweeper.objective=accuracy")
    assert (code, len(ran)) == (2, 1)
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line == "twinjax: hydra.sweeper.objective: no 'accuracy'; the jobs found error, log_evidence"


def test_a_job_without_a_number_for_it_leaves_the_others(search, tmp_path):
    settings = (SEARCH[0], "seed=0", "title='sometimes none'", OBJECTIVE, "hydra.sweeper.n_trials=3")
    assert search(*settings)[0] == 0
    assert [row["complaint"] for row in trials(tmp_path / "search")] == ["", "no number for error", ""]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (SEARCH, ("hydra.sweeper.objective", "results.json")),
        (("seed=1", OBJECTIVE), ("no key has several values",)),
        ((*SEARCH, OBJECTIVE, "hydra.sweeper.direction=down"), ("hydra.sweeper.direction", "minimize", "down")),
        ((*SEARCH, OBJECTIVE, "hydra.sweeper.n_trials=0"), ("hydra.sweeper.n_trials", "0")),
        ((*SEARCH, OBJECTIVE, "hydra.sweeper.n_jobs=some"), ("hydra.sweeper.n_jobs", "some")),
        ((*SEARCH, OBJECTIVE, "hydra.sweeper.sampler=cmaes"), ("hydra.sweeper.sampler",)),
        (("calibrator.max_steps=interval(5,1)", OBJECTIVE), ("calibrator.max_steps=interval(5,1)", "low")),
        (("calibrator.max_step=1,2", OBJECTIVE), ("calibrator.max_step",)),
    ],
    ids=["objective", "nothing", "direction", "trials", "jobs", "key", "interval", "unknown"],
)
def test_bad_settings_are_refused_at_the_door(search, capsys, arguments, words):
    assert search(*arguments) == (2, [])
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and [word for word in words if word not in lines[0]] == []


def test_without_optuna_it_says_how_to_get_it(search, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert search(*SEARCH, OBJECTIVE) == (2, [])
    assert "pip install 'twinjax[sweep]'" in capsys.readouterr().err


@pytest.mark.slow
def test_the_job_itself_is_searched(tmp_path):
    """The width of a prior: the objective is that of results.json, in the folder of each trial, two at a time."""
    width = "prior.parameters.growth_rate.distribution.2"
    run = subprocess.run(
        [
            *(sys.executable, "-m", "twinjax", "-m", "hydra/sweeper=optuna", "hydra/launcher=joblib"),
            *("model=claret", "calibrator=laplace", "decision=null", f"{width}=tag(log,interval(0.1,2))"),
            "hydra.sweeper.objective=median error of sum_of_diameters_mm",
            *("hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2", f"hydra.sweep.dir={tmp_path}"),
        ],
        capture_output=True,
        text=True,
        env=os.environ | {"NPROC": "1"},
    )
    assert run.returncode == 0, run.stderr
    rows = trials(tmp_path)
    found = {}
    for path in tmp_path.glob("*/results.json"):
        metrics = {row["metric"]: row["value"] for row in json.loads(path.read_text())["metrics"]}
        found[float(path.parent.name.rpartition("=")[2])] = metrics["median error of sum_of_diameters_mm"]
    told = {float(row[width]): float(row["median error of sum_of_diameters_mm"]) for row in rows}
    assert len(rows) == 4 and told == found
    assert OmegaConf.load(tmp_path / "best.yaml").value == min(found.values())
