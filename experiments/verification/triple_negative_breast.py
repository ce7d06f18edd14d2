"""Triple-negative breast cancer: stresses in closed form, and a course of chemotherapy."""

from functools import cache

import jax.numpy as jnp
import numpy as np
from case import Case

from twinjax.domain import Domain
from twinjax.domain.elasticity import ElasticTissue
from twinjax.model import TripleNegativeBreast
from twinjax.simulation import simulate
from twinjax.treatment import chemotherapy_cycles

# A ball of cells of this radius in a ball of tissue of that, in voxels of 1 mm: the wall does not change the stress.
RADIUS, WALL, SIZE = 6.0, 17.0, 36


@cache
def sphere() -> tuple[np.ndarray, np.ndarray]:
    """Distance of every voxel from the centre, and the von Mises stress per pressure (even stiffness)."""
    axis = np.arange(SIZE) - (SIZE - 1) / 2
    fine = (axis[:, None] + (np.arange(5) - 2) / 5).ravel()
    share = np.sqrt(sum(np.meshgrid(fine**2, fine**2, fine**2))) <= RADIUS
    share = share.reshape(SIZE, 5, SIZE, 5, SIZE, 5).mean(axis=(1, 3, 5))
    distance = np.sqrt(sum(np.meshgrid(axis**2, axis**2, axis**2)))
    tissue = ElasticTissue(4.0, distance <= WALL, (1.0,) * 3)
    return distance, np.asarray(tissue.response(jnp.asarray(share, float)).von_mises)


def shear_share() -> float:
    """2 G / M of the stress around the ball, by least squares in (a / r)³."""
    distance, stress = sphere()
    around = (distance > 1.4 * RADIUS) & (distance < 0.8 * WALL)
    shape = (RADIUS / distance[around]) ** 3
    return float(np.sum(stress[around] * shape) / np.sum(shape**2))


def stress_inside() -> float:
    distance, stress = sphere()
    return float(stress[distance < RADIUS - 2].max())


def slab() -> float:
    """The stress at the end of a slab whose first quarter is under pressure."""
    pressure = jnp.asarray(np.arange(40) < 10, float)
    return float(ElasticTissue(4.0, np.ones(40, bool), (1.0,)).response(pressure).von_mises[0])


def uniform() -> float:
    """The largest displacement under a density of 0.7 throughout."""
    response = ElasticTissue(4.0, np.ones((8, 8, 8), bool), (1.0,) * 3).response(jnp.full((8, 8, 8), 0.7))
    return float(jnp.abs(response.displacement).max())


def weekly_doses() -> float:
    """What twelve weekly doses leave of a tumour that neither grows nor spreads, on day 84."""
    model = TripleNegativeBreast(Domain(np.ones((4, 4, 4)), (2.0,) * 3), diffusivity=0.0, proliferation_rate=0.0)
    drug = {"drug": "paclitaxel", "sensitivity": 0.2, "clearance_rate": 0.7, "reference_dose": 80.0}
    course = chemotherapy_cycles(0, 12, 7, [1], [80], **drug)
    start = jnp.full((4, 4, 4), 0.5)
    after = simulate(model, course, start, [84.0], max_step=7.0).require_success().states[0]
    return float(after[0, 0, 0] / 0.5)


SHARE = (1 - 2 * 0.45) / (1 - 0.45)
SPHERE = "closed form of a sphere under pressure in an elastic medium, 2 G / M = (1 - 2 nu) / (1 - nu)"
CASES = [
    # The closed form is exact; voxels are a sixth of the tumour's radius.
    Case("stress around a sphere of tumour, 2 G / M at nu 0.45", SHARE, shear_share, 1e-3, "1", SPHERE),
    Case("stress inside a sphere of tumour", 0.0, stress_inside, 2e-3, "per unit pressure", SPHERE),
    Case(
        "stress of a slab, a quarter under pressure",
        SHARE * 0.75,
        slab,
        1e-6,
        "per unit pressure",
        "closed form, 2 G / M abs(p - mean p)",
    ),
    Case("displacement under even pressure", 0.0, uniform, 1e-9, "mm", "closed form"),
    Case(
        "surviving fraction of 12 weekly doses (alpha 0.2, beta 0.7 1/day) on day 84",
        0.03250,
        weekly_doses,
        2e-4,
        "1",
        "closed form of the kill rate of Jarrett et al. 2018, Phys Med Biol 63:105015",
    ),
]
