"""A sweep by the launchers of other packages: in processes of their own, to the same numbers, past a job that fails."""

import os
import subprocess
import sys

import pytest

LAUNCHERS = {
    "joblib": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
    "submitit": ["hydra/launcher=submitit_local", "hydra.launcher.timeout_min=20"],
}
JOBS = ["model=claret", "calibrator=laplace", "calibrator.max_steps=0,40"]


@pytest.mark.slow
def test_launchers_do_all_jobs_but_the_one_that_fails_to_the_same_numbers(tmp_path):
    found = {}
    for name, launcher in LAUNCHERS.items():
        run = subprocess.run(
            [sys.executable, "-m", "twinjax", "-m", *JOBS, *launcher, f"hydra.sweep.dir={tmp_path / name}"],
            capture_output=True,
            text=True,
            env=os.environ | {"NPROC": "1"},
            cwd=tmp_path,
        )
        assert run.returncode == 2, run.stderr
        assert run.stderr.strip().splitlines()[-1].startswith("twinjax: LevenbergMarquardt: starts and max_steps")
        good, bad = (tmp_path / name / f"calibrator.max_steps={n},calibrator=laplace,model=claret" for n in (40, 0))
        assert not (bad / "results.json").exists()
        assert (good / "report.html").exists()
        found[name] = (good / "parameters.csv").read_text(), (good / "forecast.csv").read_text()
    assert found["joblib"] == found["submitit"]
