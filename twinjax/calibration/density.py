"""The log density as samplers ask for it: with a gradient of the cheaper mode, and of many points at once."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import stats

from twinjax.calibration.filled import filled
from twinjax.calibration.problem import InverseProblem
from twinjax.core.products import product
from twinjax.model import AbstractSpatialModel
from twinjax.simulation import side_by_side

# Up to so many parameters a gradient in forward mode is the quicker. On a grid, whose solver has an adjoint of its own,
# both modes cost about the same at four (docs/which-solver.md); without space the six unknowns of
# conf/model/lung_volume.yaml took 110 ms in forward and 232 ms in reverse mode.
MOST_FORWARD_ON_A_GRID, MOST_FORWARD_WITHOUT_SPACE = 4, 12
# Points that one call solves.
CHUNK = 20


def differentiable_log_density(problem: InverseProblem, z: Float[Array, " parameters"]) -> Float[Array, ""]:
    """`InverseProblem.log_density`, whose reverse-mode gradient is taken in forward mode where that is cheaper.

    Forward mode solves once with one tangent for every parameter, and stores nothing of the way. The density is linear
    about `z` here: it has no second derivative.
    """
    spatial = isinstance(problem.tumor.model, AbstractSpatialModel)
    if problem.dimension > (MOST_FORWARD_ON_A_GRID if spatial else MOST_FORWARD_WITHOUT_SPACE):
        return problem.log_density(z)
    still = jax.lax.stop_gradient(z)

    def along(direction):
        return jax.jvp(lambda z: problem.log_density(z, adjoint=diffrax.ForwardMode()), (still,), (direction,))

    value, gradient = jax.vmap(along, out_axes=(None, 0))(jnp.eye(problem.dimension))
    # Where a solve fails the value says so; a gradient of NaN would turn minus infinity into NaN.
    gradient = jnp.where(jnp.isfinite(gradient), gradient, 0.0)
    return value + product(gradient, z - still)


def log_densities(problem: InverseProblem, z: Float[np.ndarray, "points parameters"]) -> Float[np.ndarray, " points"]:
    """`InverseProblem.log_density` at every point."""
    return datum_log_likelihoods(problem, z).sum(axis=1) + stats.norm.logpdf(z).sum(axis=1)


def datum_log_likelihoods(
    problem: InverseProblem, z: Float[np.ndarray, "points parameters"]
) -> Float[np.ndarray, "points data"]:
    """The log likelihood of every datum of `problem.data` at every point; minus infinity where the solve fails.

    A datum is all that one observation gave on one day: of a scan, its voxels together. One solve a point; any number
    of them needs one program.
    """
    found, (shared, places, _) = [], filled(problem)
    for first in range(0, len(z), CHUNK):
        chunk = np.asarray(z[first : first + CHUNK], float)
        whole = np.concatenate([chunk, np.repeat(chunk[-1:], CHUNK - len(chunk), axis=0)])
        found.append(np.asarray(_chunk(shared, jnp.asarray(whole)), float)[: len(chunk), places])
    likelihoods = np.concatenate(found)
    return np.where(np.isfinite(likelihoods), likelihoods, -np.inf)


@eqx.filter_jit
def _chunk(problem: InverseProblem, z):
    return jax.lax.map(problem.log_likelihoods, z, batch_size=CHUNK if side_by_side(problem.tumor.model) else None)
