"""Domain decomposition, in a process of its own: how many devices a CPU stands for is fixed when JAX starts."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from twinjax.core.errors import InputError
from twinjax.solver import RungeKuttaLegendre, StrangSplitting

TIERS = {"not slow and not thorough": [], "thorough": [pytest.mark.thorough], "slow": [pytest.mark.slow]}


@pytest.mark.parametrize("which", [pytest.param(which, marks=marks) for which, marks in TIERS.items()])
def test_several_devices_give_the_answer_of_one(which):
    script = Path(__file__).parent / "over_devices.py"
    flags = "--xla_cpu_multi_thread_eigen=false --xla_force_host_platform_device_count=4"
    command = [sys.executable, "-m", "pytest", "-q", "-m", which, str(script)]
    environment = os.environ | {"XLA_FLAGS": flags}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=script.parents[2])
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("solver", [StrangSplitting, RungeKuttaLegendre])
def test_settings_that_cannot_be(solver):
    with pytest.raises(InputError, match=f"solver.devices is {len(jax.devices()) + 1}, but there are"):
        solver(devices=len(jax.devices()) + 1)
    with pytest.raises(InputError, match="solver.devices must be 1 or more, got 0"):
        solver(devices=0)
    with pytest.raises(InputError, match="solver.kernel 'cuda' is unknown; choose one of auto, xla, pallas"):
        solver(kernel="cuda")
