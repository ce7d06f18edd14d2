"""Strang splitting: order in time with and without treatment, agreement with an unsplit solver, the front."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.model import FisherKPP, PointSeed
from twinjax.simulation import simulate
from twinjax.solver import AbstractSplitSystem, StrangSplitting, StrangSteps
from twinjax.treatment import Chemotherapy, Radiotherapy, Regimen

LINE = Domain(np.ones(40), (2.0,))
WAVE = 0.45 * (1 + 0.8 * np.cos(np.pi * np.arange(40) / 20))


def regimen(alpha=0.0, sensitivity=0.0, clearance_rate=0.7):
    """Three fractions and three doses of a drug, by default without effect."""
    fractions = Radiotherapy([2.0, 3.0, 5.0], 2.0, alpha=alpha)
    drug = Chemotherapy([1.0, 4.0, 7.0], 75.0, sensitivity=sensitivity, clearance_rate=clearance_rate)
    return Regimen([fractions, drug])


def final_state(model, treatments, stages, step):
    solver = StrangSplitting(stages=stages)
    return simulate(model, treatments, WAVE, [12.0], solver=solver, max_step=step).require_success().states[0]


@pytest.mark.parametrize(
    ("treatments", "growth", "longest", "stages"),
    [
        (regimen(), "logistic", 1.0, 3),
        pytest.param(regimen(), "gompertz", 1.0, 2, marks=pytest.mark.thorough),
        (regimen(alpha=0.06), "logistic", 1.0, 3),
        (regimen(alpha=0.06, sensitivity=0.2), "logistic", 1.0, 3),
        (regimen(sensitivity=2.0, clearance_rate=9.24), "logistic", 1 / 8, 3),
    ],
    ids=["untreated", "untreated, Gompertz", "radiotherapy", "radiotherapy and slow drug", "temozolomide"],
)
def test_second_order_in_time(treatments, growth, longest, stages):
    """Against a step 64 times shorter; `test_agrees_with_an_unsplit_solver` says that the limit is the right one.

    Doses lie on steps, as in protocols of whole days, and steps are as long as the drug's pulse (half-life of a
    day, of 1.8 h) or shorter. The exact exposure keeps the order although the kill rate jumps at every dose.
    """
    model = FisherKPP(LINE, diffusivity=0.3, proliferation_rate=0.1, growth=growth)
    exact = final_state(model, treatments, stages, longest / 64)
    steps = longest / np.array([1, 2, 4, 8])
    errors = [float(jnp.abs(final_state(model, treatments, stages, step) - exact).max()) for step in steps]
    order = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert abs(order - 2) < 0.1, (order, errors)


def test_steps_far_longer_than_the_pulse_are_accurate():
    """A day's step over pulses of hours: what errs is when in the half step the cells die, not how many."""
    model = FisherKPP(LINE, diffusivity=0.3, proliferation_rate=0.1)
    treatments = regimen(sensitivity=2.0, clearance_rate=9.24)
    log_kill = 3 * 2.0 / 9.24
    error = jnp.abs(final_state(model, treatments, 3, 1.0) - final_state(model, treatments, 3, 1 / 512)).max()
    assert float(error) < 0.01 * log_kill
    # Without growth the exposure is all there is, and it is exact for any step and any time of dose.
    still = FisherKPP(LINE, diffusivity=0.0, proliferation_rate=0.0)
    odd = treatments.shifted(0.137)
    np.testing.assert_allclose(final_state(still, odd, 3, 4.0), WAVE * np.exp(-log_kill), rtol=1e-12)


RNG = np.random.default_rng(0)
WHITE = RNG.random((9, 8))
SLICE = Domain(RNG.random((9, 8)) < 0.9, (1.5, 2.0), white_matter=WHITE, grey_matter=1 - WHITE)


@pytest.mark.parametrize("growth", ["logistic", pytest.param("gompertz", marks=pytest.mark.thorough)])
def test_agrees_with_an_unsplit_solver(growth):
    """In two dimensions and tissue of two kinds, under all treatments, from a seed with an infinite tail."""
    model = FisherKPP(SLICE, diffusivity=0.3, proliferation_rate=0.08, growth=growth)
    treatments = regimen(alpha=0.06, sensitivity=0.2)
    state0, times = PointSeed([6.0, 7.0])(SLICE), [5.0, 12.0]
    controller = diffrax.PIDController(rtol=1e-9, atol=1e-12)
    exact = simulate(model, treatments, state0, times, solver=diffrax.Tsit5(), stepsize_controller=controller)
    split = simulate(model, treatments, state0, times, max_step=1 / 32)
    assert float(exact.require_success().states.max()) > 0.2
    np.testing.assert_allclose(split.require_success().states, exact.states, atol=1e-6)


def test_steps_respect_the_stability_of_diffusion():
    """A step asked for that is far too long is shortened: noise dies out instead of growing."""
    model = FisherKPP(Domain(np.ones((9, 8)), (1.5, 2.0)), diffusivity=9.0, proliferation_rate=0.0)
    assert float(StrangSplitting().stable_step(model.transport(None).spectral_radius)) < 0.5
    noise = RNG.random((9, 8))
    state = simulate(model, regimen(), noise, [6.0, 60.0], max_step=10.0).require_success().states[1]
    np.testing.assert_allclose(state, noise.mean(), rtol=1e-2)


def test_fisher_front_speed():
    """2 sqrt(D rho) = 0.1414 mm/day for D = 0.1 mm²/day and rho = 0.05 1/day.

    From a compact seed the speed is approached slowly, as 2 sqrt(D rho) - 3/2 sqrt(D / rho) / t + 3/2 sqrt(pi D)
    / (rho t^(3/2)) (Bramson 1983; third term by Ebert and van Saarloos 2000, Physica D 146:1): 1 % below at day
    1250. The front's place is the number of cells, as the density behind it is 1.
    """
    diffusivity, rate, h = 0.1, 0.05, 0.25
    domain = Domain(np.ones(1240), (h,))
    model = FisherKPP(domain, diffusivity=diffusivity, proliferation_rate=rate)
    trajectory = simulate(model, Regimen(), np.arange(1240) * h < 2, [1000.0, 1500.0]).require_success()
    place = trajectory.states.sum(1) * h
    speed = float(place[1] - place[0]) / 500
    assert float(trajectory.states[:, -1].max()) < 1e-6
    np.testing.assert_allclose(speed, 0.1414, rtol=0.02)
    t = np.array([1000.0, 1500.0])
    asymptote = model.front_speed * t - 1.5 * model.front_width * (np.log(t) + 2 * np.sqrt(np.pi / rate) * t**-0.5)
    np.testing.assert_allclose(speed, float(np.diff(asymptote)[0]) / 500, rtol=0.003)


@pytest.mark.parametrize(("growth", "stages"), [("logistic", 3), ("gompertz", 2)])
def test_density_stays_between_zero_and_the_capacity(growth, stages):
    """From full voxels in empty tissue, with steps at the stability bound, until the box is full."""
    seed = np.zeros((12, 10, 11))
    seed[3:6, 3:6, 3:6] = 0.8
    model = FisherKPP(
        Domain(np.ones(seed.shape), (1.0,) * 3),
        diffusivity=0.5,
        proliferation_rate=0.2,
        carrying_capacity=0.8,
        growth=growth,
    )
    solver = StrangSplitting(stages=stages)
    states = np.asarray(simulate(model, Regimen(), seed, [1.0, 5.0, 20.0, 80.0], solver=solver, max_step=5.0).states)
    assert states.min() >= 0
    assert states.max() <= 0.8 + 1e-12
    assert states[-1].min() > 0.7


class Ring(AbstractSplitSystem):
    """Logistic growth and a drug that comes on day 2.5; transport is exchange along a ring."""

    rate: jax.Array
    step: jax.Array

    def reaction_flow(self, t0, t1, y):
        exposed = jnp.maximum(t1, 2.5) - jnp.maximum(t0, 2.5)
        gain = jnp.exp(self.rate * (t1 - t0) - 0.2 * exposed)
        return gain * y / (1 + 0.1 * y * (t1 - t0))

    def transport(self, y, stages):
        return y + self.step * (jnp.roll(y, 1) + jnp.roll(y, -1) - 2 * y) / stages

    def vector_field(self, t, y):
        # A solver that splits asks for its shape only.
        return jnp.full_like(y, jnp.nan)


@pytest.mark.parametrize("count", [1, pytest.param(7, marks=pytest.mark.thorough)])
def test_steps_taken_together_are_those_of_the_solver(count):
    """`StrangSteps` against diffrax with `StrangSplitting`: the default of `reaction_across` is two flows."""
    start, stop = jnp.asarray(1.0), jnp.asarray(5.0)
    step = (stop - start) / count
    system, state = Ring(jnp.asarray(0.3), 0.1 * step), jnp.linspace(0.0, 1.0, 6)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, y, system: system.vector_field(t, y)),
        StrangSplitting(stages=2),
        start,
        stop,
        step,
        state,
        system,
        stepsize_controller=diffrax.ConstantStepSize(),
    )
    together = StrangSteps(jnp.asarray(count), system, start, stop, step, 2, 100).solve(state)
    np.testing.assert_allclose(together, solution.ys[-1], rtol=1e-12)


def test_one_stage_is_refused():
    with pytest.raises(InputError, match="at least 2 stages"):
        StrangSplitting(stages=1)
