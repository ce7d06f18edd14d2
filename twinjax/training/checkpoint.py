"""Checkpoints of a training, by Orbax: arrays and JSON, nothing that is executed."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import equinox as eqx
import jax
import numpy as np
import orbax.checkpoint as orbax

from twinjax.core.errors import InputError
from twinjax.core.folder import writable

Tree = TypeVar("Tree")
# Kept of all that were written: the last, and the one before should the last be damaged.
KEPT = 2


class TrainingCheckpoint:
    """The checkpoints of one training in a folder; none where `folder` is None.

    `settings`, flat, is all that the result follows from: each checkpoint has it beside it, and one of other settings
    is refused. Raises `InputError` where the folder cannot be written to.
    """

    def __init__(self, folder: str | Path | None, settings: Mapping[str, Any]):
        self.settings = {key: str(value) for key, value in settings.items()}
        self.folder, self.manager = folder, None
        if folder is not None:
            logging.getLogger("absl").setLevel(logging.ERROR)
            options = orbax.CheckpointManagerOptions(max_to_keep=KEPT, enable_async_checkpointing=False)
            path = writable(folder, "cannot write checkpoints to").absolute()
            self.manager = orbax.CheckpointManager(path, options=options, item_names=("state", "settings"))

    def latest(self) -> int | None:
        """The step of the last one."""
        return None if self.manager is None else self.manager.latest_step()

    def write(self, step: int, state: Any) -> None:
        """Keep the arrays of `state`, whole or not at all."""
        if self.manager is not None:
            arrays = _numbered(state)
            args = orbax.args.Composite(
                state=orbax.args.StandardSave(arrays), settings=orbax.args.JsonSave(self.settings)
            )
            self.manager.save(step, args=args)

    def read(self, like: Tree) -> Tree | None:
        """The last one, with the shapes of `like`; None where there is none.

        Raises `InputError` for one of other settings, or a damaged one.
        """
        step = self.latest()
        if self.manager is None or step is None:
            return None
        self.refuse_others()
        wanted = jax.tree.map(np.asarray, _numbered(like))
        found = self._restored(self.manager, step, state=orbax.args.StandardRestore(wanted))
        leaves, structure = jax.tree.flatten(eqx.filter(like, eqx.is_array))
        # As they were: a committed array would be another program's.
        arrays = [jax.numpy.asarray(found[str(number)]) for number in range(len(leaves))]
        return eqx.combine(jax.tree.unflatten(structure, arrays), like)

    def refuse_others(self) -> None:
        """`InputError` where there is one of other settings."""
        step = self.latest()
        if self.manager is None or step is None:
            return
        found = self._restored(self.manager, step, settings=orbax.args.JsonRestore())
        for key in {**self.settings, **found}:
            if found.get(key) != self.settings.get(key):
                raise InputError(
                    f"{self.folder}: the checkpoint is of a training with {key}={found.get(key)}, not "
                    f"{self.settings.get(key)}; take that again, or name another folder (hydra.run.dir)"
                )

    def _restored(self, manager: orbax.CheckpointManager, step: int, **item: Any) -> Any:
        """The one item that is asked for; `InputError` where it cannot be read."""
        try:
            (found,) = manager.restore(step, args=orbax.args.Composite(**item)).values()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{self.folder}: the checkpoint of step {step} is damaged; delete its folder to go on from the one "
                "before"
            ) from error
        return found


def _numbered(tree: Any) -> dict[str, np.ndarray]:
    """The arrays of a tree by their number."""
    return {
        str(number): np.asarray(leaf) for number, leaf in enumerate(jax.tree.leaves(eqx.filter(tree, eqx.is_array)))
    }
