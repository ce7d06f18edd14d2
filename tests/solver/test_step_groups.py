"""Steps taken several at a time, against the same steps one by one."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.domain import Domain, Execution
from twinjax.model import FisherKPP
from twinjax.simulation import simulate
from twinjax.solver.step_groups import LARGEST, in_groups
from twinjax.treatment import Chemotherapy, Radiotherapy, Regimen

FIELD = jnp.linspace(0.0, 1.0, LARGEST + 1)


def step(number, state):
    """Something costly of the number alone, a field of the number alone, and both joined to the state."""
    position, speed = state
    force = jnp.sort(jnp.sin(number * jnp.arange(1.0, 40.0)))[3]
    field = jnp.exp(-number * FIELD)
    return position + speed * field, jnp.where(number > 3, speed * (1 + 0.1 * force), speed - force)


@pytest.mark.parametrize("together", [1, 3, 8])
@pytest.mark.parametrize("count", [1, 5, 8])
def test_a_group_is_its_steps_up_to_the_last(together, count):
    state = jnp.zeros_like(FIELD), jnp.asarray(0.7)
    found = jax.jit(lambda n, s: in_groups(step, 0, n, s, together))(count, state)
    for number in range(min(together, count)):
        state = step(number, state)
    for one, other in zip(found, state, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13)


def test_what_does_not_depend_on_the_state_is_computed_once_for_all_and_fields_in_their_step():
    state = jnp.zeros_like(FIELD), jnp.asarray(0.7)
    program = jax.make_jaxpr(lambda s: in_groups(step, 0, 8, s, 8))(state)
    text = str(program)
    assert text.count("sort[") == 1
    assert f"f64[8,{FIELD.size}]" not in text
    assert text.count(" exp ") == 8


SHAPE = (6, 5, 4)
RNG = np.random.default_rng(0)
DOMAIN = Domain(RNG.random(SHAPE) < 0.9, (1.0, 1.0, 1.0), white_matter=RNG.random(SHAPE), grey_matter=RNG.random(SHAPE))
START = 0.5 * RNG.random(SHAPE)
VALUES = jnp.array([0.2, 0.05, 0.04, 0.3])


def treated(values, adjoint=None):
    course = Radiotherapy([3.0, 4.0], 2.0, alpha=values[2])
    drug = Chemotherapy([3.5, 6.0], 75.0, sensitivity=values[3])
    model = FisherKPP(DOMAIN, diffusivity=values[0], proliferation_rate=values[1])
    states = simulate(model, Regimen([course, drug]), START, [4.0, 9.5], max_step=0.5, adjoint=adjoint).states
    return states.sum((1, 2))


@pytest.mark.thorough
def test_a_solve_in_groups_and_its_derivatives_are_those_of_single_steps(monkeypatch):
    """Of eight and of eleven steps."""

    def outcomes():
        jax.clear_caches()
        forward = jax.jacfwd(lambda values: treated(values, diffrax.ForwardMode()))
        return [jax.jit(of)(VALUES) for of in (treated, forward, jax.jacrev(treated))]

    single = outcomes()
    monkeypatch.setattr(Execution, "steps_together", 4)
    for one, other in zip(outcomes(), single, strict=True):
        assert float(jnp.abs(other).max()) > 0.1
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-13)
    # What the test compiled is not for others.
    jax.clear_caches()
