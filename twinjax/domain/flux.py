"""Fluxes through voxel faces, as JAX primitives: for the sake of their derivatives, and of what XLA makes of them.

With T(f, u, w) = -sum f (du) (dw) over all faces, d the difference across a face, the diffusion operator is the
derivative of T in w. T is symmetric in u and w, so the transpose of the operator in u is itself, and in f it is
-du dw: one pass over the voxels each. What JAX derives from shifted reads is a sum of padded arrays, which XLA
evaluates several times slower.

Fields are in flat order: on a grid of three axes the short innermost rows would keep XLA from vectorising. `strides`
says how far apart neighbours along each axis lie. Faces are laid out as in `DiffusionOperator.faces`.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float


def flux_divergence(
    faces: Float[Array, "... axes padded"], u: Float[Array, "... voxels"], strides
) -> Float[Array, "... voxels"]:
    """Sum over a voxel's faces of face * (neighbour - voxel): linear in `faces` and in `u`."""
    return _divergence_p.bind(faces, u, strides=strides)


def heun_diffusion(
    faces: Float[Array, "... axes padded"], one: Float[Array, "..."], u: Float[Array, "... voxels"], strides
) -> Float[Array, "... voxels"]:
    """u + L u + L² u / 2 for L = one * flux divergence; `one` is 1, and only its tangent counts."""
    return _heun_p.bind(faces, one, u, strides=strides, fenced=False)


def times_one(one: Float[Array, "..."], u: Float[Array, "... voxels"]) -> Float[Array, "... voxels"]:
    """`u`, with the derivatives of one * u at one = 1."""
    return _times_one_p.bind(one, u)


def materialise(x: Array) -> Array:
    """`x` itself, which XLA computes once and stores.

    On the CPU XLA drops its optimisation barriers before it fuses, and computes a stencil that two passes read in
    both. A branch that it cannot foresee stops it.
    """
    return _materialise_p.bind(x)


def _padded(u, strides):
    """One copy with zeros on both ends makes every read of a neighbour a contiguous slice."""
    return jnp.pad(u, [(0, 0)] * (u.ndim - 1) + [(strides[0], strides[0])])


def _neighbours(padded, strides):
    """(the voxels, and per axis their upper and lower neighbours); zero beyond the ends."""
    lead = strides[0]
    size = padded.shape[-1] - 2 * lead
    above, below = ([padded[..., lead + sign * s :][..., :size] for s in strides] for sign in (1, -1))
    return padded[..., lead : lead + size], above, below


def _divergence(faces, u, *, strides):
    return _padded_divergence(faces, _padded(u, strides), strides)


def _padded_divergence(faces, padded, strides):
    here, above, below = _neighbours(padded, strides)
    change = 0.0
    for axis, stride in enumerate(strides):
        upper = faces[..., axis, strides[0] :]
        lower = faces[..., axis, strides[0] - stride : faces.shape[-1] - stride]
        change = change + upper * (above[axis] - here) + lower * (below[axis] - here)
    return change


def _face_products(u, w, *, strides):
    """-du dw on every face."""
    u_here, u_above, _ = _neighbours(_padded(u, strides), strides)
    w_here, w_above, _ = _neighbours(_padded(w, strides), strides)
    rows = [(u_here - du) * (dw - w_here) for du, dw in zip(u_above, w_above, strict=True)]
    products = jnp.stack(rows, axis=-2)
    return jnp.pad(products, [(0, 0)] * (products.ndim - 1) + [(strides[0], 0)])


def _heun(faces, one, u, *, strides, fenced):
    def to_middle(u):
        return _padded(u + 0.5 * _divergence(faces, u, strides=strides), strides)

    middle = _fenced(to_middle, u) if fenced else to_middle(u)
    return u + _padded_divergence(faces, middle, strides)


def _times_one(one, u):
    return jnp.broadcast_to(u, jnp.broadcast_shapes(one.shape, u.shape[:-1]) + u.shape[-1:])


def _stored(x):
    return _fenced(lambda y: y, x)


def _fenced(evaluate, x):
    """`evaluate(x)`, in a branch: XLA stores what goes in and what comes out."""
    first = x.reshape(-1)[0]
    # Always true, of NaN too, but not to XLA; what stands in the other branch never runs.
    always = (first == first) | (first != first)
    return jax.lax.cond(always, evaluate, lambda y: jnp.full_like(jax.eval_shape(evaluate, y), jnp.nan), x)


def _primitive(name: str, evaluate, events, parameters=("strides",)) -> Primitive:
    """A primitive whose operands have leading axes that broadcast as in NumPy, and `events` axes behind them."""

    def batch(operands, dimensions, **values):
        leading = [x.ndim - n - (d is not None) for x, d, n in zip(operands, dimensions, events, strict=True)]
        moved = []
        for x, dimension, own in zip(operands, dimensions, leading, strict=True):
            if dimension is not None:
                x = jnp.moveaxis(x, dimension, 0)
                x = x.reshape(x.shape[0], *[1] * (max(leading) - own), *x.shape[1:])
            moved.append(x)
        return primitive.bind(*moved, **values), 0

    def abstract(*operands, **values):
        structs = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in operands]
        out = jax.eval_shape(partial(evaluate, **values), *structs)
        return ShapedArray(out.shape, out.dtype)

    primitive = Primitive(name)
    primitive.def_impl(jax.jit(evaluate, static_argnames=parameters))
    primitive.def_abstract_eval(abstract)
    mlir.register_lowering(primitive, mlir.lower_fun(evaluate, multiple_results=False))
    batching.primitive_batchers[primitive] = batch
    return primitive


def _summed(x, shape):
    """`x` summed over the axes along which an operand of `shape` was broadcast."""
    x = x.sum(range(x.ndim - len(shape)))
    return x.sum([axis for axis, n in enumerate(shape) if n == 1 < x.shape[axis]], keepdims=True)


def _bilinear(primitive, first, second):
    """Derivatives of a primitive bilinear in two operands; `first` and `second` give their cotangents."""
    ad.defbilinear(
        primitive,
        lambda w, x, y, strides: _summed(first(w, x, y, strides), x.aval.shape),
        lambda w, x, y, strides: _summed(second(w, x, y, strides), y.aval.shape),
    )


_divergence_p = _primitive("flux_divergence", _divergence, (2, 1))
_face_products_p = _primitive("face_products", _face_products, (1, 1))
_bilinear(
    _divergence_p,
    lambda w, faces, u, strides: _face_products_p.bind(u, w, strides=strides),
    lambda w, faces, u, strides: _divergence_p.bind(faces, w, strides=strides),
)
_bilinear(
    _face_products_p,
    lambda faces, u, w, strides: _divergence_p.bind(faces, w, strides=strides),
    lambda faces, u, w, strides: _divergence_p.bind(faces, u, strides=strides),
)


def _is_zero(tangent) -> bool:
    return isinstance(tangent, ad.Zero)


def _times_one_jvp(primals, tangents):
    (one, u), (of_one, of_u) = primals, tangents
    out, terms = times_one(one, u), []
    if not _is_zero(of_u):
        terms.append(times_one(one, of_u))
    if not _is_zero(of_one):
        terms.append(of_one[..., None] * u)
    return out, sum(terms[1:], terms[0])


_times_one_p = _primitive("times_one", _times_one, (0, 1), ())
ad.primitive_jvps[_times_one_p] = _times_one_jvp
ad.primitive_transposes[_times_one_p] = lambda w, one, u: (None, _summed(times_one(one, w), u.aval.shape))


def _heun_jvp(primals, tangents, *, strides, fenced):
    (faces, one, u), (of_faces, of_one, of_u) = primals, tangents

    def change(faces, u):
        return times_one(one, flux_divergence(faces, u, strides))

    terms = []
    if not _is_zero(of_u):
        terms.append(_heun_p.bind(faces, one, of_u, strides=strides, fenced=True))
    if _is_zero(of_faces) and _is_zero(of_one):
        return heun_diffusion(faces, one, u, strides), sum(terms[1:], terms[0])
    first = materialise(change(faces, u))
    middle = u + 0.5 * first
    second = materialise(change(faces, middle))
    if not _is_zero(of_one):
        # d/dg of g L u + g² L² u / 2 at g = 1, which is the one that has this tangent.
        terms.append(of_one[..., None] * times_one(1 / one, 2 * second - first))
    if not _is_zero(of_faces):
        terms.append(change(of_faces, middle) + 0.5 * change(faces, change(of_faces, u)))
    return u + second, sum(terms[1:], terms[0])


def _heun_transpose(w, faces, one, u, *, strides, fenced):
    # A polynomial of a symmetric operator is symmetric.
    return None, None, _summed(_heun_p.bind(faces, one, w, strides=strides, fenced=True), u.aval.shape)


_heun_p = _primitive("heun_diffusion", _heun, (2, 0, 1), ("strides", "fenced"))
ad.primitive_jvps[_heun_p] = _heun_jvp
ad.primitive_transposes[_heun_p] = _heun_transpose

_materialise_p = _primitive("materialise", _stored, (1,), ())
ad.deflinear(_materialise_p, lambda cotangent: [materialise(cotangent)])
