"""Iterations in blocks, each kept in a checkpoint: what all samplers that go from state to state share."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from twinjax.calibration.checkpoint import Checkpoint


class Iterations(NamedTuple):
    """**Fields:** `state` after the last one; `kept` (done, ...) of each; `done`, how many; `seconds`, over all
    sessions.
    """

    state: Any
    kept: Any
    done: int
    seconds: float


def iterate(
    step: Callable[[Any, Any], Any],
    keep: Callable[[Any], Any],
    arguments: Any,
    state: Any,
    *,
    count: int,
    block: int,
    checkpoint: Checkpoint,
    stage: str,
    progress: bool,
    enough: Callable[[Any, int], bool] | None = None,
    told: Callable[[Any], dict[str, str]] | None = None,
) -> Iterations:
    """`count` times `state = step(arguments, state)`, in compiled blocks of `block`.

    `keep(state)` is what is kept of every state, a tree of arrays; `enough(kept, done)`, asked after every block, ends
    it sooner; `told(kept)` is what the progress bar says of it. After every block all goes into the `stage` of the
    checkpoint, and an interrupted run goes on from there: the blocks are the same program on the same numbers, so that
    the results are the same bits.
    """
    kept = jax.tree.map(lambda leaf: np.zeros((count, *leaf.shape), leaf.dtype), eqx.filter_eval_shape(keep, state))
    current = Iterations(_on_host(state), kept, 0, 0.0)
    current = checkpoint.read(stage, current) or current
    state, kept, done, before = current
    began = time.perf_counter()
    with tqdm(total=count, initial=done, desc=f"  {stage}", disable=not progress, mininterval=1.0) as bar:
        while done < count and not (enough is not None and done and enough(_first(kept, done), done)):
            some = min(block, count - done)
            state, new = _block(step, keep, arguments, state, block, jnp.asarray(some))
            state = _on_host(state)
            for whole, part in zip(jax.tree.leaves(kept), jax.tree.leaves(new), strict=True):
                whole[done : done + some] = np.asarray(part)[:some]
            done += some
            if told is not None:
                bar.set_postfix(told(_first(kept, done)), refresh=False)
            bar.update(some)
            current = Iterations(state, kept, done, before + time.perf_counter() - began)
            checkpoint.write(stage, current)
    return current._replace(kept=_first(kept, done))


@eqx.filter_jit
def _block(step: Callable, keep: Callable, arguments: Any, state: Any, block: int, count: jax.Array):
    """The state after `count` steps, and what is kept of each in the first places of (block, ...)."""
    buffer = jax.tree.map(lambda leaf: jnp.zeros((block, *leaf.shape), leaf.dtype), eqx.filter_eval_shape(keep, state))

    def body(i, carry):
        state, buffer = carry
        state = step(arguments, state)
        kept = keep(state)
        return state, jax.tree.map(lambda all_of_it, one: all_of_it.at[i].set(one), buffer, kept)

    return jax.lax.fori_loop(0, count, body, (state, buffer))


def _on_host(state: Any) -> Any:
    # numpy arrays have no weak types: a state that was read from a file meets the program of one that was not.
    return jax.tree.map(np.asarray, state)


def _first(kept: Any, done: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[:done], kept)
