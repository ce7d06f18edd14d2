"""Levenberg-Marquardt for the weights of a network, on new points in every step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from twinjax.core.products import product

# Damping is raised where a step gains less than this share of what was foreseen, and lowered where more.
LITTLE, MUCH = 0.25, 0.75
LEAST_DAMPING, MOST_DAMPING = 1e-13, 1e3


def linearised(
    residual: Callable[[Array, Any], Array], weights: Float[Array, " weights"], points: Any
) -> tuple[Float[Array, " points"], Float[Array, "points weights"]]:
    """The residuals `residual(weights, point)` at every point, and their derivatives in the weights."""
    return jax.vmap(jax.value_and_grad(residual), (None, 0))(weights, points)


def damped_solutions(
    jacobian: Float[Array, "points weights"], damping, right: Float[Array, "points some"]
) -> Float[Array, "weights some"]:
    """The changes x of the weights with least mean of (J x + right)² plus damping |x|², a column each.

    NaN where rounding leaves the normal equations without a factor: a step to refuse, after which damping is larger.
    """
    count, size = jacobian.shape
    normal = product(jacobian.T, jacobian) / count + damping * jnp.eye(size, dtype=jacobian.dtype)
    factor = jax.scipy.linalg.cho_factor(normal)
    return -jax.scipy.linalg.cho_solve(factor, product(jacobian.T, right) / count)


def next_damping(damping, before, foreseen, after) -> tuple[Array, Array]:
    """Whether the mean square fell from `before` to `after`, and the damping of the next step.

    `foreseen`: what the linearised residuals gave.
    """
    accepted = after < before
    gain = (before - after) / jnp.maximum(before - foreseen, 1e-30)
    factor = jnp.where(gain > MUCH, 1 / 3, jnp.where(gain > LITTLE, 1.0, 2.0))
    return accepted, jnp.clip(damping * jnp.where(accepted, factor, 4.0), LEAST_DAMPING, MOST_DAMPING)
