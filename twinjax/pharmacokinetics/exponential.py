"""Sums of decaying exponentials without cancellation or overflow: the closed forms of linear pharmacokinetics.

Written with s for the time in units of the interval, a and b for rates times its length (>= 0):

    phi_0(a) = exp(-a),    phi_k(a) = integral over [0, 1] of phi_{k-1}(a s) s^(k-1) ds      (k >= 1)
    psi_1(a, b) = (exp(-a) - exp(-b)) / (b - a)
    psi_k(a, b) = integral over [0, 1] of psi_{k-1}(a s, b s) s^(k-1) ds                     (k >= 2)

phi_k are the functions of exponential integrators (Hochbruck and Ostermann 2010, Acta Numerica 19:209) at -a; psi_k
are their divided differences: what one exponential stage leaves after another one has fed it. Both follow from the
recursions phi_k = (1 / (k-1)! - phi_{k-1}) / a and psi_k = (phi_{k-1}(a) - psi_{k-1}(a, b)) / b, upwards; where the
divisor is small, downwards from the power series of the highest one.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array

from twinjax.core.products import product

# Below this the upward recursions lose digits, and TERMS terms of the series are exact in double precision.
SMALL = 1.0
TERMS = 20


def phi(order: int, a) -> tuple[Array, ...]:
    """phi_0 to phi_order of a >= 0, elementwise."""
    small = a < SMALL
    # What is not chosen must stay finite too, or its gradient would be NaN.
    large, little = jnp.where(small, SMALL, a), jnp.where(small, a, 0.0)
    up = [jnp.exp(-large)]
    for k in range(1, order + 1):
        up.append((1 / math.factorial(k - 1) - up[-1]) / large if k > 1 else -jnp.expm1(-large) / large)
    down = [_series(order, little)]
    for k in range(order, 0, -1):
        down.insert(0, 1 / math.factorial(k - 1) - little * down[0])
    return tuple(jnp.where(small, low, high) for low, high in zip(down, up, strict=True))


def psi(order: int, a, b) -> tuple[Array, ...]:
    """psi_1 to psi_order of a, b >= 0, elementwise; symmetric in a and b, which may be equal."""
    low, high = jnp.minimum(a, b), jnp.maximum(a, b)
    first = jnp.exp(-low) * phi(1, high - low)[1]
    if order == 1:
        return (first,)
    small = high < SMALL
    large, little = jnp.where(small, SMALL, high), jnp.where(small, high, 0.0)
    single = phi(order - 1, low)
    up = [first]
    for k in range(2, order + 1):
        up.append((single[k - 1] - up[-1]) / large)
    down = [_double_series(order, jnp.where(small, low, 0.0), little)]
    for k in range(order, 2, -1):
        down.insert(0, single[k - 1] - little * down[0])
    return first, *(jnp.where(small, below, above) for below, above in zip(down, up[1:], strict=True))


def _series(order: int, a):
    """sum over n of (-a)^n / (n + order)!."""
    return product(_powers(-a), jnp.asarray(_coefficients(order)[:TERMS], a.dtype))


def _double_series(order: int, a, b):
    """sum over i, j of (-a)^i (-b)^j / (i + j + order)!."""
    table = [_coefficients(order)[i : i + TERMS] for i in range(TERMS)]
    return jnp.sum(product(_powers(-a), jnp.asarray(table, a.dtype)) * _powers(-b), axis=-1)


def _coefficients(order: int) -> list[float]:
    return [1 / math.factorial(n + order) for n in range(2 * TERMS)]


def _powers(a):
    # As a product of matrices the series stays small for the compiler, which would unroll it at every use.
    return a[..., None] ** jnp.arange(TERMS)
