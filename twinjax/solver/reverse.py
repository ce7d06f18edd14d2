"""The reverse derivative of many equal steps, from few stored states."""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree

# States stored at a time. 16 reverse 17 steps with each solved again once, 153 with at most two, 969 with three.
STORED = 12
_SWEEPS = 12
# [c, r]: how many steps c stored states can reverse when no step is solved again more than r times (Griewank 1992).
_CAPACITY = np.array([[min(math.comb(c + r, r), 2**30) for r in range(_SWEEPS)] for c in range(STORED + 1)])


def solve_with_reverse(solve: Callable, step: Callable, state: PyTree, args: PyTree, steps: Int[Array, ""]) -> PyTree:
    """`solve(state, args)`, whose reverse derivative is that of `state = step(number, state, args)`, `steps` times.

    The reverse derivative of a loop takes the states of its steps, last to first. A few are stored and the others
    solved again from those, in the binomial schedule that solves least for the number stored (Griewank 1992, Optim
    Methods Softw 1:35). diffrax's `RecursiveCheckpointAdjoint` stores alike, but prepares the derivative also in the
    steps that it solves only to store.

    `solve` gives the state after all steps and whether it succeeded. Arrays reach `solve` and `step` by `args` alone.
    """
    return _solve((state, args), solve, step, steps)


@eqx.filter_custom_vjp
def _solve(state_and_args, solve, step, steps):
    return solve(*state_and_args)


@_solve.def_fwd
def _forward(perturbed, state_and_args, solve, step, steps):
    return solve(*state_and_args), None


@_solve.def_bwd
def _backward(residuals, cotangents, perturbed, state_and_args, solve, step, steps):
    state, args = state_and_args
    moving, still = eqx.partition(args, perturbed[1])
    # Cotangents that nothing asks for come as None.
    of_end = jax.tree.map(lambda leaf, ct: jnp.zeros_like(leaf) if ct is None else ct, state, cotangents[0])

    def one_back(done, carry):
        stored, of_state, of_moving = carry
        number = steps - 1 - done
        state, stored = stored.state_before(number, lambda i, state: step(i, state, args))
        _, pull = jax.vjp(lambda state, moving: step(number, state, eqx.combine(moving, still)), state, moving)
        of_before, more = pull(of_state)
        return stored, of_before, jax.tree.map(jnp.add, of_moving, more)

    carry = (_Stored.create(state), of_end, jax.tree.map(jnp.zeros_like, moving))
    return jax.lax.fori_loop(0, steps, one_back, carry)[1:]


class _Stored(eqx.Module):
    """A stack of states: `states` (STORED, ...), the `numbers` of the steps they stand before, and the `top` one."""

    states: PyTree
    numbers: Int[Array, " stored"]
    top: Int[Array, ""]

    @classmethod
    def create(cls, state) -> "_Stored":
        """With the state before step 0."""
        zeros = jax.tree.map(lambda leaf: jnp.zeros((STORED, *leaf.shape), leaf.dtype), state)
        first = cls(zeros, jnp.zeros(STORED, int), jnp.asarray(-1))
        return first.push(0, state)

    def push(self, number, state) -> "_Stored":
        top = self.top + 1
        states = jax.tree.map(lambda all_, one: all_.at[top].set(one), self.states, state)
        return _Stored(states, self.numbers.at[top].set(number), top)

    def state_before(self, number, advance) -> tuple[PyTree, "_Stored"]:
        """The state before step `number`, and the stack without what no earlier step needs."""

        def on(carry):
            at, state, stored = carry
            free = STORED - stored.top
            capacity = jnp.asarray(_CAPACITY)
            steps = number - at + 1
            sweeps = jnp.argmax(capacity[free] >= steps)
            ahead = jnp.maximum(steps - capacity[free - 1, sweeps], 1)
            state = jax.lax.fori_loop(at, at + ahead, advance, state)
            at = at + ahead
            stored = jax.lax.cond(at < number, lambda: stored.push(at, state), lambda: stored)
            return at, state, stored

        last = jax.tree.map(lambda all_: jax.lax.dynamic_index_in_dim(all_, self.top, keepdims=False), self.states)
        _, state, stored = jax.lax.while_loop(lambda carry: carry[0] < number, on, (self.numbers[self.top], last, self))
        top = stored.top - (stored.numbers[stored.top] == number)
        return state, eqx.tree_at(lambda s: s.top, stored, top)
