"""Derivatives of many equal steps, against JAX's own of the same steps written out."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Int

from twinjax.solver import equal_steps
from twinjax.solver.equal_steps import STORED, AbstractEqualSteps


class Pendulums(AbstractEqualSteps):
    """Steps that depend on their number, on the state, and on leaves with and without a derivative."""

    count: Int[Array, ""]
    rate: Array
    table: Array
    most: int = eqx.field(static=True, default=20_000)
    together: int = eqx.field(static=True, default=1)

    def begin(self, state):
        position, speed = state
        return position + self.rate[1], speed

    def step(self, number, state):
        position, speed = state
        speed = speed + self.rate[0] * jnp.sin(3 * position + number * 0.1) - 0.1 * speed**3
        speed = speed + 0.01 * self.table[number % 3]
        return position + self.rate[1] * speed, speed


def outcome(solve, state, rate, count):
    position, speed = solve(Pendulums(jnp.asarray(count), rate, jnp.arange(3)), state)
    return jnp.array([jnp.sum(position**2), jnp.sum(jnp.cos(speed))])


def written_out(steps, state):
    return jax.lax.scan(lambda s, i: (steps.step(i, s), None), steps.begin(state), jnp.arange(int(steps.count)))[0]


def solve_with_reverse(steps, state):
    return steps.solve(state)


def solve_with_tangents(steps, state):
    return steps.solve(state, diffrax.ForwardMode())


STATE = (jnp.linspace(0.0, 1.0, 5), jnp.linspace(-1.0, 1.0, 5))
RATE = jnp.array([0.2, 0.3])


def close(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "count", [1, *(pytest.param(n, marks=pytest.mark.thorough) for n in (2, STORED, STORED + 2, 50, 300)), STORED + 1]
)
def test_derivatives_are_those_of_the_steps(count):
    expected = jax.jacrev(lambda s, r: outcome(written_out, s, r, count), (0, 1))(STATE, RATE)
    close(jax.jacrev(lambda s, r: outcome(solve_with_reverse, s, r, count), (0, 1))(STATE, RATE), expected)
    close(jax.jacfwd(lambda s, r: outcome(solve_with_tangents, s, r, count), (0, 1))(STATE, RATE), expected)


@pytest.mark.parametrize(("solve", "jacobian"), [(solve_with_reverse, jax.jacrev), (solve_with_tangents, jax.jacfwd)])
def test_one_program_serves_any_number_of_steps_and_any_batch(solve, jacobian):
    def of(rate, count):
        return outcome(solve, STATE, rate, count)

    counts, rates = jnp.array([3, 40, 17]), jnp.array([[0.2, 0.3], [0.1, 0.2], [0.3, 0.1]])
    expected = [
        jax.jacrev(lambda rate, n=n: outcome(written_out, STATE, rate, n))(rate)
        for rate, n in zip(rates, counts.tolist(), strict=True)
    ]
    close(list(jax.jit(jax.vmap(jacobian(of)))(rates, counts)), expected)


@pytest.mark.thorough
def test_values_are_those_of_the_solve_with_and_without_a_derivative():
    plain = outcome(written_out, STATE, RATE, 20)

    def forward(of, rate):
        return jax.jvp(of, (rate,), (rate,))

    for solve, derive in ((solve_with_reverse, jax.vjp), (solve_with_tangents, forward)):
        close(outcome(solve, STATE, RATE, 20), plain)
        close(derive(lambda rate, f=solve: outcome(f, STATE, rate, 20), RATE)[0], plain)


@pytest.mark.parametrize(("count", "times"), [(STORED + 1, 1), (91, 2), (455, 3)])
def test_no_step_is_solved_again_more_often_than_the_binomial_schedule_says(count, times):
    """With 12 states: 13 steps once, 91 twice, 455 three times."""
    assert STORED == 12
    solved = []

    def counting(number, state):
        jax.debug.callback(lambda n: solved.append(int(n)), number)
        return state

    def back(done, stored):
        return stored.state_before(count - 1 - done, counting)[1]

    start = equal_steps._Stored.create(jnp.zeros(2))
    jax.block_until_ready(jax.jit(lambda: jax.lax.fori_loop(0, count, back, start))())
    jax.effects_barrier()
    _, often = np.unique(solved, return_counts=True)
    assert len(often) == count - 1
    assert often.max() <= times


def test_memory_of_the_reverse_derivative_does_not_grow_with_the_steps():
    state = (jnp.zeros(10_000), jnp.zeros(10_000))

    @eqx.filter_jit
    def gradient(rate, count):
        return jax.grad(lambda rate: outcome(solve_with_reverse, state, rate, count)[0])(rate)

    compiled = gradient.lower(RATE, jnp.asarray(10_000)).compile().compiled
    assert compiled.memory_analysis().temp_size_in_bytes / (2 * state[0].nbytes) < STORED + 12
