"""Claret's and Stein's curves: the systems against the closed forms that they come from."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from twinjax.core.config import conf_dir, instantiate
from twinjax.model import ClaretInhibition, SteinRegression
from twinjax.simulation import simulate
from twinjax.treatment import Chemotherapy, Radiotherapy, Regimen

DAYS = [20.0, 117.0, 400.0]
MODELS = pytest.mark.parametrize("model", [ClaretInhibition(), SteinRegression()], ids=["claret", "stein"])


def sizes(model, states):
    return jax.vmap(lambda state: model.quantities(state)["sum_of_diameters_mm"])(states)


def solved(model, regimen=None, days=DAYS):
    regimen = Regimen() if regimen is None else regimen
    exact = diffrax.PIDController(rtol=1e-9, atol=1e-12)
    trajectory = simulate(model, regimen, model.initial_state(jnp.array(90.0)), days, stepsize_controller=exact)
    return sizes(model, trajectory.require_success().states)


def test_claret_is_its_published_curve():
    t = np.asarray(DAYS)
    expected = 90 * np.exp(0.00107 * t - 0.0103 * (1 - np.exp(-0.0193 * t)) / 0.0193)
    np.testing.assert_allclose(solved(ClaretInhibition()), expected, rtol=1e-7)


def test_stein_is_its_published_curve():
    weeks = np.asarray(DAYS) / 7
    expected = 90 * (np.exp(-0.017 * weeks) + np.exp(0.00651 * weeks) - 1)
    np.testing.assert_allclose(solved(SteinRegression()), expected, rtol=1e-7)


@MODELS
def test_the_closed_form_is_that_of_the_system(model):
    states = jax.vmap(model.untreated, (None, 0))(model.initial_state(jnp.array(90.0)), jnp.asarray(DAYS))
    np.testing.assert_allclose(sizes(model, states), solved(model), rtol=1e-7)


@MODELS
def test_two_closed_forms_in_a_row_are_one(model):
    start = model.initial_state(jnp.array(90.0))
    np.testing.assert_allclose(model.untreated(model.untreated(start, 50.0), 70.0), model.untreated(start, 120.0))


@MODELS
def test_added_treatment_kills_a_share_of_the_volume(model):
    regimen = Regimen([Radiotherapy([5.0], 2.0, alpha=0.1), Chemotherapy([6.0], 75.0, sensitivity=0.6)])
    ratio = solved(model, regimen) / solved(model)
    np.testing.assert_allclose(ratio**3, np.exp(-0.1 * 2 * 1.2 - 0.6 / 9.24), rtol=1e-7)


@MODELS
def test_the_smallest_size_is_where_it_is_said_to_be(model):
    day = float(model.time_to_growth if isinstance(model, ClaretInhibition) else 7 * model.nadir_week)
    before, at, after = solved(model, days=[day - 10, day, day + 10])
    assert at < before and at < after


def test_claret_without_resistance_has_a_finite_gradient():
    def size(rate):
        model = ClaretInhibition(resistance_rate=rate)
        return model.untreated(model.initial_state(jnp.array(90.0)), 100.0).size_mm

    value, slope = jax.value_and_grad(size)(0.0)
    np.testing.assert_allclose(value, 90 * np.exp((0.00107 - 0.0103) * 100), rtol=1e-9)
    np.testing.assert_allclose(slope, (size(1e-5) - value) / 1e-5, rtol=1e-3)


@pytest.mark.parametrize(("arm", "rate"), [("pembrolizumab", 0.017), ("docetaxel", 0.03566)])
def test_arms_by_name(arm, rate):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("config", ["model=stein", f"arm={arm}"])
    assert float(instantiate(config.model).shrinkage_rate_per_week) == rate
