"""`Network`: a Flax NNX module as an Equinox one."""

from typing import Any

import equinox as eqx
from flax import nnx
from jaxtyping import Array


class Network(eqx.Module):
    """A Flax NNX module whose weights are leaves here: gradients, `eqx.partition` and `jax.jit` reach them.

    Only modules without state that a call changes (no dropout, no running means).

    **Fields:** `weights`, nested dictionaries of arrays; `definition`, what Flax knows besides (static).
    """

    weights: Any
    definition: nnx.GraphDef = eqx.field(static=True)

    def __init__(self, module: nnx.Module):
        self.definition, state = nnx.split(module)
        self.weights = nnx.to_pure_dict(state)

    def __call__(self, *inputs: Array) -> Array:
        """What the module makes of `inputs`."""
        return nnx.merge(self.definition, nnx.State(self.weights))(*inputs)
