"""A solve over several devices, each of which has a slab of the grid."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from twinjax.core.errors import InputError
from twinjax.domain import Execution
from twinjax.model import AbstractSpatialModel, AbstractTumorModel
from twinjax.solver import RungeKuttaLegendre, StrangSplitting

# A pass reads voxels up to two planes away, where the diffusivity is a tensor.
THINNEST = 2


def execution_of(solver: diffrax.AbstractSolver, model: AbstractTumorModel) -> Execution:
    """How the solver has its passes made; `InputError` where the model's grid cannot be split like that."""
    if not isinstance(solver, StrangSplitting | RungeKuttaLegendre):
        return Execution()
    execution = Execution.create(solver.devices, solver.kernel)
    if execution.mesh is None:
        return execution
    if not isinstance(model, AbstractSpatialModel):
        raise InputError(
            f"solver.devices is {solver.devices}, but {type(model).__name__} has no grid to split; set it to 1"
        )
    first = model.domain.shape[0]
    if first < THINNEST * solver.devices:
        raise InputError(
            f"solver.devices is {solver.devices}, but the grid has {first} voxels along its first axis and each device "
            f"needs {THINNEST}; ask for {max(1, first // THINNEST)} or fewer"
        )
    if first % solver.devices and not model.local:
        raise InputError(
            f"solver.devices is {solver.devices}, but the grid has {first} voxels along its first axis, and "
            f"{type(model).__name__} depends on where the grid ends; choose a divisor of {first}"
        )
    return execution


def split(model, regimen, state: PyTree, execution: Execution):
    """All three with what they have on the grid in slabs.

    Where the devices do not divide the grid it is filled up with voxels outside the mask, through whose wall nothing
    flows.
    """
    shape = model.domain.shape
    more = [(0, -shape[0] % execution.slabs)] + [(0, 0)] * (len(shape) - 1)

    def in_slabs(leaf, **padding):
        if jnp.shape(leaf) != shape:
            return leaf
        return jax.lax.with_sharding_constraint(jnp.pad(leaf, more, **padding), execution.sharding(0))

    def of_tissue(leaf):
        # Maps are continued, so that what is computed from them stays finite; the mask is not.
        return in_slabs(leaf, **({} if leaf.dtype == bool else {"mode": "edge"})) if eqx.is_array(leaf) else leaf

    model, regimen = jax.tree.map(of_tissue, (model, regimen))
    return model, regimen, jax.tree.map(in_slabs, state)


def joined(states: PyTree, padded: tuple[int, ...], first: int) -> PyTree:
    """Every leaf that ends in the shape `padded` without the voxels that `split` added to `first` ones."""
    axes = len(padded)

    def real(leaf):
        if leaf.shape[-axes:] != padded or padded[0] == first:
            return leaf
        return jax.lax.slice_in_dim(leaf, 0, first, axis=leaf.ndim - axes)

    return jax.tree.map(real, states)


def over_real_voxels(controller, padded: tuple[int, ...], first: int):
    """The step size controller, blind to the voxels that `split` added."""
    if not isinstance(controller, diffrax.PIDController):
        return controller
    norm = controller.norm
    return eqx.tree_at(lambda c: c.norm, controller, lambda tree: norm(joined(tree, padded, first)))
