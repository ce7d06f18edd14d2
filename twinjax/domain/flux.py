"""Fluxes through voxel faces, as JAX primitives: for the sake of their derivatives, and of what XLA makes of them.

With T(f, u, w) = -sum f (du) (dw) over all faces, d the difference across a face, the diffusion operator is the
derivative of T in w. T is symmetric in u and w, so the transpose of the operator in u is itself, and in f it is
-du dw: one pass over the voxels each. What JAX derives from shifted reads is a sum of padded arrays, which XLA
evaluates several times slower.

Fields are in flat order: on a grid of three axes the short innermost rows would keep XLA from vectorising. `strides`
says how far apart neighbours along each axis lie. Faces are laid out as in `DiffusionOperator.faces`. `execution` says
by which kernel and on how many devices a pass is made; the derivative rules are the same for all.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

from twinjax.domain.execution import Execution
from twinjax.domain.slabs import in_slabs, with_halo


def flux_divergence(
    faces: Sequence[Float[Array, "... padded"]], u: Float[Array, "... voxels"], strides, execution: Execution
) -> Float[Array, "... voxels"]:
    """Sum over a voxel's faces of face * (neighbour - voxel): linear in `faces` and in `u`."""
    return _divergence_p.bind(*faces, u, strides=strides, execution=execution)


def heun_diffusion(
    faces: Sequence[Float[Array, "... padded"]],
    one: Float[Array, "..."],
    u: Float[Array, "... voxels"],
    strides,
    execution: Execution,
) -> Float[Array, "... voxels"]:
    """u + L u + L² u / 2 for L = one * flux divergence; `one` is 1, and only its tangent counts."""
    return _heun_p.bind(*faces, one, u, strides=strides, fenced=False, execution=execution)


def times_one(one: Float[Array, "..."], u: Float[Array, "... voxels"]) -> Float[Array, "... voxels"]:
    """`u`, with the derivatives of one * u at one = 1."""
    return _times_one_p.bind(one, u)


def materialise(x: Array) -> Array:
    """`x` itself, which XLA computes once and stores.

    On the CPU XLA drops its optimisation barriers before it fuses, and computes a stencil that two passes read in
    both. A branch that it cannot foresee stops it.
    """
    return _materialise_p.bind(x)


def _padded(u, lead, execution):
    """One copy with zeros, or what other devices have, on both ends makes every neighbour a contiguous slice."""
    if execution.mesh is not None:
        return with_halo(u, lead)
    return jnp.pad(u, [(0, 0)] * (u.ndim - 1) + [(lead, lead)])


def _lead(face, u) -> int:
    return face.shape[-1] - u.shape[-1]


def _divergence(*operands, strides, execution, on_gpu):
    *faces, u = operands
    if _by_pallas(execution, on_gpu):
        return _pallas_stage(faces, u, strides, execution, on_gpu)
    return _padded_divergence(faces, _padded(u, _lead(faces[0], u), execution), strides)


def _padded_divergence(faces, padded, strides):
    lead = padded.shape[-1] - faces[0].shape[-1]
    size = padded.shape[-1] - 2 * lead

    def voxels(x, first):
        return x[..., first : first + size]

    here, change = voxels(padded, lead), 0.0
    for face, stride in zip(faces, strides, strict=True):
        change = change + voxels(face, lead) * (voxels(padded, lead + stride) - here)
        change = change + voxels(face, lead - stride) * (voxels(padded, lead - stride) - here)
    return change


def _by_pallas(execution, on_gpu) -> bool:
    return execution.kernel == "pallas" or (execution.kernel == "auto" and on_gpu)


def _pallas_stage(faces, u, strides, execution, on_gpu, **options):
    # Imported late: it takes a third of a second, and only GPUs use it.
    from twinjax.domain.gpu_kernel import stage

    lead = _lead(faces[0], u)
    source = u if execution.mesh is None else with_halo(u, lead)
    return stage(faces, source, strides, lead, interpret=not on_gpu, **options)


def _face_product(u, w, *, stride, lead, execution, on_gpu):
    """-du dw on every face of an axis; in the padding too, so that no element is a case of its own.

    Of a face between two slabs each has a copy, and its share of the product: that of its own w.
    """
    u, w = _padded(u, lead, execution), _padded(w, lead, Execution())
    size = u.shape[-1] - lead
    return (u[..., :size] - u[..., stride : stride + size]) * (w[..., stride : stride + size] - w[..., :size])


def _heun(*operands, strides, fenced, execution, on_gpu):
    *faces, _, u = operands
    if _by_pallas(execution, on_gpu):
        middle = _pallas_stage(faces, u, strides, execution, on_gpu, base=u, weight=0.5)
        return _pallas_stage(faces, middle, strides, execution, on_gpu, base=u)
    lead = _lead(faces[0], u)

    def to_middle(u):
        first = _padded_divergence(faces, _padded(u, lead, execution), strides)
        return _padded(u + 0.5 * first, lead, execution)

    middle = _fenced(to_middle, u, on_gpu) if fenced else to_middle(u)
    return u + _padded_divergence(faces, middle, strides)


def _times_one(one, u, *, on_gpu):
    return jnp.broadcast_to(u, jnp.broadcast_shapes(one.shape, u.shape[:-1]) + u.shape[-1:])


def _stored(x, *, on_gpu):
    return _fenced(lambda y: y, x, on_gpu)


def _fenced(evaluate, x, on_gpu):
    """`evaluate(x)`, in a branch: XLA stores what goes in and what comes out."""
    if on_gpu:
        # A branch would have the GPU wait for the CPU.
        return jax.lax.optimization_barrier(evaluate(jax.lax.optimization_barrier(x)))
    first = x.reshape(-1)[0]
    # Always true, of NaN too, but not to XLA; what stands in the other branch never runs.
    always = (first == first) | (first != first)
    return jax.lax.cond(always, evaluate, lambda y: jnp.full_like(jax.eval_shape(evaluate, y), jnp.nan), x)


def _primitive(name: str, evaluate, parameters=(), scalar: int | None = None) -> Primitive:
    """A primitive whose operands have leading axes that broadcast as in NumPy, and one axis behind them.

    `scalar`: the operand that has none behind, counted from the end. `evaluate` is told whether it is `on_gpu`.
    """

    def whole(*operands, on_gpu=False, **values):
        local = partial(evaluate, on_gpu=on_gpu, **values)
        return in_slabs(local, values.get("execution", Execution()), scalar)(*operands)

    def batch(operands, dimensions, **values):
        events = [1] * len(operands)
        if scalar is not None:
            events[scalar] = 0
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
        out = jax.eval_shape(partial(whole, **values), *structs)
        return ShapedArray(out.shape, out.dtype)

    primitive = Primitive(name)
    primitive.def_impl(jax.jit(primitive.bind, static_argnames=parameters))
    primitive.def_abstract_eval(abstract)
    mlir.register_lowering(primitive, mlir.lower_fun(whole, multiple_results=False))
    mlir.register_lowering(primitive, mlir.lower_fun(partial(whole, on_gpu=True), multiple_results=False), "cuda")
    batching.primitive_batchers[primitive] = batch
    return primitive


def _summed(x, operand):
    """`x` summed over the axes along which `operand`, not known itself, was broadcast."""
    shape = operand.aval.shape
    x = x.sum(range(x.ndim - len(shape)))
    return x.sum([axis for axis, n in enumerate(shape) if n == 1 < x.shape[axis]], keepdims=True)


def _is_zero(tangent) -> bool:
    return isinstance(tangent, ad.Zero)


_divergence_p = _primitive("flux_divergence", _divergence, ("strides", "execution"))
_face_product_p = _primitive("face_product", _face_product, ("stride", "lead", "execution"))


def _divergence_jvp(primals, tangents, *, strides, execution):
    (*faces, u), (*of_faces, of_u) = primals, tangents
    terms = []
    if not _is_zero(of_u):
        terms.append(flux_divergence(faces, of_u, strides, execution))
    if not all(map(_is_zero, of_faces)):
        of_faces = [ad.instantiate_zeros(tangent) for tangent in of_faces]
        terms.append(flux_divergence(of_faces, u, strides, execution))
    return flux_divergence(faces, u, strides, execution), sum(terms[1:], terms[0])


def _divergence_transpose(w, *operands, strides, execution):
    *faces, u = operands
    if ad.is_undefined_primal(u):
        return *[None] * len(faces), _summed(flux_divergence(faces, w, strides, execution), u)
    lead = (faces[0].aval.shape[-1] - u.shape[-1]) // execution.slabs
    products = [_face_product_p.bind(u, w, stride=stride, lead=lead, execution=execution) for stride in strides]
    return *[_summed(product, face) for product, face in zip(products, faces, strict=True)], None


ad.primitive_jvps[_divergence_p] = _divergence_jvp
ad.primitive_transposes[_divergence_p] = _divergence_transpose
ad.defbilinear(
    _face_product_p,
    lambda face, u, w, stride, lead, execution: _summed(flux_divergence((face,), w, (stride,), execution), u),
    lambda face, u, w, stride, lead, execution: _summed(flux_divergence((face,), u, (stride,), execution), w),
)


def _times_one_jvp(primals, tangents):
    (one, u), (of_one, of_u) = primals, tangents
    out, terms = times_one(one, u), []
    if not _is_zero(of_u):
        terms.append(times_one(one, of_u))
    if not _is_zero(of_one):
        terms.append(of_one[..., None] * u)
    return out, sum(terms[1:], terms[0])


_times_one_p = _primitive("times_one", _times_one, scalar=-2)
ad.primitive_jvps[_times_one_p] = _times_one_jvp
ad.primitive_transposes[_times_one_p] = lambda w, one, u: (None, _summed(times_one(one, w), u))


def _heun_jvp(primals, tangents, *, strides, fenced, execution):
    (*faces, one, u), (*of_faces, of_one, of_u) = primals, tangents

    def change(faces, u):
        return times_one(one, flux_divergence(faces, u, strides, execution))

    def along(of_u):
        return _heun_p.bind(*faces, one, of_u, strides=strides, fenced=True, execution=execution)

    still = all(map(_is_zero, of_faces))
    if still and _is_zero(of_one):
        return heun_diffusion(faces, one, u, strides, execution), along(of_u)
    first = materialise(change(faces, u))
    middle = u + 0.5 * first
    second = materialise(change(faces, middle))
    terms = []
    if not _is_zero(of_one):
        # d/dg of g L u + g² L² u / 2 at g = 1, which is the one that has this tangent.
        terms.append(of_one[..., None] * times_one(1 / one, 2 * second - first))
    if still and not _is_zero(of_u):
        terms.append(along(of_u))
    elif not still:
        # Stage by stage, so that in reverse mode the density and the faces share them.
        of_faces = [ad.instantiate_zeros(tangent) for tangent in of_faces]
        of_middle = 0.5 * change(of_faces, u)
        if not _is_zero(of_u):
            of_middle = of_middle + of_u + 0.5 * materialise(change(faces, of_u))
            terms.append(of_u)
        terms.append(change(of_faces, middle) + materialise(change(faces, of_middle)))
    return u + second, sum(terms[1:], terms[0])


def _heun_transpose(w, *operands, strides, fenced, execution):
    # A polynomial of a symmetric operator is symmetric.
    *faces, one, u = operands
    of_u = _summed(_heun_p.bind(*faces, one, w, strides=strides, fenced=True, execution=execution), u)
    return *[None] * len(faces), None, of_u


_heun_p = _primitive("heun_diffusion", _heun, ("strides", "fenced", "execution"), scalar=-2)
ad.primitive_jvps[_heun_p] = _heun_jvp
ad.primitive_transposes[_heun_p] = _heun_transpose

_materialise_p = _primitive("materialise", _stored)
ad.deflinear(_materialise_p, lambda cotangent: [materialise(cotangent)])
