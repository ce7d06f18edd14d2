"""The no-flux diffusion operator div(D grad u) on a voxel mask."""

import math
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from twinjax.domain.execution import Execution
from twinjax.domain.flux import flux_divergence, heun_diffusion, times_one
from twinjax.domain.slabs import with_copies


class DiffusionOperator(eqx.Module):
    """div(D grad u) by finite volumes: fluxes through voxel faces, none through the wall of the mask.

    A face between two voxels carries the harmonic mean of their diffusivities, which is the exact flux for a
    jump at the face (LeVeque 2002, Finite Volume Methods, section 9.5); a face to a voxel outside the mask
    carries none. Second order in the voxel edge on smooth D, and sum(u) is conserved to rounding.

    **Fields:** `faces`, an array per axis: D / h² (1/day) of the face between a voxel and its upper neighbour, in
    the flat order of the voxels behind as many zeros as two neighbours along the first axis lie apart. `scale`
    multiplies all of them: a calibrated diffusivity then has one tangent, not one per face. `strides`: how far apart
    neighbours along each axis lie in the flat order. Further faces, between diagonal neighbours, are those of a
    tensor (`anisotropic_diffusion`); the zeros in front are as many as the longest stride. `execution`: how passes over
    the voxels are made; over several devices the faces before a slab stand in front of it, in place of the zeros.
    """

    faces: tuple[Float[Array, " padded"], ...]
    scale: Float[Array, ""]
    strides: tuple[int, ...] = eqx.field(static=True)
    execution: Execution = eqx.field(static=True, default=Execution())

    @classmethod
    def create(
        cls,
        diffusivity: Float[Array, "*grid"],
        mask: Bool[Array, "*grid"],
        spacing: tuple[float, ...],
        *,
        scale: ArrayLike = 1.0,
    ) -> "DiffusionOperator":
        """From a diffusivity in mm²/day per voxel (times `scale`), the mask and the voxel edges in mm.

        A `scale` on the grid, which differs from place to place, counts as part of the diffusivity.
        """
        if jnp.ndim(scale):
            diffusivity, scale = diffusivity * scale, 1.0
        inside = jnp.where(mask, diffusivity, 0.0)
        strides = tuple(math.prod(inside.shape[axis + 1 :]) for axis in range(inside.ndim))
        rows = []
        for axis, h in enumerate(spacing):
            here, above = (jax.lax.slice_in_dim(inside, start, stop, axis=axis) for start, stop in ((0, -1), (1, None)))
            total = here + above
            # Not `total > 0`, which would take NaN for a wall. The double where keeps the gradient finite where
            # both sides are walls.
            wall = total <= 0
            mean = jnp.where(wall, 0.0, 2 * here * above / jnp.where(wall, 1.0, total)) / h**2
            # The last voxel of an axis has no upper face, so what follows it in flat order is not its neighbour.
            to_grid = [(0, int(a == axis)) for a in range(inside.ndim)]
            rows.append(jnp.pad(jnp.pad(mean, to_grid).reshape(-1), (strides[0], 0)))
        return cls(tuple(rows), jnp.asarray(scale, float), strides)

    def __call__(self, u: Float[Array, "..."]) -> Float[Array, "..."]:
        """div(D grad u) in units of u per day, for `u` on the grid or in flat order."""
        return self.scale * flux_divergence(self.faces, u.reshape(-1), self.strides, self.execution).reshape(u.shape)

    def stencil(self, voxels: Int[Array, "*some"]) -> tuple[Int[Array, "*some faces"], Float[Array, "*some faces"]]:
        """The neighbours of some voxels (flat order), and what each exchanges with the voxel, 1/day.

        sum_k exchange[i, k] (u[neighbours[i, k]] - u[i]) is the operator at voxel i. Behind a wall, where nothing is
        exchanged, any voxel may stand for the neighbour. Of an operator of the default execution.
        """
        lead = max(self.strides)
        size = self.faces[0].size - lead
        neighbours, exchanges = [], []
        for face, stride in zip(self.faces, self.strides, strict=True):
            neighbours += [voxels + stride, voxels - stride]
            exchanges += [face[lead + voxels], face[lead + voxels - stride]]
        return jnp.clip(jnp.stack(neighbours, -1), 0, size - 1), self.scale * jnp.stack(exchanges, -1)

    def by(self, execution: Execution) -> "DiffusionOperator":
        """The same operator with passes made by `execution`; over several devices, within a compiled program only.

        It must be one of the default execution so far.
        """
        faces = tuple(with_copies(face, max(self.strides), execution) for face in self.faces)
        return DiffusionOperator(faces, self.scale, self.strides, execution)

    def over(self, duration: ArrayLike) -> "DiffusionStep":
        """`duration` (days) times this operator: for an explicit step of that length."""
        factor = self.scale * duration
        # Nothing that moves still has a derivative in its diffusivity, so the constant is never zero.
        constant = jax.lax.stop_gradient(factor)
        constant = jnp.where(jnp.abs(constant) < 1e-20, 1e-20, constant)
        faces = tuple(constant * face for face in self.faces)
        return DiffusionStep(faces, factor / constant, self.strides, self.execution)

    @property
    def spectral_radius(self) -> Float[Array, ""]:
        """An upper bound of the largest eigenvalue of -operator (1/day), by Gershgorin's circles."""
        lead = max(self.strides)
        faces = [face.reshape(self.execution.slabs, -1) for face in self.faces]
        size = faces[0].shape[1] - lead
        pairs = [(f[:, lead:], f[:, lead - s : lead - s + size]) for f, s in zip(faces, self.strides, strict=True)]
        outflow = sum((a + b for a, b in pairs), jnp.zeros(()))
        # Between diagonal neighbours the exchange may be negative.
        coupling = sum((jnp.abs(a) + jnp.abs(b) for a, b in pairs), jnp.zeros(()))
        return self.scale * jnp.max(outflow + coupling)


class DiffusionStep(eqx.Module):
    """A diffusion operator times a duration, both multiplied into the faces.

    A scalar that XLA knows only at run time, inside the pass over the voxels, would cost twice the time of the pass
    (jaxlib 0.10, CPU). `relative` is 1 and carries the tangent of scale and duration: one number, where the faces
    would have one tangent each.
    """

    faces: tuple[Float[Array, " padded"], ...]
    relative: Float[Array, ""]
    strides: tuple[int, ...] = eqx.field(static=True)
    execution: Execution = eqx.field(static=True, default=Execution())

    def __call__(self, u: Float[Array, " voxels"]) -> Float[Array, " voxels"]:
        """The change of `u` (in flat order) to first order in the duration."""
        return times_one(self.relative, flux_divergence(self.faces, u, self.strides, self.execution))

    def second_order(self, u: Float[Array, " voxels"]) -> Float[Array, " voxels"]:
        """`u` after the duration, by Heun's method: u + L u + L² u / 2."""
        return heun_diffusion(self.faces, self.relative, u, self.strides, self.execution)


Operator = TypeVar("Operator", DiffusionOperator, DiffusionStep)


def with_resistance(operator: Operator, resistance: Float[Array, "..."]) -> Operator:
    """An operator of even diffusivity, with that of each voxel divided by its `resistance` (on the grid or flat).

    The harmonic mean over a face is 2 / (sum of the two resistances).
    """
    flat, lead = resistance.reshape(-1), operator.strides[0]
    faces = []
    for face, stride in zip(operator.faces, operator.strides, strict=True):
        above = jnp.concatenate([flat[stride:], jnp.ones(stride, flat.dtype)])
        faces.append(face * with_copies(jnp.pad(2 / (flat + above), (lead, 0)), lead, operator.execution))
    return eqx.tree_at(lambda o: o.faces, operator, tuple(faces))
