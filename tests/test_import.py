"""`import twinjax`, with all its public names, brings the numerics only."""

import subprocess
import sys

HEAVY = ["torch", "monai", "SimpleITK", "nilearn", "sklearn", "hydra", "matplotlib.pyplot"]


def test_the_public_names_leave_heavy_packages_out():
    everything = "[getattr(twinjax, name) for name in twinjax.__all__]"
    script = f"import sys, twinjax; {everything}; print([name for name in {HEAVY} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_import_leaves_float_precision_alone():
    script = "import jax; from twinjax import *; print(jax.config.jax_enable_x64)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_no_name_of_the_public_face_is_hidden_by_a_module():
    """A submodule becomes an attribute of the package when it is imported, in the place of a lazy name like its own."""
    code = (
        "import inspect, twinjax, twinjax.calibration, twinjax.twin; "
        "assert not [name for name in twinjax.__all__ if inspect.ismodule(getattr(twinjax, name))]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
