"""Gradients of a treated solve, forward and reverse, against central differences in float64."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.domain import Domain
from twinjax.model import FisherKPP
from twinjax.simulation import simulate
from twinjax.treatment import Chemotherapy, Radiotherapy, Regimen

RNG = np.random.default_rng(0)
MASK = RNG.random((7, 6)) < 0.9
WHITE = RNG.random((7, 6))
DOMAIN = Domain(MASK, (1.5, 1.2), white_matter=WHITE, grey_matter=1 - WHITE)
STATE0 = jnp.asarray(MASK * RNG.uniform(0.05, 0.6, MASK.shape))
# Two scans, the first on the day of the second fraction.
TIMES = [5.0, 9.0]
WEIGHTS = jnp.asarray(RNG.normal(size=(2, 7, 6)))

PARAMETERS = {
    "diffusivity": 0.2,
    "white_grey_ratio": 6.0,
    "proliferation_rate": 0.2,
    "carrying_capacity": 0.9,
    "alpha": 0.12,
    "alpha_beta_ratio": 8.0,
    "first fraction": 3.2,
    "time of first fraction": 2.3,
    "drug sensitivity": 1.4,
    "drug clearance rate": 1.1,
    "drug dose": 150.0,
    "time of drug dose": 3.37,
    "scale of the initial state": 1.1,
}
VALUES = jnp.array(list(PARAMETERS.values()))


def loss(values, state0, adjoint=None):
    """A weighted sum over both scans of a tumour under fractions and a drug."""
    p = dict(zip(PARAMETERS, values, strict=True))
    model = FisherKPP(
        DOMAIN,
        diffusivity=p["diffusivity"],
        white_grey_ratio=p["white_grey_ratio"],
        proliferation_rate=p["proliferation_rate"],
        carrying_capacity=p["carrying_capacity"],
    )
    fractions = Radiotherapy(
        jnp.stack([p["time of first fraction"], jnp.array(5.0)]),
        jnp.stack([p["first fraction"], jnp.array(2.0)]),
        alpha=p["alpha"],
        alpha_beta_ratio=p["alpha_beta_ratio"],
    )
    drug = Chemotherapy(
        p["time of drug dose"],
        p["drug dose"],
        sensitivity=p["drug sensitivity"],
        clearance_rate=p["drug clearance rate"],
    )
    scaled = p["scale of the initial state"] * state0
    states = simulate(model, Regimen([fractions, drug]), scaled, TIMES, adjoint=adjoint).states
    return jnp.sum(WEIGHTS * states + states**2)


# Compiled once for all tests.
LOSSES = jax.jit(jax.vmap(loss))
REVERSE = jax.jit(jax.grad(loss, (0, 1)))


@pytest.fixture(scope="module")
def central_differences():
    steps = jnp.diag(1e-4 * VALUES)
    points = jnp.concatenate([VALUES + steps, VALUES - steps])
    upper, lower = LOSSES(points, jnp.broadcast_to(STATE0, (len(points), *STATE0.shape))).reshape(2, -1)
    return (upper - lower) / (2 * jnp.diag(steps))


@pytest.mark.parametrize("mode", [pytest.param("forward", marks=pytest.mark.slow), "reverse"])
def test_gradients_agree_with_central_differences(central_differences, mode):
    """In every parameter of the model, the fractions and the drug, the times of doses among them."""
    if mode == "forward":
        gradient = jax.jit(jax.jacfwd(lambda values: loss(values, STATE0, diffrax.ForwardMode())))(VALUES)
    else:
        gradient = REVERSE(VALUES, STATE0)[0]
    effect = np.abs(np.asarray(gradient * VALUES))
    assert effect.min() > 1e-3 * effect.max(), "a parameter without effect proves nothing"
    np.testing.assert_allclose(gradient, central_differences, rtol=1e-6)


def test_remainder_of_the_linearisation_is_of_second_order():
    """|f(p + h d) - f(p) - h f'(p) d| falls as h², in a random direction of parameters and initial state."""
    values = 0.1 * VALUES * RNG.normal(size=VALUES.size)
    state = STATE0 * RNG.normal(size=STATE0.shape)
    # As many as for the central differences, so that one program serves both.
    steps = np.concatenate([[0.0], 2.0 ** -np.linspace(5, 10, 2 * VALUES.size - 1)])
    losses = LOSSES(VALUES + steps[:, None] * values, STATE0 + steps[:, None, None] * state)
    gradient = REVERSE(VALUES, STATE0)
    slope = jnp.sum(gradient[0] * values) + jnp.sum(gradient[1] * state)
    remainders = np.abs(losses - losses[0] - steps * slope)[1:]
    order = np.polyfit(np.log(steps[1:]), np.log(remainders), 1)[0]
    assert abs(order - 2) < 0.1, (order, remainders)


@pytest.mark.slow
def test_a_failed_member_of_a_batch_leaves_the_tangents_of_the_others_alone():
    bad = VALUES.at[0].set(jnp.nan)
    forward = jax.jit(lambda values: jax.jacfwd(lambda v: loss(v, STATE0, diffrax.ForwardMode()))(values))
    batch = jax.jit(jax.vmap(forward))(jnp.stack([bad, VALUES]))
    assert not np.isfinite(batch[0]).all()
    np.testing.assert_allclose(batch[1], forward(VALUES), rtol=1e-10)


def test_gradients_are_finite_where_there_are_no_cells():
    parameters, state = REVERSE(VALUES, 0 * STATE0)
    assert np.isfinite(parameters).all()
    assert np.isfinite(state).all()
    assert np.abs(state).max() > 0.01
