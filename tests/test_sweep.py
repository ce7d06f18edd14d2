"""A sweep by launchers with processes of their own: to the same numbers, past a job that fails."""

import functools
import os
import subprocess
import sys

import pytest

LAUNCHERS = {
    "joblib": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
    "submitit": ["hydra/launcher=submitit_local", "hydra.launcher.timeout_min=20"],
    "ray": ["hydra/launcher=ray"],
}
JOBS = ["model=claret", "calibrator=laplace", "calibrator.max_steps=0,40"]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What the good one of the jobs wrote when they were run by a launcher, which is done once."""
    folder = tmp_path_factory.mktemp("sweep")

    @functools.cache
    def run(name: str) -> tuple[str, str]:
        run = subprocess.run(
            [sys.executable, "-m", "twinjax", "-m", *JOBS, *LAUNCHERS[name], f"hydra.sweep.dir={folder / name}"],
            capture_output=True,
            text=True,
            env=os.environ | {"NPROC": "1"},
            cwd=folder,
        )
        assert run.returncode == 2, run.stderr
        assert run.stderr.strip().splitlines()[-1].startswith("twinjax: LevenbergMarquardt: starts and max_steps")
        good, bad = (folder / name / f"calibrator.max_steps={n},calibrator=laplace,model=claret" for n in (40, 0))
        assert not (bad / "results.json").exists()
        assert (good / "report.html").exists()
        return (good / "parameters.csv").read_text(), (good / "forecast.csv").read_text()

    return run


@pytest.mark.thorough
@pytest.mark.parametrize("launcher", ["submitit", "ray"])
def test_launchers_do_all_jobs_but_the_one_that_fails_to_the_same_numbers(found, launcher):
    if launcher == "ray":
        pytest.importorskip("ray", reason="Ray is of the extra sweep, not of dev: pip install -c constraints.txt ray")
    assert found(launcher) == found("joblib")
