"""Many equal steps of one solve, and their derivatives in either mode.

What diffrax and JAX make of the derivative of such a loop takes twice the time and the memory of what is here
(`python benchmarks/all.py derivative`).
"""

import abc
import math
from typing import ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Int, PyTree

from twinjax.solver.step_groups import in_groups

# States stored at a time in reverse mode. 12 reverse 13 steps with each solved again once, 91 with at most two, 455
# with three.
STORED = 12
_SWEEPS = 12
# [c, r]: how many steps c stored states can reverse when no step is solved again more than r times (Griewank 1992).
_CAPACITY = np.array([[min(math.comb(c + r, r), 2**30) for r in range(_SWEEPS)] for c in range(STORED + 1)])


class AbstractEqualSteps(eqx.Module):
    """`count` steps of a solve (`most` at most); all that the solve depends on are leaves of this.

    `together` of them make one pass of the loop (`twinjax.solver.step_groups`); the reverse sweep takes them singly.
    """

    count: eqx.AbstractVar[Int[Array, ""]]
    most: eqx.AbstractVar[int]
    together: eqx.AbstractVar[int]

    @abc.abstractmethod
    def begin(self, state: PyTree) -> PyTree:
        """What step 0 takes."""

    @abc.abstractmethod
    def step(self, number: Int[Array, ""], state: PyTree) -> PyTree:
        """One step; what the last gives is the result."""

    def solve(self, state: PyTree, adjoint: diffrax.AbstractAdjoint | None = None) -> PyTree:
        """The state after all steps, by diffrax.

        `adjoint`: `diffrax.ForwardMode()` for forward-mode derivatives, none for reverse mode, both by the rules of
        this module; the derivatives of another adjoint are diffrax's.
        """
        if adjoint is None:
            return _reverse((state, self))
        return _forward((state, self)) if isinstance(adjoint, diffrax.ForwardMode) else _solve((state, self), adjoint)


class _ByNumber(diffrax.AbstractSolver):
    """Takes the steps of an `AbstractEqualSteps`, the `args` of the solve, whose time is the number of the group."""

    together: int = eqx.field(static=True)

    term_structure: ClassVar = diffrax.AbstractTerm
    interpolation_cls: ClassVar = diffrax.LocalLinearInterpolation

    def order(self, terms):
        return None

    def init(self, terms, t0, t1, y0, args):
        return None

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        number = jnp.round(t0).astype(int) * self.together
        y1 = in_groups(args.step, number, args.count, y0, self.together)
        return y1, None, dict(y0=y0, y1=y1), None, diffrax.RESULTS.successful

    def func(self, terms, t0, y0, args):
        return terms.vf(t0, y0, args)


def _groups(count, together):
    return -(-count // together)


def _solve(state_and_steps, adjoint=None):
    state, steps = state_and_steps
    together = steps.together if adjoint is None else 1
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, y, steps: y),
        _ByNumber(together),
        0.0,
        _groups(steps.count, together).astype(float),
        1.0,
        steps.begin(state),
        steps,
        stepsize_controller=diffrax.ConstantStepSize(),
        # Where the derivatives are ours, no adjoint need prepare them.
        adjoint=diffrax.ForwardMode() if adjoint is None else adjoint,
        max_steps=steps.most,
        throw=False,
    )
    return jax.tree.map(lambda leaf: leaf[-1], solution.ys)


# Forward mode. `jax.vmap` over directions puts them side by side into one array, which XLA on the CPU handles at half
# the speed that it has with one direction. Here each direction has arrays of its own, and all share the linearised
# step.
_forward = eqx.filter_custom_jvp(_solve)

# Reverse mode. The derivative of a loop takes the states of its steps, last to first. A few are stored and the others
# solved again from those, in the binomial schedule that solves least for the number stored (Griewank 1992, Optim
# Methods Softw 1:35). diffrax's `RecursiveCheckpointAdjoint` stores alike, but prepares the derivative also in the
# steps that it solves only to store.
_reverse = eqx.filter_custom_vjp(_solve)


@_forward.def_jvp
def _forward_derivative(primals, tangents):
    (primal,), (direction,) = primals, tangents
    has_tangent = jax.tree.map(lambda tangent: tangent is not None, direction, is_leaf=lambda leaf: leaf is None)
    moving, still = eqx.partition(primal, has_tangent)
    arrays, static = eqx.partition(still, eqx.is_array)

    def along(moving, arrays, directions):
        return _after_and_derivatives(moving, eqx.combine(arrays, static), directions)

    @custom_vmap
    def along_one(moving, arrays, direction):
        after, (of_after,) = along(moving, arrays, [direction])
        return after, of_after

    @along_one.def_vmap
    def _(size, batched, moving, arrays, direction):
        if any(jax.tree.leaves(batched[:2])):
            axes = jax.tree.map(lambda is_batched: 0 if is_batched else None, batched)
            out = jax.vmap(along_one.fun, tuple(axes), axis_size=size)(moving, arrays, direction)
            return out, jax.tree.map(lambda _: True, out)
        rows = [jax.tree.map(lambda leaf, b, i=i: leaf[i] if b else leaf, direction, batched[2]) for i in range(size)]
        after, of_after = along(moving, arrays, rows)
        of_after = jax.tree.map(lambda *leaves: jnp.stack(leaves), *of_after)
        return (after, of_after), (jax.tree.map(lambda _: False, after), jax.tree.map(lambda _: True, of_after))

    return along_one(moving, arrays, direction)


def _after_and_derivatives(moving, still, directions):
    """The state after all steps and its derivative along each of the directions."""

    def begin(moving):
        state, steps = eqx.combine(moving, still)
        return steps.begin(state)

    def advance(number, carry):
        state, of_state = carry
        after, linear = jax.linearize(lambda s, m: eqx.combine(m, still)[1].step(number, s), state, moving)
        return after, [linear(of_s, of_m) for of_s, of_m in zip(of_state, directions, strict=True)]

    def group(index, carry):
        return in_groups(advance, index * together, count, carry, together)

    count, together = still[1].count, still[1].together
    first, linear = jax.linearize(begin, moving)
    carry = first, [linear(direction) for direction in directions]
    return jax.lax.fori_loop(0, _groups(count, together), group, carry)


@_reverse.def_fwd
def _reverse_forward(perturbed, state_and_steps):
    return _solve(state_and_steps), None


@_reverse.def_bwd
def _reverse_derivative(residuals, of_after, perturbed, state_and_steps):
    state, steps = state_and_steps
    moving, still = eqx.partition(steps, perturbed[1])
    first, pull_first = jax.vjp(lambda state, moving: eqx.combine(moving, still).begin(state), state, moving)

    def back(done, carry):
        stored, of_state, of_moving = carry
        number = steps.count - 1 - done
        state, stored = stored.state_before(number, lambda number, state: steps.step(number, state))
        _, pull = jax.vjp(lambda state, moving: eqx.combine(moving, still).step(number, state), state, moving)
        of_before, more = pull(of_state)
        return stored, of_before, jax.tree.map(jnp.add, of_moving, more)

    carry = (_Stored.create(first), of_after, jax.tree.map(jnp.zeros_like, moving))
    _, of_first, of_moving = jax.lax.fori_loop(0, steps.count, back, carry)
    of_state, more = pull_first(of_first)
    return of_state, jax.tree.map(jnp.add, of_moving, more)


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
