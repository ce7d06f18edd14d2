"""A `DensityOperator` in a file: safetensors, with what it was trained for; nothing in it is executed."""

import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from twinjax.core.errors import InputError
from twinjax.network import Network, fourier_operator
from twinjax.simulation.density_operator import FIELDS, OUTPUTS, SCALARS, DensityOperator

KIND = "operator"


def save_operator(path: str | Path, operator: DensityOperator) -> None:
    """Written whole or not at all."""
    weights = operator.network.weights
    head = {
        "twinjax": KIND,
        "width": weights["lift"]["kernel"].shape[1],
        "blocks": len(weights["blocks"]),
        "spacing": operator.spacing,
        "voxels": operator.voxels,
        "ranges": operator.ranges,
        "errors": operator.errors,
    }
    partial = Path(path).with_suffix(".partial")
    arrays = {name: np.asarray(leaf) for name, leaf in _named(operator.network).items()}
    save_file(arrays, partial, metadata={"head": json.dumps(head)})
    os.replace(partial, path)


def load_operator(path: str | Path) -> DensityOperator:
    """What `save_operator` wrote; `InputError` for a file that is not there, or any other."""
    if not Path(path).is_file():
        raise InputError(f"{path}: there is no such file; `twinjax-train` makes an operator.safetensors")
    try:
        with safe_open(path, framework="numpy") as file:
            head = json.loads((file.metadata() or {})["head"])
            names = file.keys()
            arrays = {name: file.get_tensor(name) for name in names}
        if head.pop("twinjax") != KIND:
            raise KeyError(KIND)
        network = fourier_operator(FIELDS, SCALARS, OUTPUTS, width=head.pop("width"), blocks=head.pop("blocks"))
        ranges = tuple((name, (low, high)) for name, (low, high) in head.pop("ranges"))
        errors = tuple((name, error) for name, error in head.pop("errors"))
        return DensityOperator(_filled(network, arrays), ranges=ranges, errors=errors, **head)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not an operator network saved by twinjax, or damaged ({error})") from error


def _named(network: Network) -> dict[str, jax.Array]:
    """Its weights by where they stand."""
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(network)}


def _filled(network: Network, arrays: dict[str, np.ndarray]) -> Network:
    """The network with these weights; `ValueError` where they are others than it has."""
    wanted = {name: leaf.shape for name, leaf in _named(network).items()}
    if {name: array.shape for name, array in arrays.items()} != wanted:
        raise ValueError("the weights have other names or shapes")
    return jax.tree.unflatten(jax.tree.structure(network), [jnp.asarray(arrays[name]) for name in wanted])
