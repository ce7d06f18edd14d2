"""The log likelihood of each datum: what reweighting and model choice are made of."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from twinjax.calibration.problem import InverseProblem

# Draws that are solved by one call, so that any number of them needs one program.
CHUNK = 25


def datum_log_likelihoods(
    problem: InverseProblem, z: Float[np.ndarray, "draws parameters"]
) -> Float[np.ndarray, "draws data"]:
    """The log likelihood of every datum of `problem.data` for every draw; minus infinity where the solve fails.

    A datum is all that one observation gave on one day: of a scan, its voxels together. One solve a draw.
    """
    chunks = []
    for first in range(0, len(z), CHUNK):
        chunk = np.asarray(z[first : first + CHUNK], float)
        filled = np.concatenate([chunk, np.repeat(chunk[-1:], CHUNK - len(chunk), axis=0)])
        chunks.append(np.asarray(_of_chunk(problem, jnp.asarray(filled)), float)[: len(chunk)])
    return np.concatenate(chunks)


@eqx.filter_jit
def _of_chunk(problem: InverseProblem, z: Float[Array, "draws parameters"]) -> Float[Array, "draws data"]:
    def one(z):
        values = problem.log_likelihoods(z)
        return jnp.where(jnp.isfinite(values), values, -jnp.inf)

    return jax.lax.map(one, z)
