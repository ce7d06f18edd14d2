"""Several steps of a loop in one pass: what does not depend on the state is computed for all of them at once.

A GPU takes some microseconds to start a kernel, however small, and more to ask whether a loop goes on. The kills of a
step are a dozen kernels on some hundred numbers: one by one they take longer than the voxels of a clinical region do.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.core import eval_jaxpr
from jax.extend.core import Jaxpr, Literal
from jaxtyping import PyTree

# Numbers. What is larger, a field say, is computed in the step that takes it: side by side it would fill the memory.
LARGEST = 4096


def in_groups(step: Callable, number, count, state: PyTree, together: int) -> PyTree:
    """The state after the steps `number` to `number + together - 1`, of those only that are below `count`.

    `step(number, state)` gives the state after one step; `number` is below `count`.
    """
    if together == 1:
        return step(number, state)
    prepare, advance = _split(step, number, state)
    prepared = jax.vmap(prepare)(number + jnp.arange(together))
    for k in range(together):
        after = advance([values[k] for values in prepared], state)
        if k > 0:
            after = jax.tree.map(lambda new, old, go=number + k < count: jnp.where(go, new, old), after, state)
        state = after
    return state


def _split(step, number, state):
    """`prepare(number)`, a list of arrays, and `advance(prepared, state)`; one after the other they are the step."""
    closed, after = jax.make_jaxpr(step, return_shape=True)(number, state)
    jaxpr = closed.jaxpr
    first, *others = jaxpr.invars
    late, early_equations, late_equations = set(others), [], []
    for equation in jaxpr.eqns:
        waits = equation.effects or any(not isinstance(v, Literal) and v in late for v in equation.invars)
        if waits or any(v.aval.size > LARGEST for v in equation.outvars):
            late.update(equation.outvars)
            late_equations.append(equation)
        else:
            early_equations.append(equation)
    wanted = [v for equation in late_equations for v in equation.invars] + jaxpr.outvars
    known = {first, *(v for equation in early_equations for v in equation.outvars)}
    # In the order of first use, each once.
    handed_on = list(dict.fromkeys(v for v in wanted if not isinstance(v, Literal) and v in known))
    early = Jaxpr(jaxpr.constvars, [first], handed_on, early_equations)
    rest = Jaxpr(jaxpr.constvars, [*handed_on, *others], jaxpr.outvars, late_equations, jaxpr.effects)

    def prepare(number):
        return eval_jaxpr(early, closed.consts, number)

    def advance(prepared, state):
        leaves = eval_jaxpr(rest, closed.consts, *prepared, *jax.tree.leaves(state))
        return jax.tree.unflatten(jax.tree.structure(after), leaves)

    return prepare, advance
