"""Contours: where an observer saw the tumour end."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from twinjax.observation.field import AbstractFieldObservation

# A front is taken to be no flatter than one unit of log odds in so many mm: after treatment a plateau of cells may lie
# near the threshold, where an observer's level, and not the place, is uncertain (0.1 in log odds is then 0.7 mm). Our
# own choice.
FLATTEST_MM = 7.0
# Densities are kept this far from 0 and 1, where log odds are infinite.
LEAST = 1e-6
# White error of a contour (mm): about half a voxel; and what observers and models do over regions. Our own choice.
CONTOUR_NOISE, CONTOUR_DISCREPANCY = 0.7, 1.0


class SegmentationObservation(AbstractFieldObservation):
    """The contour of a region in which the density exceeds a visibility threshold, as `front_distance` in mm.

    Thresholds: T1Gd core 0.6 to 0.8, T2-FLAIR 0.05 to 0.6 of the carrying capacity (Lipkova et al. 2019, IEEE TMI
    38:1875). Data are signed distances in mm, positive inside (minus `twinjax.domain.signed_distance`), of the tissue.
    """

    threshold: Float[Array, ""]
    noise_std: Float[Array, ""]
    discrepancy_std: Float[Array, ""]
    correlation_length_mm: float = eqx.field(static=True)
    contour = True

    def __init__(
        self, threshold, *, noise_std=CONTOUR_NOISE, discrepancy_std=CONTOUR_DISCREPANCY, correlation_length_mm=10.0
    ):
        self.threshold = jnp.asarray(threshold, float)
        self.noise_std, self.discrepancy_std = jnp.asarray(noise_std, float), jnp.asarray(discrepancy_std, float)
        self.correlation_length_mm = float(correlation_length_mm)

    def predict(self, model, state):
        return front_distance(model.cell_density(state), self.threshold, model.domain)


def front_distance(density: Float[Array, "*grid"], threshold, domain) -> Float[Array, "*grid"]:
    """Signed distance (mm, positive where denser) from the contour density = threshold, to first order:

        (logit u - logit threshold) / |grad logit u|

    The logit of a front is nearly straight, far ahead of it and far behind (see `ContourProfile`). How steep the front
    is does not enter, unlike in the likelihood of a mask whose probability rises with the density: that one is the
    likelier the steeper the front, and draws thresholds to where it is steepest (docs/likelihood.md).
    """
    within = jnp.clip(density, LEAST, 1 - LEAST)
    odds = jnp.log(within) - jnp.log1p(-within)
    steepness = 1 / FLATTEST_MM**2
    for axis, spacing in enumerate(domain.spacing):
        # Differences to either neighbour within the tissue.
        both = _ahead(domain.mask, axis) & _behind(domain.mask, axis)
        step = jnp.where(both, (_ahead(odds, axis) - _behind(odds, axis)) / spacing, 0.0)
        pad = [(0, 0)] * odds.ndim
        pad[axis] = (1, 1)
        slopes, known = jnp.pad(step, pad), jnp.pad(both.astype(odds.dtype), pad)
        total = _ahead(slopes, axis) + _behind(slopes, axis)
        steepness += (total / jnp.maximum(_ahead(known, axis) + _behind(known, axis), 1.0)) ** 2
    return (odds - jnp.log(threshold) + jnp.log1p(-threshold)) / jnp.sqrt(steepness)


def _ahead(array, axis: int):
    return array[(slice(None),) * axis + (slice(1, None),)]


def _behind(array, axis: int):
    return array[(slice(None),) * axis + (slice(None, -1),)]
