"""A growth law with a learned residual: the base before training, bounded after it, and its flows and derivatives."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from growth_reference import solved

from twinjax.core.errors import InputError
from twinjax.core.kills import Kills
from twinjax.domain import Domain
from twinjax.model import FisherKPP, NeuralGrowth, VolumeModel
from twinjax.model.growth import growth_law
from twinjax.simulation import simulate
from twinjax.treatment import Chemotherapy, Regimen

BASES = pytest.mark.parametrize("base", ["logistic", pytest.param("gompertz", marks=pytest.mark.thorough)])
DENSITIES = jnp.array([0.0, 1e-9, 1e-4, 0.05, 0.4, 0.8, 1.0])
RATE, CAPACITY = 0.05, 1.0
KILLS = Kills(jnp.array([0.4, 0.2]), jnp.array([3.0, 7.0]))


def trained(base: str, last) -> NeuralGrowth:
    law = NeuralGrowth(base)
    return eqx.tree_at(lambda law: law.residual.last, law, tuple(jnp.asarray(last, float)))


def drawn(base: str, size=2.0) -> NeuralGrowth:
    return trained(base, size * np.random.default_rng(0).normal(size=9))


@BASES
def test_before_training_it_is_the_base(base):
    law, plain = NeuralGrowth(base), growth_law(base)
    # With a rate per voxel the base, too, takes all kills of a step at their mean instant.
    rates = jnp.full(DENSITIES.shape, RATE)
    for log_kill, kills in ((0.0, None), (0.3, None), (0.3, KILLS)):
        got, wanted = (of.flow(DENSITIES, 10.0, rates, CAPACITY, log_kill, kills) for of in (law, plain))
        np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(law.growth(DENSITIES, RATE, CAPACITY), plain.growth(DENSITIES, RATE, CAPACITY))
    np.testing.assert_allclose(
        law.untreated(DENSITIES, 90.0, RATE, CAPACITY), plain.flow(DENSITIES, 90.0, RATE, CAPACITY), rtol=1e-13
    )


@pytest.mark.parametrize("deviation", [0.2, 0.5])
def test_prior_deviation_is_that_of_the_log_growth_rate(deviation):
    """Without data the growth rate scatters about the base's by what is stated, at every size."""
    law, base = NeuralGrowth("logistic", deviation=deviation), growth_law("logistic")
    sizes = jnp.asarray([1e-3, 0.03, 0.2, 0.6, 0.9])

    def log_rate(weights):
        moved = eqx.tree_at(lambda law: law.residual.last, law, tuple(weights))
        return jnp.log(moved.growth(sizes, RATE, CAPACITY))

    rates = jax.vmap(log_rate)(jnp.asarray(np.random.default_rng(0).normal(size=(4000, 9))))
    np.testing.assert_allclose(jnp.std(rates, axis=0), deviation, rtol=0.05)
    away = jnp.mean(rates, axis=0) - jnp.log(base.growth(sizes, RATE, CAPACITY))
    np.testing.assert_allclose(away, 0.0, atol=4 * deviation / np.sqrt(4000))


@BASES
def test_untreated_solves_the_equation(base):
    law, some = drawn(base), DENSITIES[2:-1]
    np.testing.assert_allclose(
        law.untreated(some, 60.0, RATE, CAPACITY), solved(law, some, 60.0, 0.0, rate=RATE, capacity=CAPACITY), rtol=1e-6
    )


@pytest.mark.thorough
@BASES
def test_the_flow_is_of_second_order(base):
    """In the logarithm of the density, with a kill besides: a fourth of the error in half the step."""
    law, some, kill_rate = drawn(base), DENSITIES[3:-1], 0.03
    exact = solved(law, some, 8.0, kill_rate, rate=RATE, capacity=CAPACITY)
    errors = []
    for steps in (4, 8, 16):
        u = some
        for _ in range(steps):
            u = law.flow(u, 8.0 / steps, RATE, CAPACITY, kill_rate * 8.0 / steps)
        errors.append(float(jnp.max(jnp.abs(jnp.log(u / exact)))))
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    assert (orders > 1.8).all(), (errors, orders)


@BASES
@pytest.mark.parametrize("size", [-30.0, 30.0])
def test_the_state_stays_within_its_bounds(base, size):
    """With weights thirty prior deviations away, in one long step, and in a solve that does not know of the flow."""
    rng = np.random.default_rng(1)
    law = trained(base, size * np.abs(rng.normal(size=9)))
    for u in (law.flow(DENSITIES, 50.0, RATE, CAPACITY, 0.1), law.untreated(DENSITIES, 50.0, RATE, CAPACITY)):
        assert bool(((u >= 0) & (u <= CAPACITY * (1 + 1e-12))).all()), u
    ends = law.growth(jnp.asarray([0.0, CAPACITY]), RATE, CAPACITY)
    np.testing.assert_array_equal(ends, 0.0)
    model = VolumeModel(growth=trained(base, 0.2 * jnp.stack(law.residual.last)), proliferation_rate=0.02)
    volumes = simulate(model, Regimen(), jnp.asarray(3e4), [100.0, 500.0]).require_success().states
    assert bool(((volumes > 0) & (volumes <= model.carrying_capacity_mm3 * (1 + 1e-6))).all())


def central(function, point, eps=1e-4):
    """Fourth-order central differences of the first of what `function` gives."""

    def along(direction):
        at = [float(function(point + k * eps * direction)[0]) for k in (-2, -1, 1, 2)]
        return (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * eps)

    return np.array([along(direction) for direction in np.eye(point.size)])


@pytest.mark.thorough
def test_derivatives_of_a_solve_in_the_weights():
    """Without space (adaptive steps, forward mode), and on a grid under a drug (splitting, reverse mode)."""
    drug = Regimen([Chemotherapy([5.0, 12.0], 1.0, drug="x", sensitivity=0.1, clearance_rate=0.5, reference_dose=1.0)])
    weights = np.random.default_rng(3).normal(size=9)
    tight = diffrax.PIDController(rtol=1e-10, atol=1e-12)

    def volume(weights):
        model = VolumeModel(growth=trained("gompertz", weights), proliferation_rate=0.004)
        size, adjoint = jnp.asarray(3e4), diffrax.ForwardMode()
        states = simulate(model, Regimen(), size, [30.0], stepsize_controller=tight, adjoint=adjoint).states
        return jnp.log(states[-1])

    # Value and derivative by one program.
    both = jax.jit(lambda weights: (volume(weights), jax.jacfwd(volume)(weights)))
    np.testing.assert_allclose(both(jnp.asarray(weights))[1], central(both, weights), rtol=1e-6, atol=1e-9)

    domain = Domain(np.ones(12), (2.0,))
    start = 0.5 * np.exp(-(((np.arange(12) - 5.5) / 2) ** 2))

    def cells(weights):
        model = FisherKPP(domain, growth=trained("logistic", weights))
        return jnp.sum(simulate(model, drug, start, [20.0]).states[-1])

    both = jax.jit(jax.value_and_grad(cells))
    np.testing.assert_allclose(both(jnp.asarray(weights))[1], central(both, weights), rtol=1e-6, atol=1e-8)


def test_what_is_no_law_is_refused():
    with pytest.raises(InputError, match="choose one of logistic, gompertz"):
        NeuralGrowth("exponential")
    with pytest.raises(InputError, match="smallest_share"):
        NeuralGrowth(smallest_share=1.0)
