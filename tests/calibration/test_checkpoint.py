"""What is interrupted goes on from its checkpoint, to the same bits."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import linear
import numpy as np
import pytest
from numpyro.distributions import Normal

from twinjax.calibration import ImportanceSampler, LevenbergMarquardt, NoUTurnSampler, importance, in_folder
from twinjax.calibration.checkpoint import fingerprint
from twinjax.core.errors import InputError

# The process that is killed compiles with optimisation, and the rest of its chain must come to the same bits.
pytestmark = pytest.mark.optimized
KEY = jax.random.key(5)
# One for all tests: problems of another prior compile anew.
PROBLEM = linear.problem()
MODE = LevenbergMarquardt(estimate_noise=False)
NUTS = {"samples": 60, "warmup": 15, "progress": False, "mode": MODE}
# A process that is killed while it writes the fourth block of its chains.
VICTIM = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import jax
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_compilation_cache_dir", sys.argv[3])
from test_checkpoint import KEY, NUTS, PROBLEM
from twinjax.calibration import NoUTurnSampler, tree_file

replace, written = os.replace, []

def replace_or_die(source, target):
    written.append(target.name)
    if written.count("NUTS.ckpt") == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)

tree_file.os.replace = replace_or_die
NoUTurnSampler(**NUTS, checkpoint=sys.argv[2]).fit(PROBLEM, key=KEY)
"""


@pytest.fixture(scope="module")
def whole():
    return NoUTurnSampler(**NUTS).fit(PROBLEM, key=KEY)


@pytest.mark.thorough
def test_a_killed_chain_goes_on_and_gives_what_the_whole_one_gives(whole, tmp_path):
    tests = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tests.parent.parent), str(tests)])}
    command = [sys.executable, "-c", VICTIM, tests, tmp_path, jax.config.jax_compilation_cache_dir]
    done = subprocess.run(command, env=environment, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert {path.name for path in tmp_path.iterdir()} == {"mode.ckpt", "NUTS.ckpt", "NUTS.partial"}
    before = (tmp_path / "mode.ckpt").stat().st_mtime_ns
    resumed = NoUTurnSampler(**NUTS, checkpoint=str(tmp_path)).fit(PROBLEM, key=KEY)
    # The mode was not sought again, nor were the first three blocks drawn again.
    assert (tmp_path / "mode.ckpt").stat().st_mtime_ns == before
    np.testing.assert_array_equal(resumed.z, whole.z)
    np.testing.assert_array_equal(resumed.z_map, whole.z_map)
    for name in ("gradients", "divergences", "e_bfmi", "accept_probability", "r_hat", "ess"):
        assert resumed.diagnostics[name] == whole.diagnostics[name], name


@pytest.fixture(scope="module")
def kept(whole, tmp_path_factory):
    """The folder of a fit that came to its end."""
    folder = tmp_path_factory.mktemp("checkpoint")
    NoUTurnSampler(**NUTS, checkpoint=str(folder)).fit(PROBLEM, key=KEY)
    return folder


def test_a_finished_chain_is_not_drawn_again(kept, whole, monkeypatch):
    from twinjax.calibration import iteration

    monkeypatch.setattr(iteration, "_block", None)
    again = NoUTurnSampler(**NUTS, checkpoint=str(kept)).fit(PROBLEM, key=KEY)
    np.testing.assert_array_equal(again.z, whole.z)


@pytest.mark.parametrize(
    ("settings", "problem", "key"),
    [
        ({"target_accept": 0.9}, {}, KEY),
        ({"mode": LevenbergMarquardt(estimate_noise=False, starts=2)}, {}, KEY),
        ({}, {"noise_std": 0.4}, KEY),
        (
            {},
            {"prior": {**linear.PRIOR, "scale": {**linear.PRIOR["scale"], "distribution": ("normal", 0.8, 0.5)}}},
            KEY,
        ),
        ({}, {}, jax.random.key(6)),
    ],
    ids=["settings", "mode", "noise", "prior", "key"],
)
def test_that_of_another_fit_is_refused(kept, settings, problem, key):
    method = NoUTurnSampler(**{**NUTS, **settings}, checkpoint=str(kept))
    with pytest.raises(InputError, match=r"mode.ckpt: made for other data, other settings, another seed"):
        method.fit(linear.problem(**problem) if problem else PROBLEM, key=key)


def test_the_order_of_sets_in_another_process_does_not_count(monkeypatch):
    method, fields = NoUTurnSampler(**NUTS), Normal.gather_pytree_data_fields()
    here = fingerprint(PROBLEM, method, KEY)
    # numpyro keeps the parameters of a distribution in the order of a set.
    monkeypatch.setattr(Normal, "gather_pytree_data_fields", classmethod(lambda _: fields[::-1]))
    assert fingerprint(PROBLEM, method, KEY) == here


def test_a_damaged_file_is_named(kept, tmp_path):
    for name in ("mode.ckpt", "NUTS.ckpt"):
        (tmp_path / name).write_bytes((kept / name).read_bytes())
    method = NoUTurnSampler(**NUTS, checkpoint=str(tmp_path))
    whole = (tmp_path / "NUTS.ckpt").read_bytes()
    (tmp_path / "NUTS.ckpt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"NUTS.ckpt: the file is damaged; delete it"):
        method.fit(PROBLEM, key=KEY)
    (tmp_path / "NUTS.ckpt").write_bytes(b"day,dose\n1,2\n")
    with pytest.raises(InputError, match=r"NUTS.ckpt: not a checkpoint of twinjax"):
        method.fit(PROBLEM, key=KEY)


def test_a_folder_that_cannot_be_written_is_named_first(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"checkpoint: cannot write to the folder '.*file'"):
        NoUTurnSampler(**NUTS, checkpoint=str(tmp_path / "file")).fit(PROBLEM, key=KEY)


@pytest.mark.thorough
def test_importance_sampling_goes_on_too(tmp_path, monkeypatch):
    settings = {"proposals": 100, "draws": 100, "effective": 20, "progress": False, "mode": MODE}
    whole = ImportanceSampler(**settings).fit(PROBLEM, key=KEY)
    solve, calls = importance.log_densities, []

    def interrupted(problem, z):
        calls.append(len(z))
        if len(calls) == 5:
            raise KeyboardInterrupt
        return solve(problem, z)

    monkeypatch.setattr(importance, "log_densities", interrupted)
    method = ImportanceSampler(**settings, checkpoint=str(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        method.fit(PROBLEM, key=KEY)
    resumed = method.fit(PROBLEM, key=KEY)
    np.testing.assert_array_equal(resumed.z, whole.z)
    # Each time the mode and its four neighbours; of five chunks three before, and two after.
    assert calls == [5, *[20] * 4, 5, *[20] * 2]
    assert resumed.diagnostics["log_evidence"] == whole.diagnostics["log_evidence"]


def test_a_relative_checkpoint_lies_in_the_folder_of_the_run(tmp_path):
    assert in_folder(NoUTurnSampler(checkpoint="kept"), tmp_path).checkpoint == str(tmp_path / "kept")
    absolute = str(tmp_path / "elsewhere")
    assert in_folder(NoUTurnSampler(checkpoint=absolute), Path("outputs")).checkpoint == absolute
    assert in_folder(NoUTurnSampler(), tmp_path).checkpoint is None
    assert in_folder(MODE, tmp_path) is MODE
