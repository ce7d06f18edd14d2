"""Treatments that act otherwise than by killing: how a regimen sums them, and how models meet their levels."""

import diffrax
import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.domain import DiffusionOperator, Domain
from twinjax.model import AbstractLumpedModel, AbstractReactionDiffusionModel, Forcing
from twinjax.simulation import simulate
from twinjax.solver import StrangSplitting
from twinjax.treatment import AbstractModulatingTreatment, Chemotherapy, Regimen


class Blockade(AbstractModulatingTreatment):
    """Level 1 on [start, stop), for the tests."""

    times: jnp.ndarray
    stop: float
    action: str = eqx.field(static=True, default="blockade")

    def __init__(self, start, stop, action="blockade"):
        self.times, self.stop, self.action = jnp.asarray([start], float), stop, action

    def level(self, t):
        return jnp.where((t >= self.times[0]) & (t < self.stop), 1.0, 0.0)

    def mean_level(self, t0, t1):
        overlap = jnp.maximum(jnp.minimum(t1, self.stop) - jnp.maximum(t0, self.times[0]), 0.0)
        return overlap / jnp.maximum(t1 - t0, 1e-12)

    @property
    def name(self):
        return self.action

    def select(self, keep):
        return self

    def filled(self, count):
        return self

    def shifted(self, days):
        return Blockade(self.times[0] + days, self.stop + days, self.action)

    def on(self, domain):
        return self

    def burden(self):
        return {"courses": 1}


class Halted(AbstractLumpedModel):
    """dV/dt = rate (1 - blockade) V - kill V."""

    @property
    def size_quantity(self):
        return "volume_mm3"

    def transport(self, open_tissue):
        return None

    def vector_field(self, t, state, forcing):
        return (0.1 * (1 - forcing.level("blockade")) - forcing.kill_rate) * state

    def apply_survival(self, state, fraction):
        return state * fraction

    def cell_density(self, state):
        return state

    def initial_state(self, size):
        return size

    def quantities(self, state):
        return {"volume_mm3": state}


class TwoFields(AbstractReactionDiffusionModel):
    """Cells that grow unless blocked, a marker that they shed and that does not move, and a scalar total of it."""

    domain: Domain

    @property
    def local(self):
        return True

    def on(self, domain):
        return TwoFields(domain)

    def transport(self, open_tissue):
        ones = jnp.ones(self.domain.shape)
        grid = ones, self.domain.mask, self.domain.spacing
        return {"cells": DiffusionOperator.create(*grid), "marker": DiffusionOperator.create(*grid, scale=0.1)}

    def reaction(self, density, kill_rate):
        return (0.1 - kill_rate) * density

    def vector_field(self, t, state, forcing):
        cells, marker, _ = state
        growth = 0.1 * (1 - forcing.level("blockade")) - forcing.kill_rate
        moved = forcing.transport["cells"](cells), forcing.transport["marker"](marker)
        return growth * cells + moved[0], 0.2 * cells + moved[1], jnp.sum(cells)

    def reaction_flow(self, state, duration, kills, levels):
        # The midpoint rule in the shed marker, exact in the cells.
        cells, marker, total = state
        rate = 0.1 * (1 - levels.get("blockade", 0.0))
        half = cells * jnp.exp(rate * duration / 2 - 0.5 * jnp.sum(kills.log_kill))
        after = cells * jnp.exp(rate * duration - jnp.sum(kills.log_kill))
        return after, marker + 0.2 * duration * half, total + duration * jnp.sum(half)

    def spread(self, state, steps, duration, diffuse):
        cells, marker, total = state
        return diffuse(steps["cells"], cells), diffuse(steps["marker"], marker), total

    def reach(self, duration):
        return jnp.asarray(1e3)

    def apply_survival(self, state, fraction):
        return state[0] * fraction, state[1], state[2]

    def cell_density(self, state):
        return state[0]

    def initial_state(self, size):
        return size, jnp.zeros_like(size), jnp.zeros(())

    def quantities(self, state):
        return {"total": state[2]}


def test_levels_of_one_action_add_and_others_stay_apart():
    regimen = Regimen(
        [Blockade(1.0, 4.0), Blockade(3.0, 5.0), Blockade(0.0, 9.0, "starving"), Chemotherapy([1.0], 75.0)]
    )
    assert {name: float(level) for name, level in regimen.levels(3.5).items()} == {"blockade": 2.0, "starving": 1.0}
    assert float(regimen.mean_levels(2.0, 6.0)["blockade"]) == pytest.approx(1.0)
    assert [type(t).__name__ for t in regimen.uniform.treatments] == ["Chemotherapy"]
    assert {name: float(v) for name, v in regimen.shifted(2.0).levels(1.5).items()} == {
        "blockade": 0.0,
        "starving": 0.0,
    }


def test_a_model_without_space_meets_the_level_from_its_day_on():
    regimen = Regimen([Blockade(2.0, 100.0)])
    trajectory = simulate(Halted(), regimen, 1.0, [1.0, 2.0, 9.0]).require_success()
    np.testing.assert_allclose(trajectory.states, np.exp([0.1, 0.2, 0.2]), rtol=1e-5)
    untreated = Forcing(jnp.zeros(()))
    assert Halted().vector_field(0.0, 2.0, untreated) == pytest.approx(0.2)


@pytest.mark.parametrize("stages", [pytest.param(2, marks=pytest.mark.thorough), 4])
def test_a_state_of_several_fields_splits_to_second_order(stages):
    """Against an unsplit adaptive solve: two fields that move at different speeds, a scalar, a drug and a blockade."""
    model = TwoFields(Domain(np.ones((9, 7)), (2.0, 2.0)))
    seed = np.zeros((9, 7))
    seed[3:5, 2:5] = 0.5
    regimen = Regimen([Blockade(4.0, 8.0), Chemotherapy([2.0], 75.0, sensitivity=0.3, clearance_rate=0.5)])
    start = model.initial_state(jnp.asarray(seed))
    controller = diffrax.PIDController(rtol=1e-9, atol=1e-11)
    exact = simulate(model, regimen, start, [10.0], solver=diffrax.Tsit5(), stepsize_controller=controller)
    steps, errors = np.array([0.5, 0.25, 0.125]), []
    for step in steps:
        split = simulate(model, regimen, start, [10.0], solver=StrangSplitting(stages=stages), max_step=step)
        pairs = zip(split.require_success().states, exact.require_success().states, strict=True)
        errors.append([float(jnp.abs(a - b).max() / jnp.abs(b).max()) for a, b in pairs])
    orders = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert (np.abs(orders - 2) < 0.25).all(), (orders, errors)
    assert np.max(errors[-1]) < 1e-3
