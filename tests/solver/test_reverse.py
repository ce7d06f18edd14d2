"""The reverse derivative from stored states, against JAX's own of the same steps written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.solver import reverse


def step(number, state, args):
    """Depends on its number, on the state and on two arguments, one of which has no derivative."""
    rate, table = args
    position, speed = state
    speed = speed + rate[0] * jnp.sin(3 * position + number * 0.1) - 0.1 * speed**3 + 0.01 * table[number % 3]
    return position + rate[1] * speed, speed


def outcome(follow, state, rate, steps):
    position, speed = follow(state, (rate, TABLE), steps)
    return jnp.sum(position**2) + jnp.sum(jnp.cos(speed))


def written_out(state, args, steps):
    return jax.lax.scan(lambda state, number: (step(number, state, args), None), state, jnp.arange(steps))[0]


def stored(state, args, steps):
    def solve(state, args):
        return jax.lax.fori_loop(0, steps, lambda number, state: step(number, state, args), state), jnp.asarray(True)

    return reverse.solve_with_reverse(solve, step, state, args, jnp.asarray(steps))[0]


TABLE = jnp.arange(3)
STATE = (jnp.linspace(0.0, 1.0, 5), jnp.linspace(-1.0, 1.0, 5))
RATE = jnp.array([0.2, 0.3])


@pytest.mark.parametrize("steps", [1, 2, reverse.STORED, reverse.STORED + 1, reverse.STORED + 2, 50, 300])
def test_derivatives_are_those_of_the_steps(steps):
    of, expected = (
        jax.value_and_grad(lambda state, rate, f=follow: outcome(f, state, rate, steps), argnums=(0, 1))(STATE, RATE)
        for follow in (stored, written_out)
    )
    for one, other in zip(jax.tree.leaves(of), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


def test_one_program_serves_any_number_of_steps_also_in_a_batch():
    gradient = jax.jit(
        jax.vmap(
            jax.grad(lambda rate, steps: outcome(lambda s, a, n: stored_dynamic(s, a, n), STATE, rate, steps)),
            (None, 0),
        )
    )
    counts = jnp.array([3, 40, 17])
    for row, count in zip(gradient(RATE, counts), counts.tolist(), strict=True):
        expected = jax.grad(lambda rate, n=count: outcome(written_out, STATE, rate, n))(RATE)
        np.testing.assert_allclose(row, expected, rtol=1e-10)


def stored_dynamic(state, args, steps):
    def solve(state, args_and_steps):
        args, steps = args_and_steps
        return jax.lax.fori_loop(0, steps, lambda i, state: step(i, state, args), state), jnp.asarray(True)

    def one(number, state, args_and_steps):
        return step(number, state, args_and_steps[0])

    return reverse.solve_with_reverse(solve, one, state, (args, steps), steps)[0]


@pytest.mark.parametrize(("steps", "most"), [(13, 12), (91, 2 * 90), (455, 3 * 454)])
def test_no_step_is_solved_again_more_often_than_the_binomial_schedule_says(steps, most):
    """With 12 states: 13 steps once, 91 twice, 455 three times."""
    assert reverse.STORED == 12
    counted = []

    def counting(number, state):
        jax.debug.callback(lambda n: counted.append(int(n)), number)
        return state

    def sweep():
        def back(done, stack):
            return stack.state_before(steps - 1 - done, counting)[1]

        return jax.lax.fori_loop(0, steps, back, reverse._Stored.create(jnp.zeros(2)))

    jax.block_until_ready(jax.jit(sweep)())
    jax.effects_barrier()
    assert steps - 1 <= len(counted) <= most


def test_memory_does_not_grow_with_the_steps():
    state = jnp.zeros(10_000)

    def total(rate, steps):
        return jnp.sum(stored_dynamic((state, state), (rate, TABLE), steps)[0])

    compiled = jax.jit(jax.grad(total)).lower(RATE, jnp.asarray(10_000)).compile()
    states = compiled.memory_analysis().temp_size_in_bytes / (2 * state.nbytes)
    assert states < reverse.STORED + 12
