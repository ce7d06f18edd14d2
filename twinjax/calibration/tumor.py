"""`Tumor`: all that a calibrated parameter may live in."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from twinjax.calibration.field import Axis
from twinjax.calibration.prior import Prior
from twinjax.core.bucket import step_up
from twinjax.core.errors import InputError
from twinjax.model import AbstractInitialCondition, AbstractSpatialModel, AbstractTumorModel
from twinjax.observation import AbstractObservation
from twinjax.treatment import Regimen

Box = tuple[tuple[int, ...], tuple[int, ...]]

# Voxels of a grid that is filled up: a Jacobian there takes some ten seconds on two cores, as its compilation does, and
# a value in every voxel costs memory.
LARGEST_FILLED = 250_000


class Tumor(eqx.Module):
    """A model, its treatment, its start and how it is seen: the whole of one virtual tumour.

    **Fields:** `corner`: of a box cut out of a grid, where it lies in that grid (mm; static). Empty for a whole grid.
    """

    model: AbstractTumorModel
    regimen: Regimen
    initial: AbstractInitialCondition
    observation: dict[str, AbstractObservation]
    corner: tuple[float, ...] = eqx.field(static=True, default=())

    def state0(self) -> Any:
        """The state at the start."""
        domain = self.model.domain if isinstance(self.model, AbstractSpatialModel) else None
        return self.model.initial_state(self.initial(domain))

    def axes(self) -> tuple[Axis, ...] | None:
        """The axes of the grid, in mm from the corner of the whole grid; None without space."""
        if not isinstance(self.model, AbstractSpatialModel):
            return None
        domain = self.model.domain
        corner = self.corner or (0.0,) * len(domain.shape)
        return tuple((start + h / 2, h, n) for start, h, n in zip(corner, domain.spacing, domain.shape, strict=True))

    def leaves_at(self, path: str) -> list:
        """The leaves behind a dotted path; `regimen.NAME.x` is that of every treatment of that name, `x.0` the first
        of a tuple.

        An empty list where there is no such treatment or observation; `InputError` where the path leads nowhere.
        """
        head, *rest = path.split(".")
        nodes: list = [self]
        if head in ("regimen", "observation") and len(rest) == 2:
            name, *rest = rest
            if head == "regimen":
                nodes = [treatment for treatment in self.regimen.treatments if treatment.name == name]
            else:
                nodes = [self.observation[name]] if name in self.observation else []
        else:
            rest = [head, *rest]
        for key in rest:
            if not all(_has(node, key) for node in nodes):
                raise InputError(f"parameter path '{path}' leads nowhere: there is no '{key}'")
            nodes = [node[int(key)] if isinstance(node, tuple) else getattr(node, key) for node in nodes]
        return nodes

    def with_parameters(self, prior: Prior, z: Array) -> "Tumor":
        """The tumour with the parameters of whitened coordinates `z` in place."""
        values = prior.values(z, self.axes())
        tumor = self
        for parameter in prior.parameters:
            for path in parameter.where:
                tumor = _set(tumor, path, values[parameter.name])
        return tumor

    def filled(self, grid: tuple[int, ...] | None = None) -> "Tumor":
        """The same tumour in one of few shapes: patients whose tumours have the same share compiled programs.

        Numbers of doses are rounded up (`Regimen.filled`), and the edges of the grid (`step_up`), by voxels outside the
        tissue, unless the model depends on where the grid ends. Of a box of `grid` they do not become longer than
        that, which patients of one scanner share. Not for traced values, nor for parameters that are fields.
        """
        other = eqx.tree_at(lambda tumor: tumor.regimen, self, self.regimen.filled())
        if not isinstance(self.model, AbstractSpatialModel) or not self.model.local:
            return other
        shape = self.model.domain.shape
        steps = tuple(map(step_up, shape))
        more = [(0, min(m, most) - n) for n, m, most in zip(shape, steps, grid or steps, strict=True)]

        def on_larger(leaf):
            if jnp.shape(leaf) != shape:
                return leaf
            # Maps are continued, so that what is computed from them stays finite; the mask is not.
            mode: Any = "constant" if leaf.dtype == bool else "edge"
            return jnp.asarray(np.pad(np.asarray(leaf), more, mode=mode))

        large = jax.tree.map(on_larger, other)
        # Where the box lies only fields need to know.
        return Tumor(large.model, large.regimen, large.initial, large.observation)

    def cropped(self, box: Box) -> "Tumor":
        """The same tumour on a box of its grid: every leaf of the grid's shape is cut."""
        assert isinstance(self.model, AbstractSpatialModel)
        domain = self.model.domain
        lower, upper = box
        cut = tuple(slice(a, b) for a, b in zip(lower, upper, strict=True))
        small = jax.tree.map(lambda leaf: leaf[cut] if jnp.shape(leaf) == domain.shape else leaf, self)
        corner = tuple(first - h / 2 + a * h for (first, h, _), a in zip(self.axes() or (), lower, strict=True))
        model = eqx.tree_at(lambda model: model.domain, small.model, domain.cropped(lower, upper))
        return Tumor(model, small.regimen, small.initial, small.observation, corner)


def can_be_filled(tumor: Tumor) -> bool:
    """Whether `Tumor.filled` is worth it: on a large grid a solve takes longer than to compile its program."""
    return not isinstance(tumor.model, AbstractSpatialModel) or tumor.model.domain.mask.size <= LARGEST_FILLED


def each_by_itself(prior: Prior, tumor: Tumor) -> Prior:
    """The prior with a parameter NAME of a tuple of numbers (a network's weights) as one of each: NAME_1, NAME_2, ...

    Raises `InputError` where the places of one parameter hold different counts of numbers.
    """
    counts = {}
    for parameter in prior.parameters:
        leaves = [leaf for path in parameter.where for leaf in tumor.leaves_at(path)]
        found = {len(leaf) if isinstance(leaf, tuple) else None for leaf in leaves}
        if len(found) > 1:
            raise InputError(f"prior of {parameter.name}: its places hold different counts of numbers")
        if (count := next(iter(found), None)) is not None:
            counts[parameter.name] = count
    return prior.repeated(counts) if counts else prior


def placed_prior(prior: Prior, tumor: Tumor) -> Prior:
    """The prior with its fields on the grid of the tumour; `InputError` where the model takes none there."""
    if not prior.fields:
        return prior
    model = tumor.model
    known = [f"model.{name}" for name in model.takes_fields] if isinstance(model, AbstractSpatialModel) else []
    for parameter in prior.parameters:
        if parameter.field is None:
            continue
        if other := [path for path in parameter.where if path not in known]:
            raise InputError(
                f"prior of {parameter.name}: {type(model).__name__} takes no field at '{other[0]}'; "
                + (f"it does at {', '.join(known)}" if known else "leave `field` out")
            )
    axes = tumor.axes() or ()
    return prior.on(tuple(x - h / 2 for x, h, _ in axes), tuple(x + (n - 0.5) * h for x, h, n in axes))


def edge_density(density: Array, box: Box, shape: tuple[int, ...]) -> Array:
    """The largest density on those faces of a box that cut through the grid of `shape`.

    It tells whether cropping mattered: a face of the box is a wall that the grid does not have.
    """
    largest = jnp.zeros(())
    for axis, (lower, upper, size) in enumerate(zip(*box, shape, strict=True)):
        axis = axis - len(shape)
        if lower > 0:
            largest = jnp.maximum(largest, jnp.max(jnp.take(density, 0, axis=axis)))
        if upper < size:
            largest = jnp.maximum(largest, jnp.max(jnp.take(density, -1, axis=axis)))
    return largest


def _has(node, key: str) -> bool:
    return key.isdigit() and int(key) < len(node) if isinstance(node, tuple) else hasattr(node, key)


def _set(tumor: Tumor, path: str, value) -> Tumor:
    """The tumour with every leaf at `path` set; unchanged where there is none (another regimen, say)."""
    count = len(tumor.leaves_at(path))
    return eqx.tree_at(lambda t: t.leaves_at(path), tumor, [value] * count) if count else tumor
