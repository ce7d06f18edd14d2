"""Set-up of all tests: float64, shape and type checks, one thread per process, a compilation cache."""

import gc
import logging
import os
import sys
from pathlib import Path

# Read by BLAS, OpenMP and XLA once, when they are imported: the processes of pytest-xdist share the cores.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
    os.environ.setdefault(variable, "1")
# Most of the time goes into compiling programs that run for milliseconds: less optimisation takes a sixth off.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false --xla_backend_optimization_level=1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import hypothesis
import jax
import matplotlib
import pytest
from absl import logging as absl_logging
from jaxtyping import install_import_hook

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parent.parent / ".cache" / "jax"))
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
matplotlib.use("Agg")
# Tracing makes millions of objects that live on: looking for cycles among them every 700 takes some 5 % of the time.
gc.set_threshold(50_000, 20, 50)
# Hydra closes every logging handler when it sets up its own. That of absl, which Flax brings, then closes its stream,
# unless that is one of Python's own: here it would be the file into which pytest captures.
absl_logging.get_absl_handler().python_handler.stream = sys.__stderr__
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.load_profile("repeatable")
install_import_hook("twinjax", "typechecker.checked")


# Of this process, from which on it forgets what it has compiled.
ENOUGH_BYTES = 3e9


def _memory() -> float:
    """Bytes that this process has; infinite where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return float("inf")
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(scope="module", autouse=True)
def _optimization(request):
    """Programs are compiled without, which is quicker, but in modules marked `optimized`, whose solves are long."""
    jax.config.update("jax_disable_most_optimizations", request.node.get_closest_marker("optimized") is None)


@pytest.fixture(scope="module", autouse=True)
def _forget_programs():
    """Compiled programs of all modules together take 8 GB and more a process; the cache on disk has them again."""
    yield
    if _memory() > ENOUGH_BYTES:
        jax.clear_caches()


@pytest.fixture
def command(monkeypatch):
    """Runs `twinjax ...`, or with `train=True` `twinjax-train ...`, in this process, and returns its exit code.

    Logging and the compilation cache are afterwards as they were.
    """
    from twinjax import app

    def run(*arguments: str, train: bool = False) -> int:
        monkeypatch.setattr(sys, "argv", ["twinjax", *arguments])
        try:
            app.train() if train else app.main()
        except SystemExit as stopped:
            return int(stopped.code or 0)
        return 0

    handlers, level, cache = (
        logging.root.handlers[:],
        logging.root.level,
        jax.config.values["jax_compilation_cache_dir"],
    )
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    yield run
    for handler in set(logging.root.handlers) - set(handlers):
        handler.close()
    logging.root.handlers[:], logging.root.level = handlers, level
    jax.config.update("jax_compilation_cache_dir", cache)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder with public patient data, named by TWINJAX_DATA; tests that need it are skipped without it."""
    folder = os.environ.get("TWINJAX_DATA")
    if not folder:
        pytest.skip("TWINJAX_DATA is not set: it names the folder with public patient data")
    path = Path(folder)
    assert path.is_dir(), f"TWINJAX_DATA names no folder: {folder}"
    return path
