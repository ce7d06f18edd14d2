"""What a user waits for at the start: import, the first line of the command, the first solve with and without cache."""

import os
import subprocess
import sys
import tempfile
import time

from measure import Row

REPEATS = 5

FIRST_SOLVE = """
import case
from twinjax.simulation import simulate
domain = case.slab()
model, regimen = case.model(domain, case.PARAMETERS), case.regimen(case.PARAMETERS)
simulate(model, regimen, case.state0(domain), [270.0], max_step=4.0).require_success()
"""


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {
            "PYTHONPATH": os.path.dirname(__file__),
            "JAX_COMPILATION_CACHE_DIR": cache,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        cold = _seconds([sys.executable, "-c", FIRST_SOLVE], environment)
        warm = sorted(_seconds([sys.executable, "-c", FIRST_SOLVE], environment) for _ in range(REPEATS))[REPEATS // 2]
    imported = sorted(_seconds([sys.executable, "-c", "import twinjax"], os.environ) for _ in range(REPEATS))
    first = sorted(_first_line() for _ in range(REPEATS))
    return [
        Row("import twinjax", f"{imported[REPEATS // 2]:.2f} s", "", "2 s"),
        Row("twinjax to its first step", f"{first[REPEATS // 2]:.1f} s", "", "8 s"),
        Row("process to first solve of 270 days", f"{warm:.1f} s", f"{cold:.1f} s with a cold compilation cache"),
    ]


def _seconds(command, environment) -> float:
    start = time.perf_counter()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return time.perf_counter() - start


def _first_line() -> float:
    """Seconds until `twinjax` says what it does first."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        command = [sys.executable, "-m", "twinjax", f"hydra.run.dir={folder}"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip():
                break
        waited = time.perf_counter() - start
        process.kill()
        process.wait()
    return waited
