"""`import twinjax`, with all its public names, brings the numerics only."""

import json
import subprocess
import sys

import pytest

HEAVY = ["torch", "monai", "SimpleITK", "nilearn", "sklearn", "hydra", "matplotlib.pyplot"]
SCRIPT = f"""
import inspect, json, sys, jax, twinjax
from twinjax import *
everything = [getattr(twinjax, name) for name in twinjax.__all__]
heavy = [name for name in {HEAVY} if name in sys.modules]
import twinjax.calibration, twinjax.twin
hidden = [name for name in twinjax.__all__ if inspect.ismodule(getattr(twinjax, name))]
print(json.dumps({{"heavy": heavy, "x64": jax.config.jax_enable_x64, "hidden": hidden}}))
"""


@pytest.fixture(scope="module")
def imported():
    """What a process finds that has just imported all public names."""
    result = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    return json.loads(result.stdout)


def test_the_public_names_leave_heavy_packages_out(imported):
    assert imported["heavy"] == []


def test_import_leaves_float_precision_alone(imported):
    assert imported["x64"] is False


def test_no_name_of_the_public_face_is_hidden_by_a_module(imported):
    """A submodule becomes an attribute of the package when it is imported, in the place of a lazy name like its own."""
    assert imported["hidden"] == []
