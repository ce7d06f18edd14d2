"""`import twinjax` brings the numerics only."""

import subprocess
import sys

HEAVY = ["torch", "monai", "SimpleITK", "nilearn", "sklearn", "hydra", "matplotlib.pyplot"]


def test_import_leaves_heavy_packages_out():
    script = f"import sys, twinjax; print([name for name in {HEAVY} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_import_leaves_float_precision_alone():
    script = "import jax, twinjax; print(jax.config.jax_enable_x64)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
