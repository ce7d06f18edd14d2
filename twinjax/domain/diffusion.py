"""The no-flux diffusion operator div(D grad u) on a voxel mask."""

import math
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, ArrayLike, Bool, Float


class DiffusionOperator(eqx.Module):
    """div(D grad u) by finite volumes: fluxes through voxel faces, none through the wall of the mask.

    A face between two voxels carries the harmonic mean of their diffusivities, which is the exact flux for a
    jump at the face (LeVeque 2002, Finite Volume Methods, section 9.5); a face to a voxel outside the mask
    carries none. Second order in the voxel edge on smooth D, and sum(u) is conserved to rounding.

    **Fields:** `faces`, one row per axis: D / h² (1/day) of the face between a voxel and its upper neighbour, in
    the flat order of the voxels behind as many zeros as two neighbours along the first axis lie apart. `scale`
    multiplies all of them: a calibrated diffusivity then has one tangent, not one per face. `strides`: how far apart
    neighbours along each axis lie in the flat order.
    """

    faces: Float[Array, "axes padded"]
    scale: Float[Array, ""]
    strides: tuple[int, ...] = eqx.field(static=True)

    @classmethod
    def create(
        cls,
        diffusivity: Float[Array, "*grid"],
        mask: Bool[Array, "*grid"],
        spacing: tuple[float, ...],
        *,
        scale: ArrayLike = 1.0,
    ) -> "DiffusionOperator":
        """From a diffusivity in mm²/day per voxel (times `scale`), the mask and the voxel edges in mm."""
        inside = jnp.where(mask, diffusivity, 0.0)
        strides = _strides(inside.shape)
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
        return cls(jnp.stack(rows), jnp.asarray(scale, float), strides)

    def __call__(self, u: Float[Array, "..."]) -> Float[Array, "..."]:
        """div(D grad u) in units of u per day, for `u` on the grid or in flat order."""
        return self.scale * flux_divergence(self.faces, u.reshape(-1), self.strides).reshape(u.shape)

    def over(self, duration: ArrayLike) -> "DiffusionStep":
        """`duration` (days) times this operator: for an explicit step of that length."""
        factor = self.scale * duration
        # Nothing that moves still has a derivative in its diffusivity, so the constant is never zero.
        constant = jax.lax.stop_gradient(factor)
        constant = jnp.where(jnp.abs(constant) < 1e-20, 1e-20, constant)
        return DiffusionStep(constant * self.faces, factor / constant, self.strides)

    @property
    def spectral_radius(self) -> Float[Array, ""]:
        """An upper bound of the largest eigenvalue of -operator (1/day), by Gershgorin's circles."""
        lead = self.strides[0]
        outflow = sum(
            (self.faces[a, lead:] + self.faces[a, lead - s : -s] for a, s in enumerate(self.strides)), jnp.zeros(())
        )
        return 2 * self.scale * jnp.max(outflow)


class DiffusionStep(eqx.Module):
    """A diffusion operator times a duration, both multiplied into the faces.

    A scalar that XLA knows only at run time, inside the pass over the voxels, would cost twice the time of the pass
    (jaxlib 0.10, CPU). `relative` is 1 and carries the tangent of scale and duration: one number, where the faces
    would have one tangent each.
    """

    faces: Float[Array, "axes padded"]
    relative: Float[Array, ""]
    strides: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, u: Float[Array, " voxels"]) -> Float[Array, " voxels"]:
        """The change of `u` (in flat order) to first order in the duration."""
        return _times_one(self.relative, flux_divergence(self.faces, u, self.strides))


@jax.custom_jvp
def _times_one(one, u):
    return u


@_times_one.defjvp
def _(primals, tangents):
    (_, u), (factor, change) = primals, tangents
    return u, change + factor * u


def flux_divergence(
    faces: Float[Array, "axes padded"], u: Float[Array, " voxels"], strides: tuple[int, ...]
) -> Float[Array, " voxels"]:
    """Sum over a voxel's faces of face * (neighbour - voxel): the operator, linear in `faces` and in `u`.

    A primitive of its own for the sake of its derivatives. With T(f, u, w) = -sum f (du) (dw) over all faces, where
    d is the difference across a face, this is the derivative of T in w; it is symmetric in u and w, so its transpose
    in u is itself, and its transpose in f is `-du dw`, one pass over the voxels each. What JAX derives from the
    shifted reads is a sum of padded arrays, which XLA evaluates several times slower.

    All is in flat order: on a grid of three axes the short innermost rows would keep XLA from vectorising.
    """
    return _divergence_p.bind(faces, u, strides=strides)


def _strides(shape) -> tuple[int, ...]:
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _neighbours(u, strides):
    """(u itself, and per axis its upper and lower neighbours); zero beyond the ends."""
    lead, size = strides[0], u.shape[-1]
    # One padded copy makes every read of a neighbour a contiguous slice. The barrier keeps XLA from reading through
    # the copy into whatever made `u`, which would then be computed once for every neighbour.
    padded = jax.lax.optimization_barrier(jnp.pad(u, [(0, 0)] * (u.ndim - 1) + [(lead, lead)]))
    above, below = ([padded[..., lead + sign * s :][..., :size] for s in strides] for sign in (1, -1))
    return padded[..., lead : lead + size], above, below


def _divergence(faces, u, *, strides):
    here, above, below = _neighbours(u, strides)
    change = 0.0
    for axis, stride in enumerate(strides):
        upper = faces[..., axis, strides[0] :]
        lower = faces[..., axis, strides[0] - stride : faces.shape[-1] - stride]
        change = change + upper * (above[axis] - here) + lower * (below[axis] - here)
    return change


def _face_products(u, w, *, strides):
    """-du dw on every face, in the layout of `DiffusionOperator.faces`."""
    u_here, u_above, _ = _neighbours(u, strides)
    w_here, w_above, _ = _neighbours(w, strides)
    rows = [(u_here - du) * (dw - w_here) for du, dw in zip(u_above, w_above, strict=True)]
    products = jnp.stack(rows, axis=-2)
    return jnp.pad(products, [(0, 0)] * (products.ndim - 1) + [(strides[0], 0)])


def _bilinear(name: str, evaluate, events) -> Primitive:
    """A primitive bilinear in two operands, with leading axes that broadcast as in NumPy.

    `events` are the numbers of axes of the two operands behind the leading ones.
    """

    def batch(operands, dimensions, *, strides):
        leading = [x.ndim - n - (d is not None) for x, d, n in zip(operands, dimensions, events, strict=True)]
        moved = []
        for x, dimension, own in zip(operands, dimensions, leading, strict=True):
            if dimension is not None:
                x = jnp.moveaxis(x, dimension, 0)
                x = x.reshape(x.shape[0], *[1] * (max(leading) - own), *x.shape[1:])
            moved.append(x)
        return primitive.bind(*moved, strides=strides), 0

    def abstract(*operands, strides):
        structs = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in operands]
        out = jax.eval_shape(partial(evaluate, strides=strides), *structs)
        return ShapedArray(out.shape, out.dtype)

    primitive = Primitive(name)
    primitive.def_impl(jax.jit(evaluate, static_argnames="strides"))
    primitive.def_abstract_eval(abstract)
    mlir.register_lowering(primitive, mlir.lower_fun(evaluate, multiple_results=False))
    batching.primitive_batchers[primitive] = batch
    return primitive


_divergence_p = _bilinear("flux_divergence", _divergence, (2, 1))
_face_products_p = _bilinear("face_products", _face_products, (1, 1))


def _transposed(primitive, first, second):
    """Register the transposes of `primitive`: `first` and `second` give the cotangents of its two operands."""

    def summed(rule, which):
        def apply(cotangent, x, y, *, strides):
            like = (x, y)[which].aval.shape
            full = rule(cotangent, x, y, strides)
            extra = full.ndim - len(like)
            full = full.sum(range(extra))
            return full.sum([a for a, n in enumerate(like) if n == 1 < full.shape[a]], keepdims=True)

        return apply

    ad.defbilinear(primitive, summed(first, 0), summed(second, 1))


_transposed(
    _divergence_p,
    lambda w, faces, u, strides: _face_products_p.bind(u, w, strides=strides),
    lambda w, faces, u, strides: _divergence_p.bind(faces, w, strides=strides),
)
_transposed(
    _face_products_p,
    lambda faces, u, w, strides: _divergence_p.bind(faces, w, strides=strides),
    lambda faces, u, w, strides: _divergence_p.bind(faces, u, strides=strides),
)
