"""Where the images of a patient lie: those of one visit on each other, later visits on the baseline."""

import logging
from collections.abc import Mapping

import numpy as np

from twinjax.imaging.deformable import deform
from twinjax.imaging.deformation import Deformation
from twinjax.imaging.grid import Grid, onto
from twinjax.imaging.nifti import Image
from twinjax.imaging.placement import Placement
from twinjax.imaging.registration import largest_motion, register
from twinjax.imaging.scan import Scan

logger = logging.getLogger("twinjax")

# Hounsfield units of what lies outside the field of view.
AIR_HU = -1024.0
# What shows function and hardly any anatomy that could be bent onto another image.
FUNCTIONAL = ("DCE", "FET", "PET")


def placements_within(images: Mapping[str, Image], *, deformable: bool) -> dict[str, Placement]:
    """What leads from points of the first image to those of each other one that has moved by more than a voxel, or
    bends; those of `FUNCTIONAL` never do."""
    first, *others = images
    shown, affine = _shown(first, images[first].data), images[first].affine
    found = {}
    for name in others:
        image = Image(_shown(name, images[name].data), images[name].affine)
        motion = register(shown, affine, image.data, image.affine)
        moved = largest_motion(motion, shown > 0, affine) > np.linalg.norm(affine[:3, :3], axis=0).max()
        placement = Placement((motion,) if moved else ())
        if deformable and name not in FUNCTIONAL:
            grid = Grid(affine, shown.shape)
            seen = _seen(image, grid, placement)
            bent = deform(shown, onto(image, grid, placement), affine, organ=shown > 0, seen=seen)
            placement = Placement((bent, *placement.steps))
        if placement.steps:
            found[name] = placement
    return found


def motion_since(baseline: Scan, images: Mapping[str, Image]) -> Placement:
    """The rigid motion since the baseline, by the first image; none below a voxel, which cannot be told from none."""
    name, image = next(iter(images.items()))
    brain = np.ones(baseline.shape, bool) if baseline.brain_mask is None else baseline.brain_mask
    fixed, moving = _shown(name, baseline.image(name)), _shown(name, image.data)
    motion = register(fixed, baseline.affine, moving, image.affine)
    moved = largest_motion(motion, brain, baseline.affine)
    if moved <= float(baseline.spacing.max()):
        return Placement()
    logger.info("the patient has moved by up to %.1f mm since the baseline: resampling", moved)
    return Placement((motion,))


def deformation_since(baseline: Scan, scan: Scan, images: Mapping[str, Image], placement: Placement) -> Deformation:
    """How the tissue of a visit has bent since the baseline, by its first image; `scan` is the visit on the grid of the
    baseline, segmented, and `placement` what brought it there."""
    name, image = next(iter(images.items()))
    fixed, moving = _shown(name, baseline.image(name)), _shown(name, scan.image(name))
    bent = deform(
        fixed,
        moving,
        baseline.affine,
        organ=fixed > 0 if baseline.brain_mask is None else baseline.brain_mask,
        seen=_seen(image, Grid(baseline.affine, baseline.shape), placement),
        tumor=baseline.whole_tumor | scan.whole_tumor,
    )
    logger.info("since the baseline: %s", bent)
    return bent


def _shown(name: str, data: np.ndarray) -> np.ndarray:
    """An image as registration wants it: zero where there is nothing."""
    return np.maximum(data - np.float32(AIR_HU), 0) if name == "CT" else data


def _seen(image: Image, grid: Grid, placement: Placement) -> np.ndarray:
    """Where an image, placed on a grid, was taken at all."""
    return onto(Image(np.ones(image.data.shape, np.float32), image.affine), grid, placement) > 0.5
