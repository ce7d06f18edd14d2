"""Gradient, Jacobian and Hessian times a vector of every model and observation against central differences, to 1e-6."""

import importlib.util
from pathlib import Path

import jax
import line
import numpy as np
import pytest
from precision import inexact_products

from twinjax.core.config import choices

SCRIPT = Path(__file__).parents[2] / "experiments" / "calibration" / "gradients.py"
spec = importlib.util.spec_from_file_location("gradients", SCRIPT)
assert spec is not None and spec.loader is not None
gradients = importlib.util.module_from_spec(spec)
spec.loader.exec_module(gradients)


def assert_right(found):
    wrong = {name: value for name, value in found.items() if not value <= gradients.LARGEST_ERROR}
    assert not wrong


@pytest.mark.thorough
def test_derivatives_on_a_line_with_fractions_density_and_a_segmentation():
    problem = line.treated_problem()
    found = gradients.check(problem)
    assert set(found) == {"gradient", "Jacobian", "Gauss-Newton-vector"}
    assert_right(found)
    assert not inexact_products(jax.jacrev(problem.residuals), np.zeros(problem.dimension))


def test_a_wrong_derivative_is_found():
    assert gradients.error([1.0, 2.0], [1.0, 2.00001]) > gradients.LARGEST_ERROR


@pytest.mark.slow
@pytest.mark.parametrize("model", choices("model"))
def test_derivatives_of_a_model(model):
    problem = gradients.problem_of(model)
    assert_right(gradients.check_model(problem))
    assert not inexact_products(problem.residuals, np.zeros(problem.dimension))
