"""Trees of arrays in a file: a line of JSON, then numpy's format; nothing in it is ever executed."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import equinox as eqx

Tree = TypeVar("Tree")


class Damaged(ValueError):
    """The arrays of a file are not those that are wanted of it."""


def write_tree(path: Path, head: Mapping[str, Any], tree: Any) -> None:
    """The file is written whole or not at all."""
    partial = path.with_suffix(".partial")
    with open(partial, "wb") as stream:
        stream.write(json.dumps(head).encode() + b"\n")
        eqx.tree_serialise_leaves(stream, tree)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(partial, path)


def read_head(stream: BinaryIO) -> dict[str, Any]:
    """The head that `write_tree` wrote; empty for a file that has none."""
    try:
        head = json.loads(stream.readline())
    except ValueError:
        return {}
    return head if isinstance(head, dict) else {}


def read_leaves(stream: BinaryIO, like: Tree) -> Tree:
    """The tree behind the head, with the shapes of `like`; `Damaged` where there are others or none."""
    try:
        return eqx.tree_deserialise_leaves(stream, like)
    except (ValueError, RuntimeError, EOFError, OSError) as error:
        raise Damaged(str(error)) from error
