"""`hydra/launcher=ray`: what it refuses before it starts anything, and, with Ray, how jobs run, fail and stop."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig

from twinjax import app
from twinjax.core.errors import InputError
from twinjax.core.processes import THREADS, cores
from twinjax.sweep import offer

LAUNCHER = ("-m", "hydra/launcher=ray", "model=claret", "calibrator=laplace")
NO_RAY = "Ray is of the extra sweep, not of dev: pip install -c constraints.txt ray"
CLUSTER = """
import sys, ray
print(ray.init("local", num_cpus=1, num_gpus=1, include_dashboard=False).address_info["gcs_address"], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def refused(tmp_path, monkeypatch, command, capsys):
    """The one line with which the command ends, where Ray is not installed."""

    def run(*arguments: str) -> str:
        monkeypatch.setitem(sys.modules, "ray", None)
        assert command(*LAUNCHER, f"hydra.sweep.dir={tmp_path}", *arguments) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        return line

    return run


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("cores_per_job=0",), ("hydra.launcher.cores_per_job", "0")),
        (("cores_per_job=1.5",), ("hydra.launcher.cores_per_job", "1.5")),
        (("cores_per_job=5000",), ("hydra.launcher.cores_per_job=5000", str(cores()))),
        (("cores=0",), ("hydra.launcher.cores", "0")),
        (("cores=5000",), ("hydra.launcher.cores=5000", str(cores()))),
        (("cores=1", "cores_per_job=2"), ("hydra.launcher.cores_per_job=2: the local cluster has 1",)),
        (("cores=1", "address=auto"), ("hydra.launcher.cores", "local cluster")),
        (("address=null",), ("hydra.launcher.address", "local", "None")),
        (("gpus_per_job=-1",), ("hydra.launcher.gpus_per_job", "-1")),
        (("gpus_per_job=1.5",), ("hydra.launcher.gpus_per_job", "1.5")),
        (("jobs=2",), ("hydra.launcher.jobs",)),
    ],
)
def test_bad_settings_are_refused_before_ray_is_asked_for(refused, arguments, words):
    line = refused(*(f"hydra.launcher.{argument}" for argument in arguments))
    assert [word for word in words if word not in line] == []


def test_keys_of_the_other_launcher_are_refused(refused):
    line = refused("+hydra.launcher.ray.init.num_cpus=2")
    assert "hydra.launcher.ray: no such key" in line and "cores_per_job" in line


def test_without_ray_it_says_how_to_get_it(refused):
    assert "pip install 'twinjax[sweep]'" in refused()


def test_hydra_ray_launcher_may_be_installed_beside_it(refused, monkeypatch):
    """Registered as that registers itself: Hydra would hold our file to its keys."""
    offer()
    monkeypatch.setitem(ConfigStore.instance().repo["hydra"]["launcher"], "ray.yaml", None)
    theirs = {"_target_": "hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher", "ray": {"init": {}}}
    ConfigStore.instance().store(group="hydra/launcher", name="ray", node=theirs, provider="ray_launcher")
    assert refused("hydra.launcher.cores_per_job=0").startswith("twinjax: hydra.launcher.cores_per_job must be")


@pytest.fixture
def sweep(tmp_path, monkeypatch, command):
    """A sweep by Ray whose jobs do what `task` says, by default in the folder `swept`; returns the exit code."""
    ray = pytest.importorskip("ray", reason=NO_RAY)
    # Of a module that the processes of Ray do not find.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])

    def run(task, *arguments: str, into: str = "swept") -> int:
        monkeypatch.setattr(app, "run", task)
        return command(*LAUNCHER, f"hydra.sweep.dir={into}", *arguments)

    for name in THREADS:
        monkeypatch.delenv(name, raising=False)
    # Read when Ray was imported; what the launcher sets is not for the clusters of other tests.
    for name in ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_NUM_REDIS_GET_RETRIES"):
        monkeypatch.setenv(name, "1")
    monkeypatch.chdir(tmp_path)
    yield run
    ray.shutdown()


def told(config) -> dict:
    """What a job finds around it, in its folder."""
    around = {name: os.environ.get(name) for name in ("NPROC", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")}
    found = Path(HydraConfig.get().runtime.output_dir, "around.json")
    found.write_text(json.dumps(around | {"folder": os.getcwd()}))
    return {"metrics": [], "diagnostics": {}}


def wait_for(happened, seconds: float) -> bool:
    """Whether it has, within that time."""
    deadline = time.monotonic() + seconds
    while not (done := happened()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return bool(done)


def failing(config) -> dict:
    class Odd(Exception):
        def __init__(self, one, other):
            super().__init__(one)

    if config.seed == 0:
        # It ends after all the others, where there is another core for them.
        swept = Path(HydraConfig.get().runtime.output_dir).parent
        wait_for(lambda: list(swept.glob("*seed=4/around.json")), seconds=60)
    if config.seed < 2:
        raise InputError(f"seed {config.seed} brings bad luck")
    if config.seed == 2:
        os._exit(3)
    if config.seed == 3:
        raise Odd("two arguments", "that pickle makes one of")
    return told(config)


def around(folder: Path, seed: int) -> dict:
    return json.loads((folder / "swept" / f"calibrator=laplace,model=claret,seed={seed}" / "around.json").read_text())


@pytest.fixture
def cluster(tmp_path):
    """The address of a cluster of one core, and by its own word one GPU, that was started in another folder."""
    pytest.importorskip("ray", reason=NO_RAY)
    (elsewhere := tmp_path / "elsewhere").mkdir()
    start = [sys.executable, "-c", CLUSTER]
    # Ray asks those that know its address for a token where it was told so before it was imported.
    env = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    running = subprocess.Popen(start, cwd=elsewhere, env=env, text=True, **pipes)
    yield running.stdout.readline().strip()
    running.communicate()


@pytest.mark.slow
def test_jobs_that_fail_or_die_leave_the_others(sweep, tmp_path, capsys):
    assert sweep(failing, "seed=range(0,5)") == 2
    captured = capsys.readouterr()
    # The first of the jobs, not of the ends.
    assert captured.err.strip().splitlines()[-1] == "twinjax: seed 0 brings bad luck"
    ends = dict(re.findall(r"job \d of 5: .* seed=(\d): (.*)$", captured.out, re.MULTILINE))
    assert ends.pop("2").startswith("Ray: The worker died")
    assert ends == {
        "0": "seed 0 brings bad luck",
        "1": "seed 1 brings bad luck",
        "3": "Odd: two arguments",
        "4": "done",
    }
    found = around(tmp_path, 4)
    assert (found["folder"], found["NPROC"], found["OMP_NUM_THREADS"]) == (str(tmp_path), "1", "1")
    # No fault of the user's: it is told where in the job it was.
    with pytest.raises(RuntimeError, match="Odd: two arguments") as bug:
        sweep(failing, "seed=3")
    assert "in failing" in bug.value.__notes__[0]


@pytest.mark.slow
def test_a_cluster_that_runs_does_them_in_the_folder_of_the_command(sweep, cluster, tmp_path, capsys, monkeypatch):
    at = f"hydra.launcher.address={cluster}"
    assert sweep(told, at, "hydra.launcher.cores_per_job=2") == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line == "twinjax: hydra.launcher.cores_per_job=2: no machine of the cluster has more than 1"
    # It is there for the next.
    assert sweep(told, at, "seed=1,2", "hydra.launcher.gpus_per_job=1") == 0
    for seed in (1, 2):
        found = around(tmp_path, seed)
        assert (found["folder"], found["NPROC"], found["CUDA_VISIBLE_DEVICES"]) == (str(tmp_path), "1", "0")
    assert sweep(told, at, "seed=3") == 0
    assert around(tmp_path, 3)["CUDA_VISIBLE_DEVICES"] is None
    monkeypatch.setattr(os, "getcwd", lambda: str(tmp_path / "nowhere"))
    assert sweep(told, at, "seed=4", into=str(tmp_path / "swept")) == 2
    assert f"has no folder '{tmp_path / 'nowhere'}'" in capsys.readouterr().err


@pytest.mark.slow
def test_it_listens_to_this_machine_alone_and_ctrl_c_leaves_no_process(tmp_path):
    pytest.importorskip("ray", reason=NO_RAY)
    long = ("calibrator=nuts", "calibrator.samples=1000000")
    running = subprocess.Popen(
        [sys.executable, "-m", "twinjax", *LAUNCHER[:-1], *long, "hydra.sweep.dir=swept"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert wait_for(lambda: running.poll() is not None or list(tmp_path.glob("swept/*/twinjax.log")), seconds=300)
    assert running.poll() is None
    processes = psutil.Process(running.pid).children(recursive=True)
    listening = [at.laddr.ip for one in processes for at in one.net_connections() if at.status == "LISTEN"]
    assert len(listening) > 2 and {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}
    os.killpg(running.pid, signal.SIGINT)
    _, complaint = running.communicate(timeout=60)
    assert running.returncode == 130 and complaint.strip().startswith("twinjax: stopped")
    assert psutil.wait_procs(processes, timeout=10)[1] == []
