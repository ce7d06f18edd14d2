"""`simulate`: what happens when, what a failure looks like, and that operations leave holes."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.core.errors import InputError, SolverError
from twinjax.domain import Domain
from twinjax.model import AbstractTumorModel, FisherKPP
from twinjax.simulation import simulate
from twinjax.solver import StrangSplitting
from twinjax.treatment import Chemotherapy, Radiotherapy, Regimen, Resection

RNG = np.random.default_rng(0)
MASK = RNG.random((7, 6)) < 0.9
WHITE = RNG.random((7, 6))
DOMAIN = Domain(MASK, (1.5, 1.2), white_matter=WHITE, grey_matter=1 - WHITE)
STATE0 = MASK * RNG.uniform(0.1, 0.6, MASK.shape)
STILL = FisherKPP(DOMAIN, diffusivity=0.0, proliferation_rate=0.0)
GROWING = FisherKPP(DOMAIN, diffusivity=0.2, proliferation_rate=0.05)
SURVIVAL = np.exp(-0.1 * 2 * 1.2)


def fractions(*days, dose=2.0):
    return Radiotherapy(days, dose, alpha=0.1)


def run(model, treatments, times, **options):
    return np.asarray(simulate(model, Regimen(treatments), STATE0, times, **options).require_success().states)


@pytest.mark.parametrize(
    "solver", [StrangSplitting(), pytest.param(diffrax.Tsit5(), marks=pytest.mark.thorough)], ids=["splitting", "Tsit5"]
)
def test_a_scan_on_the_day_of_a_dose_sees_the_state_before_it(solver):
    states = run(STILL, [fractions(2.0, 4.0)], [0.0, 2.0, 2.0, 4.0, 5.0], solver=solver)
    np.testing.assert_allclose(states, STATE0 * (SURVIVAL ** np.array([0, 0, 0, 1, 2]))[:, None, None], rtol=1e-12)
    np.testing.assert_array_equal(states[0], STATE0)


def test_doses_before_the_start_are_done_and_doses_on_it_are_not():
    times = [3.0, 3.5, 4.0, 4.5, 9.0]
    for days, exponents in (((2.0, 4.0), (0, 0, 0, 1, 1)), ((3.0, 2.9), (0, 1, 1, 1, 1)), ((9.0, 10.0), (0,) * 5)):
        states = run(STILL, [fractions(*days)], times, start=3.0)
        np.testing.assert_allclose(states, STATE0 * (SURVIVAL ** np.array(exponents))[:, None, None], rtol=1e-12)


def test_treatments_of_one_instant_all_act_and_order_does_not_matter():
    """Two fractions of a day, another course with a dose at the same time, and doses written in any order."""
    other = fractions(4.0, 2.0, dose=1.0)
    states = run(STILL, [fractions(2.0, 2.0), other], [2.0, 3.0, 5.0])
    small = np.exp(-0.1 * 1.1)
    factors = np.array([1, SURVIVAL**2 * small, SURVIVAL**2 * small**2])
    np.testing.assert_allclose(states, STATE0 * factors[:, None, None], rtol=1e-12)


def test_a_drug_given_before_the_start_still_acts_after_it():
    drug = Chemotherapy([1.0], 75.0, sensitivity=0.5, clearance_rate=0.4)
    states = run(STILL, [fractions(2.0, 2.5), drug], [3.0, 6.0], start=3.0)
    log_kill = 0.5 / 0.4 * (np.exp(-0.4 * 2) - np.exp(-0.4 * 5))
    np.testing.assert_allclose(states[1], STATE0 * np.exp(-log_kill), rtol=1e-12)


def test_treatments_without_effect_change_nothing():
    idle = [fractions(2.0, 3.0, dose=0.0), Chemotherapy([1.0], 0.0), Resection(4.0, np.zeros(MASK.shape, bool))]
    times = [2.0, 6.0]
    np.testing.assert_allclose(run(GROWING, idle, times), run(GROWING, [], times), rtol=1e-12)


def test_a_solve_can_be_taken_up_where_it_was_left():
    """A visit between two doses: the second leg starts from the first, and ends where one solve ends."""
    treatments = [fractions(2.0, 7.0), Chemotherapy([3.0], 75.0, sensitivity=0.5, clearance_rate=0.4)]
    whole = run(GROWING, treatments, [5.0, 10.0])
    second = simulate(GROWING, Regimen(treatments), whole[0], [10.0, 10.0], start=5.0).states[0]
    np.testing.assert_allclose(second, whole[1], rtol=1e-12)


def test_cells_outside_the_mask_stay_none():
    states = run(GROWING, [fractions(2.0, 3.0)], [6.0, 40.0])
    assert not states[:, ~MASK].any()
    assert states[-1][MASK].min() > STATE0[MASK].min()


@pytest.mark.parametrize(
    ("times", "start", "message"),
    [
        ([], 0.0, "non-empty"),
        (3.0, 0.0, "non-empty list"),
        ([2.0, 1.0], 0.0, "ascending"),
        ([1.0, np.nan], 0.0, "finite"),
        ([1.0, np.inf], 0.0, "finite"),
        ([1.0, 2.0], 1.5, "not before day 1.5"),
    ],
)
def test_bad_times_are_refused(times, start, message):
    with pytest.raises(InputError, match=message):
        simulate(GROWING, Regimen(), STATE0, times, start=start)


CAVITY = np.zeros((8, 7, 6), bool)
CAVITY[2:5, 2:5, 1:4] = True
ROOM = np.ones(CAVITY.shape, bool)
ROOM[:, 0, :2] = False
CELLS = ROOM * RNG.uniform(0.2, 0.8, ROOM.shape)


def test_a_resected_cavity_is_a_hole():
    """Cells are there until the operation, never after it; those outside neither leave nor arrive."""
    model = FisherKPP(Domain(ROOM, (1.0, 1.2, 0.9)), diffusivity=0.4, proliferation_rate=0.0)
    trajectory = simulate(model, Regimen([Resection(5.0, CAVITY)]), CELLS, [0.0, 5.0, 5.5, 60.0])
    states = np.asarray(trajectory.require_success().states)
    assert states[1][CAVITY].min() > 0.1
    np.testing.assert_array_equal(states[2:, CAVITY], 0)
    left = states[1][~CAVITY].sum()
    np.testing.assert_allclose(states[2:, ~CAVITY].sum(1), left, rtol=1e-12)
    # In the end the cells are spread evenly over what is open.
    open_tissue = ROOM & ~CAVITY
    assert np.ptp(states[2][open_tissue]) > 0.05
    np.testing.assert_allclose(states[3][open_tissue], left / open_tissue.sum(), rtol=0.02)


def test_after_an_operation_the_solve_is_that_of_a_domain_without_the_cavity():
    options = dict(diffusivity=0.4, proliferation_rate=0.06)
    spacing, times = (1.0, 1.2, 0.9), [5.0, 5.0, 11.0, 20.0]
    before, _, *after = simulate(
        FisherKPP(Domain(ROOM, spacing), **options), Regimen([Resection(5.0, CAVITY)]), CELLS, times
    ).states
    hole = FisherKPP(Domain(ROOM & ~CAVITY, spacing), **options)
    expected = simulate(hole, Regimen(), jnp.where(CAVITY, 0.0, before), times, start=5.0).states[2:]
    np.testing.assert_allclose(after, expected, rtol=1e-12)


def broken(field, value):
    return eqx.tree_at(lambda model: getattr(model, field), GROWING, jnp.asarray(value, float))


@pytest.mark.parametrize(
    ("model", "state0", "options"),
    [
        (GROWING, STATE0, {"max_steps": 3}),
        (broken("diffusivity", np.nan), STATE0, {}),
        (broken("proliferation_rate", np.nan), STATE0, {}),
        (broken("proliferation_rate", np.inf), STATE0, {}),
        pytest.param(broken("diffusivity", np.nan), STATE0, {"solver": diffrax.Tsit5()}, marks=pytest.mark.thorough),
        (GROWING, np.where(np.arange(42).reshape(7, 6) == 8, np.nan, STATE0), {}),
    ],
    ids=["steps", "NaN diffusivity", "NaN rate", "infinite rate", "NaN in Tsit5", "NaN state"],
)
def test_a_failed_solve_says_so_and_does_not_raise(model, state0, options):
    trajectory = simulate(model, Regimen([fractions(2.0, 3.0)]), state0, [6.0, 40.0], **options)
    assert not bool(trajectory.success)
    with pytest.raises(SolverError, match="step limit .* not finite"):
        trajectory.require_success()


@pytest.mark.thorough
def test_a_batch_of_parameters_is_a_loop_over_them():
    """Lanes differ in their number of steps, and one of them fails."""
    values = [(0.05, 0.02), (0.4, 0.05), (3.0, 0.2), (np.nan, 0.1)]
    regimen = Regimen([fractions(2.0, 3.0)])

    def solve(diffusivity, rate):
        model = FisherKPP(DOMAIN, diffusivity=diffusivity, proliferation_rate=rate)
        return simulate(model, regimen, STATE0, [6.0, 40.0], max_step=2.0)

    batch = jax.vmap(solve)(*jnp.asarray(values).T)
    np.testing.assert_array_equal(batch.success, [True, True, True, False])
    for lane, value in enumerate(values[:3]):
        np.testing.assert_allclose(batch.states[lane], solve(*value).states, rtol=1e-12)
    assert float(jnp.abs(batch.states[0] - batch.states[2]).max()) > 0.1


class VolumeModel(AbstractTumorModel):
    """dV/dt = (rate - kill) V, a scalar without space: a model that does not split."""

    rate: jax.Array

    def transport(self, open_tissue):
        return None

    def vector_field(self, t, state, forcing):
        return (self.rate - forcing.kill_rate) * state

    def apply_survival(self, state, fraction):
        return state * fraction

    def cell_density(self, state):
        return state

    def initial_state(self, size):
        return size

    def quantities(self, state):
        return {"volume_mm3": state}


VOLUME = VolumeModel(jnp.asarray(0.07))


def test_a_model_without_space_is_solved_under_the_same_treatments():
    drug = Chemotherapy([1.3, 4.0], 75.0, sensitivity=3.0, clearance_rate=9.24)
    state = simulate(VOLUME, Regimen([fractions(2.0, 3.0), drug]), 2.0, [10.0]).require_success().states
    np.testing.assert_allclose(state, [2 * np.exp(0.7 - 2 * 3 / 9.24) * SURVIVAL**2], rtol=1e-5)


def test_splitting_refuses_a_model_that_does_not_split():
    with pytest.raises(InputError, match="needs a reaction-diffusion model, got VolumeModel"):
        simulate(VOLUME, Regimen(), 2.0, [1.0], solver=StrangSplitting())
