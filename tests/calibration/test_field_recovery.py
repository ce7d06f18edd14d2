"""A tumour in a plane behind a barrier, from data of another solver on a finer grid: what a field of D is worth."""

import importlib.util
from pathlib import Path

import jax
import pytest

from twinjax.calibration import LevenbergMarquardt, LowRankLaplace, NewtonCG

FILE = Path(__file__).parents[2] / "experiments" / "calibration" / "field.py"
spec = importlib.util.spec_from_file_location("field_experiment", FILE)
assert spec is not None and spec.loader is not None
experiment = importlib.util.module_from_spec(spec)
spec.loader.exec_module(experiment)


@pytest.mark.slow
def test_a_field_forecasts_better_than_a_number_and_holds_the_truth():
    case = experiment.Case(axes=2, extent=80.0, edge=2.0)
    number = LevenbergMarquardt(estimate_noise=False).fit(case.problem(field=False), key=jax.random.key(0))
    calibrator = LowRankLaplace(mode=NewtonCG(estimate_noise=False))
    field = calibrator.fit(case.problem(field=True), key=jax.random.key(0))
    assert field.diagnostics["converged"], field.diagnostics["verdict"]
    plain, found = experiment.scores(case, number), experiment.scores(case, field)
    assert found["forecast"] < 0.4 * plain["forecast"]
    assert found["log_diffusivity"] < 0.5 * plain["log_diffusivity"]
    assert 0.85 < found["covered"] < 1
    # Evidence: the data prefer the field, by far.
    assert field.diagnostics["information_gain"] > 50
