"""The lung model: its reaction against its flow, and a treated tumour by two solvers."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.core.kills import Kills
from twinjax.domain import Domain
from twinjax.model import Forcing, LungTumor, PointSeed
from twinjax.simulation import simulate
from twinjax.treatment import AbstractModulatingTreatment, Radiotherapy, Regimen


class Blockade(AbstractModulatingTreatment):
    """A level that is 1 from day 10 on, falling by half in 20 days: what an antibody does, for this test."""

    times: jax.Array

    action = "checkpoint_blockade"

    def level(self, t):
        return jnp.where(t >= self.times[0], 0.5 ** ((t - self.times[0]) / 20), 0.0)

    def mean_level(self, t0, t1):
        first = jnp.maximum(t0, self.times[0])
        rate = jnp.log(2.0) / 20
        whole = (self.level(first) - self.level(jnp.maximum(t1, first))) / rate
        return whole / jnp.maximum(t1 - t0, 1e-12)

    @property
    def name(self):
        return "blockade"

    def select(self, keep):
        return self

    def filled(self, count):
        return self

    def shifted(self, days):
        return Blockade(self.times + days)

    def on(self, domain):
        return self

    def burden(self):
        return {"doses": 1}


def lung(**parameters):
    mask = np.ones((16, 14, 12), bool)
    mask[:5] = False
    return LungTumor(Domain(mask, (2.0, 2.0, 2.0)), diffusivity=0.1, proliferation_rate=0.03, **parameters)


def test_flow_is_the_solution_of_the_reaction():
    model, u0 = lung(checkpoint_kill_rate=0.05), jnp.array([1e-3, 0.3, 0.9])
    levels = {"checkpoint_blockade": jnp.array(0.8)}
    flow, slope = jax.jvp(
        lambda t: model.reaction_flow(u0, t, Kills.none(), levels), (jnp.array(15.0),), (jnp.array(1.0),)
    )
    np.testing.assert_allclose(slope, model.reaction(flow, 0.05 * 0.8), rtol=1e-10)


@pytest.mark.thorough
def test_splitting_and_an_adaptive_solver_agree_on_a_treated_tumour():
    model = lung(checkpoint_kill_rate=0.06)
    state0 = PointSeed([20.0, 14.0, 12.0], radius=5.0, amplitude=0.6)(model.domain)
    regimen = Regimen([Radiotherapy([5.0, 6.0, 7.0], 3.0, alpha=0.1), Blockade(jnp.array([10.0]))])
    days = [20.0, 50.0]
    # In float64 the order shows: half the step, a quarter of the error.
    exact = simulate(model, regimen, state0, days, solver=diffrax.Tsit5()).require_success().states
    errors = []
    for step in (2.0, 1.0):
        split = simulate(model, regimen, state0, days, max_step=step).require_success().states
        errors.append(float(jnp.abs(split - exact).max()))
    assert errors[0] < 2e-3 * float(exact.max()) and errors[1] < errors[0] / 3


def test_no_cell_passes_the_pleura_and_none_are_lost_to_transport():
    model = lung()
    state = PointSeed([12.0, 14.0, 12.0], radius=5.0, amplitude=0.6)(model.domain)
    spread = model.transport(None)(state)
    assert float(jnp.abs(spread * ~model.domain.mask).max()) == 0
    np.testing.assert_allclose(float(spread.sum()), 0.0, atol=1e-12)


def test_blockade_acts_in_the_vector_field_too():
    model = lung(checkpoint_kill_rate=0.06)
    state = jnp.full(model.domain.shape, 0.3) * model.domain.mask
    transport = model.transport(None)
    plain = model.vector_field(0.0, state, Forcing(jnp.array(0.0), transport))
    blocked = model.vector_field(
        0.0, state, Forcing(jnp.array(0.0), transport, {"checkpoint_blockade": jnp.array(1.0)})
    )
    np.testing.assert_allclose(plain - blocked, 0.06 * state, rtol=1e-10, atol=1e-15)
