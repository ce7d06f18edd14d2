"""Files from which an interrupted calibration goes on."""

import dataclasses
import hashlib
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from twinjax.calibration.problem import InverseProblem
from twinjax.calibration.tree_file import Damaged, Tree, read_head, read_leaves, write_tree
from twinjax.core.errors import InputError
from twinjax.core.folder import writable

# Results are the same to the last bit only where all of these are.
PACKAGES = ("twinjax", "jax", "jaxlib", "numpyro", "diffrax", "equinox", "optax")
# Settings without effect on the result.
WITHOUT_EFFECT = ("checkpoint", "progress")
# Where an object without a representation of its own lies in memory: another place in every process.
ADDRESS = re.compile(r" at 0x[0-9a-f]+")
# They tell the distributions of one family apart.
QUANTILES = np.array([0.01, 0.1, 0.5, 0.9, 0.99])


class Checkpoint:
    """A folder with how far one calibration has come, one file a stage; nothing where `folder` is None.

    Each file (`twinjax.calibration.tree_file`) begins with a line that says for which problem, settings and key it is.

    Raises `InputError` where the folder cannot be written to.
    """

    def __init__(self, folder: str | Path | None, problem: InverseProblem, calibrator: eqx.Module, key: PRNGKeyArray):
        self.folder = None if folder is None else writable(folder, "checkpoint: cannot write to the folder")
        self.fingerprint = None if folder is None else fingerprint(problem, calibrator, key)

    def read(self, stage: str, like: Tree) -> Tree | None:
        """What `write` kept of a stage, with the shapes of `like`; None where there is nothing yet.

        Raises `InputError` for a file of another problem, of other settings or of another key, or a damaged one.
        """
        if self.folder is None or not (path := self.folder / f"{stage}.ckpt").exists():
            return None
        with open(path, "rb") as stream:
            found = read_head(stream).get("fingerprint")
            if found is None:
                raise InputError(f"{path}: not a checkpoint of twinjax; name another folder in `checkpoint`")
            if found != self.fingerprint:
                raise InputError(
                    f"{path}: made for other data, other settings, another seed or other versions; delete the folder "
                    "to begin anew, or name another in `checkpoint`"
                )
            try:
                return read_leaves(stream, like)
            except Damaged as error:
                raise InputError(f"{path}: the file is damaged; delete it to begin that stage anew") from error

    def write(self, stage: str, tree: Any) -> None:
        """Keep `tree` as that stage."""
        if self.folder is not None:
            head = {"twinjax": "checkpoint", "fingerprint": self.fingerprint}
            write_tree(self.folder / f"{stage}.ckpt", head, tree)


def fingerprint(problem: InverseProblem, calibrator: eqx.Module, key: PRNGKeyArray) -> str:
    """A hash of all that a result follows from: data, model, prior, settings, key, versions and precision.

    Numbers go in with seven digits: what a solve makes anew may differ in the last bit from one process to another.
    """
    parameters = problem.prior.parameters
    prior = [(p.name, p.where, type(p.distribution).__name__, p.field) for p in parameters]
    versions = [version(name) for name in PACKAGES]
    words = [ADDRESS.sub("", eqx.tree_pformat(problem)), *map(repr, (prior, _settings(calibrator), versions))]
    words.append(str(jax.numpy.zeros(()).dtype))
    digest = hashlib.sha256("\n".join(words).encode())
    # By its quantiles: the leaves of numpyro's distributions come in another order in every process.
    quantiles = [p.distribution.icdf(QUANTILES) for p in parameters]
    for leaf in jax.tree.leaves((problem, quantiles, jax.random.key_data(key))):
        if eqx.is_array_like(leaf):
            number = np.asarray(leaf)
            single = number.astype(np.float32) if np.issubdtype(number.dtype, np.floating) else number
            digest.update(np.ascontiguousarray(single).tobytes())
    return digest.hexdigest()


def _settings(module: eqx.Module) -> list[tuple[str, Any]]:
    """The kind of a calibrator and all its fields with an effect, those of its parts too."""
    fields = {f.name: getattr(module, f.name) for f in dataclasses.fields(module) if f.name not in WITHOUT_EFFECT}
    told = {name: _settings(value) if isinstance(value, eqx.Module) else value for name, value in fields.items()}
    return [("kind", type(module).__name__), *told.items()]
