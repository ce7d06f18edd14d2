"""The tumour on a line is a helper module of these tests."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def laplace():
    """The Laplace posterior of the synthetic tumour on a line."""
    import jax
    import line

    from twinjax.calibration import LevenbergMarquardt

    return LevenbergMarquardt(estimate_noise=False).fit(line.problem(), key=jax.random.key(0))
