"""Data of which only is known on what side of a limit they lie."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

# So many deviations inside, a datum costs nothing more: its logarithm is lost in rounding.
CERTAIN = 7.0


def limit_deviance(distance) -> Array:
    """√(-2 ln Φ(distance)): of a datum on the right side of its limit by `distance` deviations.

    Half its square is the negative log likelihood, the normal probability of that side (Tobin 1958, Econometrica
    26:24).
    """
    return jnp.sqrt(-2 * jax.scipy.special.log_ndtr(jnp.minimum(distance, CERTAIN)))
