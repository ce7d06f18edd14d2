"""What must hold for every way to solve that `conf/solver` offers."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.core.config import load_named
from twinjax.domain import Domain
from twinjax.model import FisherKPP
from twinjax.simulation import simulate
from twinjax.treatment import Chemotherapy, Radiotherapy, Regimen

PATHS = ["strang", "strang_long_step", "runge_kutta_legendre", "tsit5"]
# Compiling takes most of the time: the default run has the default and a solver that does not split.
MOST = ["strang", *(pytest.param(name, marks=pytest.mark.thorough) for name in PATHS[1:3]), "tsit5"]
FEWER = [
    "strang",
    pytest.param("tsit5", marks=pytest.mark.thorough),
    *(pytest.param(name, marks=pytest.mark.slow) for name in PATHS[1:3]),
]
SHAPE = (9, 8, 7)
RNG = np.random.default_rng(3)
MASK = RNG.random(SHAPE) < 0.85
WHITE = RNG.random(SHAPE)
CENTRE = np.linalg.norm(np.indices(SHAPE) - np.reshape(SHAPE, (3, 1, 1, 1)) / 2, axis=0)
BALL = np.where(MASK, 0.9 / (1 + np.exp(CENTRE - 2.5)), 0.0)


def model_of(values):
    domain = Domain(MASK, (1.0, 1.2, 1.4), white_matter=WHITE, grey_matter=1 - WHITE)
    return FisherKPP(domain, diffusivity=values[0], proliferation_rate=values[1])


def treated(name, values, adjoint=None, max_step=0.25, **options):
    course = Radiotherapy([3.0, 4.0, 5.0], 2.0, alpha=values[2])
    drug = Chemotherapy([3.5, 4.5], 75.0, sensitivity=values[3])
    solver = load_named("solver", name)
    model, regimen = model_of(values), Regimen([course, drug])
    return simulate(model, regimen, BALL, [4.0, 10.0], solver=solver, max_step=max_step, adjoint=adjoint, **options)


VALUES = jnp.array([0.3, 0.1, 0.05, 0.4])


@pytest.mark.parametrize("name", MOST)
def test_cells_are_conserved_in_single_precision(name):
    solver = load_named("solver", name)
    with jax.enable_x64(False):
        model = model_of((0.3, 0.0))
        start = np.where(MASK, np.random.default_rng(1).random(SHAPE), 0).astype(np.float32)
        states = simulate(model, Regimen(), start, [30.0], solver=solver).require_success().states
        assert states.dtype == np.float32
    assert np.abs(states[0] - start).max() > 0.1
    assert abs(np.asarray(states[0], float).sum() / start.astype(float).sum() - 1) < 1e-6


@pytest.mark.parametrize("name", MOST)
def test_all_agree(name):
    """With an unsplit solution of tolerance 1e-10, at the tolerances that docs/which-solver.md states."""
    controller = diffrax.PIDController(rtol=1e-10, atol=1e-12)
    expected = np.asarray(treated("tsit5", VALUES, stepsize_controller=controller).require_success().states)
    states = np.asarray(treated(name, VALUES).require_success().states)
    error = np.linalg.norm(states - expected) / np.linalg.norm(expected)
    assert error < {"strang": 5e-4, "strang_long_step": 5e-4, "runge_kutta_legendre": 1e-3, "tsit5": 1e-5}[name]


@pytest.mark.parametrize("name", MOST)
def test_densities_stay_between_zero_and_the_capacity(name):
    """Of cells that fill half of the grid to the brim, and double in a day."""
    start = np.where(MASK & (np.indices(SHAPE)[0] < 4), 1.0, 0.0)
    solver, times = load_named("solver", name), [0.5, 2.0, 20.0]
    states = (
        simulate(model_of((0.5, 0.7)), Regimen(), start, times, solver=solver, max_step=3.5).require_success().states
    )
    # Two stages are positive; the others undershoot beside a jump, by no more than what they leave of it.
    slack = {"strang": 1e-12, "strang_long_step": 0.02, "runge_kutta_legendre": 1e-3, "tsit5": 1e-6}[name]
    assert -slack <= float(states.min()) and float(states.max()) <= 1 + slack
    assert float(states[-1].max()) > 0.9


@pytest.mark.parametrize("name", FEWER)
def test_gradients_agree_with_central_differences(name):
    direction = 0.1 * VALUES

    @jax.jit
    def outcome(values):
        # Steps must not adapt to the parameters, or differences would see them jump.
        fixed = {} if name.startswith("strang") else {"stepsize_controller": diffrax.ConstantStepSize()}
        return jnp.sum(jnp.sin(3 * treated(name, values, **fixed).states))

    change = 1e-4
    difference = (outcome(VALUES + change * direction) - outcome(VALUES - change * direction)) / (2 * change)
    gradient = jax.jit(jax.grad(outcome))(VALUES)
    assert float(gradient @ direction) == pytest.approx(float(difference), rel=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize("name", FEWER)
def test_too_few_steps_are_reported_and_so_is_a_state_that_is_not_finite(name):
    assert not bool(treated(name, VALUES, max_steps=1).success)
    assert not bool(treated(name, VALUES.at[1].set(jnp.nan), max_steps=50).success)
    if name.startswith("strang"):
        short = treated(name, VALUES, diffrax.ForwardMode(), max_steps=1)
        assert not bool(short.success)
