"""`Trainer`: weights by Adam, early stopping, and checkpoints from which it goes on to the same bits."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PyTree
from tqdm import tqdm

from twinjax.core.count import check_counts
from twinjax.core.errors import InputError
from twinjax.training.checkpoint import TrainingCheckpoint

# Share of the steps in which the rate of learning rises, and where it ends, of its highest.
WARMUP, LAST_RATE = 0.03, 0.02
# Gradients are shortened to this length.
LONGEST_GRADIENT = 1.0
# Examples of the validation that are looked at together.
TOGETHER = 8

# Of what is trained, on one example.
Loss = Callable[[Any, Any], Float[Array, ""]]


@runtime_checkable
class Drawn(Protocol):
    """Examples to draw from: how many, and those of some indices as a tree of arrays with one axis more."""

    @property
    def count(self) -> int: ...

    def of(self, chosen: np.ndarray) -> Any: ...


class Progress(NamedTuple):
    """How far a training has come, all of it arrays.

    **Fields:** `trained`, as it is now; `optimizer`, the state of Adam; `best`, as it was at the lowest validation
    loss; `step`; `training` and `validation` losses (rounds,), one every `every` steps, NaN where it has not come to.
    """

    trained: PyTree
    optimizer: PyTree
    best: PyTree
    step: Int[Array, ""]
    training: Float[Array, " rounds"]
    validation: Float[Array, " rounds"]

    def rows(self, every: int) -> list[dict[str, float]]:
        """The losses, one row a round."""
        pairs = zip(np.asarray(self.training), np.asarray(self.validation), strict=True)
        rows = [
            {"step": min(every * number, int(self.step)), "training": float(one), "validation": float(other)}
            for number, (one, other) in enumerate(pairs, 1)
        ]
        return [row for row in rows if np.isfinite(row["validation"])]


@dataclass(frozen=True)
class Trainer:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv 1711.05101) on random batches.

    The rate of learning rises and falls again as a cosine. Every `every` steps the validation loss is taken; where it
    has not come below its lowest for `patience` rounds the training ends, and the weights of the lowest are kept.

    **Fields:** `steps` at most; `batch`; `learning_rate`, the highest; `weight_decay`; `every`; `patience`.
    """

    steps: int = 2000
    batch: int = 4
    learning_rate: float = 5e-3
    weight_decay: float = 1e-4
    every: int = 100
    patience: int = 10

    def __post_init__(self):
        check_counts(self, "steps", "batch", "every", "patience", prefix="training.trainer.")
        if self.every > self.steps:
            raise InputError(
                f"training.trainer.every={self.every} is more than training.trainer.steps={self.steps}; lower it"
            )
        if not (self.learning_rate > 0 and self.weight_decay >= 0):
            raise InputError(
                "training.trainer.learning_rate must be positive, and training.trainer.weight_decay not negative"
            )

    def fit(
        self,
        begun: PyTree,
        loss: Loss,
        examples: Drawn,
        validation: Drawn,
        *,
        seed: int,
        checkpoint: TrainingCheckpoint,
        progress: bool = True,
        report: Callable[[Progress], None] = lambda progress: None,
    ) -> Progress:
        """What `begun`, an Equinox module all of whose float arrays are weights, has become.

        **Arguments:** `report` is told of every round, after its checkpoint.

        Raises `InputError` where a loss is not a number any longer (the last good checkpoint stays), and for a
        checkpoint of another training.
        """
        if self.batch > examples.count:
            raise InputError(
                f"training.trainer.batch={self.batch} is more than the {examples.count} examples; lower it"
            )
        method, state = self._method(), self._begun(begun)
        seen = validation.of(np.arange(validation.count))
        state = checkpoint.read(state) or state
        with tqdm(
            total=self.steps, initial=int(state.step), desc="  train", disable=not progress, mininterval=1.0
        ) as bar:
            while int(state.step) < self.steps and not self._stalled(state):
                state = self._round(state, method, loss, examples, seen, seed, bar)
                if not np.isfinite(_last(state, self.every)):
                    raise InputError(self._diverged(state, checkpoint))
                checkpoint.write(int(state.step), state)
                last = state.rows(self.every)[-1]
                bar.set_postfix({key: f"{last[key]:.3g}" for key in ("training", "validation")}, refresh=False)
                report(state)
        return state

    def _method(self) -> optax.GradientTransformation:
        rate = optax.warmup_cosine_decay_schedule(
            0.0, self.learning_rate, max(1, round(WARMUP * self.steps)), self.steps, LAST_RATE * self.learning_rate
        )
        return optax.chain(
            optax.clip_by_global_norm(LONGEST_GRADIENT), optax.adamw(rate, weight_decay=self.weight_decay)
        )

    def _begun(self, begun: PyTree) -> Progress:
        rounds = jnp.full(-(-self.steps // self.every), jnp.nan)
        optimizer = self._method().init(eqx.filter(begun, eqx.is_array))
        return Progress(begun, optimizer, begun, jnp.asarray(0), rounds, rounds)

    def _stalled(self, state: Progress) -> bool:
        losses = [row["validation"] for row in state.rows(self.every)]
        return bool(losses) and len(losses) - 1 - int(np.argmin(losses)) >= self.patience

    def _round(self, state: Progress, method, loss: Loss, examples: Drawn, seen, seed: int, bar) -> Progress:
        """Steps up to the next validation."""
        first, place, losses = int(state.step), int(state.step) // self.every, []
        trained, optimizer = state.trained, state.optimizer
        for step in range(first, min(first + self.every, self.steps)):
            # Of the step alone: an interrupted training draws the same.
            chosen = np.random.default_rng([seed, step]).choice(examples.count, self.batch, replace=False)
            trained, optimizer, value = _stepped(method, loss, trained, optimizer, examples.of(chosen))
            losses.append(value)
            bar.update()
        now = _mean_loss(loss, trained, seen)
        better = now < np.nanmin([*np.asarray(state.validation), np.inf])
        return Progress(
            trained,
            optimizer,
            trained if better else state.best,
            state.step + len(losses),
            state.training.at[place].set(jnp.mean(jnp.stack(losses))),
            state.validation.at[place].set(now),
        )

    def _diverged(self, state: Progress, checkpoint: TrainingCheckpoint) -> str:
        kept = checkpoint.latest()
        where = "there is no checkpoint yet" if kept is None else f"the checkpoint of step {kept} is kept"
        return (
            f"the loss is no number any longer at step {int(state.step)}; {where}. In another folder, "
            f"lower training.trainer.learning_rate (now {self.learning_rate:g}), or take precision=float64"
        )


def _last(state: Progress, every: int) -> float:
    place = -(-int(state.step) // every) - 1
    return float(state.training[place] + state.validation[place])


@eqx.filter_jit
def _stepped(method, loss, trained, optimizer, some):
    def mean(trained):
        return jnp.mean(jax.vmap(loss, (None, 0))(trained, some))

    value, gradient = eqx.filter_value_and_grad(mean)(trained)
    update, optimizer = method.update(gradient, optimizer, eqx.filter(trained, eqx.is_array))
    return eqx.apply_updates(trained, update), optimizer, value


@eqx.filter_jit
def _mean_loss(loss, trained, seen):
    return jnp.mean(jax.lax.map(lambda one: loss(trained, one), seen, batch_size=TOGETHER))
