"""A stretch of a solve on the box of a large grid that holds the cells."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from twinjax.domain.active_box import bounds, cut, edge_maximum, largest_of_batch

# Density (fraction of the densest packing) that counts as none, where a grid is solved in a box: about
# a tenth of a cell in 1 mm³.
TAIL = 1e-7


def solve_in_box(solve, whole, boxes, model, regimen, state, duration, reverse: bool):
    """As `whole(state)`, in the smallest of the `boxes` that holds the cells and where they get to, if one does.

    A box whose walls feel more than `TAIL` at the end was too small: then the whole grid is solved instead.

    In `reverse` mode a box is cut out again, and not kept for every stretch; whether it was large enough is kept, or
    all would have to be solved again to know.
    """
    in_box = partial(_solve_in_box, solve, whole, boxes)
    if reverse:
        in_box = eqx.filter_checkpoint(in_box, policy=jax.checkpoint_policies.save_only_these_names("enough"))
    return in_box(model, regimen, state, duration)


def _solve_in_box(solve, whole, boxes, model, regimen, state, duration):
    shape = model.domain.shape
    spacing = jnp.asarray(model.domain.spacing)
    lower, upper = bounds(jax.lax.stop_gradient(model.cell_density(state)) > TAIL)
    margin = jnp.ceil(largest_of_batch(jax.lax.stop_gradient(model.reach(duration))) / spacing).astype(lower.dtype)
    lower, upper = jnp.maximum(lower - margin, 0), jnp.minimum(upper + margin, jnp.asarray(shape))
    fits = jnp.stack([(upper - lower <= jnp.asarray(box)).all() for box in boxes])

    def within(box, state):
        corner = jnp.clip((lower + upper - jnp.asarray(box)) // 2, 0, jnp.asarray(shape) - jnp.asarray(box))
        small_model, small_regimen, small = cut((model, regimen, state), shape, tuple(corner), box)
        small, solved = solve(small_model, small_regimen, None, small)
        reached = edge_maximum(jax.lax.stop_gradient(model.cell_density(small)), corner, box, shape)
        return jax.lax.dynamic_update_slice(state, small, tuple(corner)), solved, largest_of_batch(reached) <= TAIL

    def nothing(state):
        return state, jnp.asarray(True), jnp.asarray(False)

    branches = [partial(within, box) for box in boxes]
    level = jnp.where(fits.any(), jnp.argmax(fits), len(boxes))
    after, solved, enough = jax.lax.switch(level, [*branches, nothing], state)
    enough = checkpoint_name(enough, "enough")
    return jax.lax.cond(enough, lambda: (after, solved), lambda: whole(state))
