"""Brains that differ: the ICBM152 brain, turned, stretched, bent and sharpened at random. Synthetic."""

import functools

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.imaging.template import brain_template

# Of the random map: turns about each axis, stretch along each, bending with its length; our own choice.
TURN_DEGREES, STRETCH, BEND_MM, BEND_LENGTH_MM = 12.0, 0.1, 4.0, 18.0
# The template is an average of 152 people and blurred: fractions are raised to a power between these and normalised.
SHARPEST = 6.0


def varied_brain(
    seed: int, *, voxels: int = 48, resolution_mm: float = 2.0, center_mm: tuple[float, float, float] | None = None
) -> Domain:
    """A cube of brain about a random place in the tissue of a brain of its own; equal seeds give equal brains.

    Of the ICBM152 tissue maps, which may be mirrored, it is what a random turn, stretch and smooth bend makes, about
    `center_mm` (MNI) where that is given. How sharp the tissues are apart differs too.

    **Returns** a `Domain` of `voxels`³ whose origin (mm) is the middle of the cube, with the maps `white_matter` and
    `grey_matter`; at least half a voxel's white and grey matter make the mask. Raises `InputError` for a grid or a
    place that holds no tissue.
    """
    if voxels < 4 or not 0.5 <= resolution_mm <= 10:
        raise InputError("a varied brain needs at least 4 voxels an edge and a resolution_mm of 0.5 to 10")
    rng = np.random.default_rng([seed, 7])
    maps, to_index = _template()
    center = _place(maps, to_index, rng) if center_mm is None else np.asarray(center_mm, float)
    affine = np.diag([resolution_mm] * 3 + [1.0])
    affine[:3, 3] = -(voxels - 1) / 2 * resolution_mm
    points = np.indices((voxels,) * 3).reshape(3, -1) * resolution_mm + affine[:3, 3:]
    there = _moved(points, voxels, resolution_mm, rng) + center[:, None]
    index = to_index[:3, :3] @ there + to_index[:3, 3:]
    white, grey = (ndimage.map_coordinates(tissue, index, order=1, cval=0.0) for tissue in maps)
    power = rng.uniform(1.0, SHARPEST)
    shares = np.clip(np.stack([white, grey, 1 - white - grey]), 0, 1) ** power
    white, grey, _ = (shares / shares.sum(axis=0)).reshape(3, voxels, voxels, voxels)
    return Domain.from_tissue(white, grey, affine)


@functools.cache
def _template() -> tuple[np.ndarray, np.ndarray]:
    """(2, X, Y, Z) white and grey matter of the template at 1 mm, and the affine from MNI to its index."""
    template = brain_template(1.0)
    assert template.white_matter is not None and template.grey_matter is not None
    return np.stack([template.white_matter, template.grey_matter]), np.linalg.inv(template.affine)


def _place(maps: np.ndarray, to_index: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A place (MNI, mm) that is tissue, half of the time white matter."""
    wanted = maps[0] > 0.5 if rng.random() < 0.5 else maps.sum(axis=0) > 0.5
    index = np.argwhere(wanted)[rng.integers(wanted.sum())]
    return np.linalg.solve(to_index, [*index, 1.0])[:3]


def _moved(points: np.ndarray, voxels: int, resolution_mm: float, rng: np.random.Generator) -> np.ndarray:
    """(3, N) where in the template the points of the cube come from; its middle stays."""
    turn = Rotation.from_euler("xyz", rng.uniform(-TURN_DEGREES, TURN_DEGREES, 3), degrees=True).as_matrix()
    stretch = np.exp(rng.uniform(-STRETCH, STRETCH, 3))
    mirror = np.array([rng.choice([-1.0, 1.0]), 1.0, 1.0])
    noise = rng.standard_normal((3, *(voxels,) * 3))
    bend = np.stack([ndimage.gaussian_filter(n, BEND_LENGTH_MM / resolution_mm, mode="reflect") for n in noise])
    bend = (bend / bend.std()).reshape(3, -1) * BEND_MM
    bend -= bend.reshape(3, *(voxels,) * 3)[:, voxels // 2, voxels // 2, voxels // 2, None]
    return (turn * (stretch * mirror)) @ (points + bend)
