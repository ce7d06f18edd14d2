"""Losses of the draws from a decision on: their gradients, and that the past is solved once without a difference."""

import bar
import jax.numpy as jnp
import numpy as np
import pytest
import volume

from twinjax.treatment import Radiotherapy, Regimen
from twinjax.twin import Adjustable
from twinjax.twin.adjustable import PlanVariables
from twinjax.twin.ahead import MOST_FORWARD, Ahead
from twinjax.twin.control import FinalSize, TimeToProgression
from twinjax.twin.criteria import criterion_for

DECISION, TIMES = 5.0, np.array([5.0, 12.0, 19.0, 26.0, 40.0, 60.0])


def set_up(twin, fractions: int, outcome: str, *, move_days=0.0):
    plan = Regimen((Radiotherapy(1.5 + 3.0 * np.arange(fractions), 2.0, alpha=0.05, alpha_beta_ratio=5.0),))
    past = twin.regimen.before(DECISION)
    whole = twin._under(past + plan.shifted(DECISION))
    adjust = {"radiotherapy": Adjustable(6.0, normal_alpha_beta_ratio=3.0, move_days=move_days)}
    variables = PlanVariables(whole.regimen, adjust, first=1, decision_day=DECISION)
    return Ahead.of(whole, twin.problem, twin.whitened_draws(4), DECISION, outcome), variables


def central_differences(ahead, variables, control, x, step=1e-5):
    def loss(x):
        return ahead.losses(variables, control, x, TIMES)[0]

    return np.stack([(loss(x + step * e) - loss(x - step * e)) / (2 * step) for e in np.eye(x.size)], axis=1)


PROGRESSION = TimeToProgression(criterion_for("volume_mm3"))


@pytest.mark.parametrize(
    "control",
    [pytest.param(FinalSize(), marks=pytest.mark.thorough), PROGRESSION],
    ids=lambda c: type(c).__name__,
)
def test_gradients_are_those_of_central_differences(control):
    """In doses and in their times, by forward mode; the solver's own tolerance (1e-6) shows in the differences."""
    fractions = 3
    ahead, variables = set_up(volume.twin(spread=0.2, draws=10), fractions, "volume_mm3", move_days=1.0)
    x = variables.standard()
    x[0] = 0.4
    _, gradients = ahead.losses(variables, control, x, TIMES)
    found = central_differences(ahead, variables, control, x)
    np.testing.assert_allclose(gradients, found, rtol=1e-3, atol=1e-4 * np.abs(found).max())
    assert (gradients[:, :fractions] != 0).all()


@pytest.mark.thorough
def test_on_a_grid_the_gradient_is_that_of_the_solver():
    """By reverse mode, as the variables are many."""
    ahead, variables = set_up(bar.twin(), MOST_FORWARD + 1, "cell_volume_mm3")
    x = variables.standard()
    _, gradients = ahead.losses(variables, FinalSize(), x, TIMES)
    np.testing.assert_allclose(gradients, central_differences(ahead, variables, FinalSize(), x), rtol=1e-6)


@pytest.mark.thorough
def test_from_the_decision_on_it_is_the_forecast():
    twin = volume.twin()
    ahead, variables = set_up(twin, 2, "volume_mm3")
    found = ahead.courses(variables.at(jnp.asarray(variables.standard())), TIMES)
    whole = twin.predict(TIMES[-1], TIMES.tolist(), regimen=variables.regimen, draws=4)
    np.testing.assert_allclose(found, whole.quantities["volume_mm3"], rtol=2e-4)
