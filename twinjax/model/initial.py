"""Initial conditions: states with parameters of their own, so that calibration can reach them."""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.special as jsp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from twinjax.core.errors import InputError
from twinjax.domain import signed_distance

# Of its plateau that a contour may lie at: where draws of level and plateau cross, the core is all plateau.
HIGHEST_SHARE = 0.99


class AbstractInitialCondition(eqx.Module):
    """How large a tumour is at the start; `AbstractTumorModel.initial_state` makes a state of it."""

    @abc.abstractmethod
    def __call__(self, domain) -> Float[Array, "..."]:
        """The cell density on the grid of `domain`, zero outside its mask; without a domain (None) one number."""


class InitialSize(AbstractInitialCondition):
    """ratio * measured, in the unit of a model without space.

    **Fields:** `measured`, what was measured at the start; `ratio` (1) of the true size to it, for calibration.
    """

    measured: Float[Array, ""]
    ratio: Float[Array, ""]

    def __init__(self, measured: ArrayLike, ratio: ArrayLike = 1.0):
        self.measured, self.ratio = jnp.asarray(measured, float), jnp.asarray(ratio, float)

    def __call__(self, domain):
        return self.ratio * self.measured


class DensityField(AbstractInitialCondition):
    """A given density, on the grid of the domain."""

    density: Float[Array, "*grid"]

    def __call__(self, domain):
        return jnp.where(domain.mask, self.density, 0.0)


class ContourProfile(AbstractInitialCondition):
    """A travelling front drawn through the two contours that a first scan shows.

    With the signed distances c to the core's contour and w to the whole tumour's (mm, negative inside), logit(u /
    plateau) runs linearly in c / (c - w) from its value at the core level on the core's contour to that at the oedema
    level on the outer one; beyond it falls by 1 per `tail_width`, and inside the core it rises by 1 per
    `interior_width`. The logit of a Fisher front is linear far ahead of it (1 per sqrt(D / rho)) and far behind it (1
    per 2.4 sqrt(D / rho)); between the contours that is our own assumption, as are that oedema marks infiltration and
    a plateau below the carrying capacity.

    **Fields:** `core_distance`, `whole_distance` (mm, grid), `core_level`, `oedema_level` (density in (0, 1)),
    `tail_width`, `interior_width` (mm), `plateau`, the density deep inside (1: the carrying capacity).
    """

    core_distance: Float[Array, "*grid"]
    whole_distance: Float[Array, "*grid"]
    core_level: Float[Array, ""]
    oedema_level: Float[Array, ""]
    tail_width: Float[Array, ""]
    interior_width: Float[Array, ""]
    plateau: Float[Array, ""]

    def __init__(
        self,
        core_distance,
        whole_distance,
        core_level: ArrayLike = 0.6,
        oedema_level: ArrayLike = 0.25,
        tail_width: ArrayLike = 1.5,
        interior_width: ArrayLike = 3.5,
        plateau: ArrayLike = 1.0,
    ):
        self.core_distance, self.whole_distance = jnp.asarray(core_distance, float), jnp.asarray(whole_distance, float)
        self.core_level, self.oedema_level = jnp.asarray(core_level, float), jnp.asarray(oedema_level, float)
        self.tail_width, self.interior_width = jnp.asarray(tail_width, float), jnp.asarray(interior_width, float)
        self.plateau = jnp.asarray(plateau, float)

    @classmethod
    def from_masks(
        cls, core, whole_tumor, spacing, *, onto: Callable[[np.ndarray], np.ndarray] | None = None, **levels
    ) -> "ContourProfile":
        """From two boolean masks (X, Y, Z) and the voxel edges in mm.

        `onto` brings distances (`signed_distance`) on the grid of the masks to that of the model (the same unless
        given): masks that are resampled first make steps of whole voxels.

        Raises `InputError` for a core that is empty, or smaller than a voxel of the model.
        """
        core = np.asarray(core, bool)
        if not core.any():
            raise InputError("the tumour core is empty at baseline; give a segmentation with a core (labels 1 or 3)")
        whole = core | np.asarray(whole_tumor, bool)
        distances = [signed_distance(region, spacing) for region in (core, whole)]
        if onto is not None:
            # What `onto` puts outside the scan is 0: as far from the tumour as anything in the scan.
            distances = [onto(distance - distance.max()) + distance.max() for distance in distances]
        if not (distances[0] < 0).any():
            raise InputError("the tumour core is smaller than a voxel of the model; choose a finer resolution")
        return cls(*distances, **levels)

    def __call__(self, domain):
        # Where the two contours touch, the front is at least a voxel wide.
        gap = jnp.maximum(self.core_distance - self.whole_distance, min(domain.spacing))
        shares = (self.core_level / self.plateau, self.oedema_level / self.plateau)
        upper, lower = (jsp.logit(jnp.minimum(share, HIGHEST_SHARE)) for share in shares)
        between = upper - (upper - lower) * jnp.clip(self.core_distance / gap, 0, 1)
        inside = jnp.maximum(-self.core_distance, 0) / self.interior_width
        beyond = jnp.maximum(self.whole_distance, 0) / self.tail_width
        return jnp.where(domain.mask, self.plateau * jax.nn.sigmoid(between + inside - beyond), 0.0)


class PointSeed(AbstractInitialCondition):
    """u = amplitude exp(-|x - position - shift|² / (2 radius²)): where a tumour began.

    `position` (axes,) in mm (patient space where the domain has an affine), `radius` in mm; `shift_x`, `shift_y`
    and `shift_z` (mm) move it along the axes of that space, for calibration.
    """

    position: Float[Array, " axes"]
    radius: Float[Array, ""]
    amplitude: Float[Array, ""]
    shift_x: Float[Array, ""]
    shift_y: Float[Array, ""]
    shift_z: Float[Array, ""]

    def __init__(self, position, radius: ArrayLike = 2.0, amplitude: ArrayLike = 0.5):
        self.position = jnp.asarray(position, float)
        self.radius, self.amplitude = jnp.asarray(radius, float), jnp.asarray(amplitude, float)
        self.shift_x = self.shift_y = self.shift_z = jnp.zeros(())

    def __call__(self, domain):
        axes = len(domain.shape)
        center = self.position + jnp.stack([self.shift_x, self.shift_y, self.shift_z])[:axes]
        offset = domain.coordinates() - center.reshape((-1,) + (1,) * axes)
        density = self.amplitude * jnp.exp(-jnp.sum(offset**2, axis=0) / (2 * self.radius**2))
        return jnp.where(domain.mask, density, 0.0)
