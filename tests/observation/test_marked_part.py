"""The part of a voxel that lies above a threshold, where the density changes within it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.domain import Domain
from twinjax.observation.segmentation import marked_part

REFINEMENT = 20


def ramp(slope_per_mm, spacing):
    """Means over 30 voxels of a front of that steepness, the part of each above one half, and their domain."""
    count = 30
    x = (np.arange(count * REFINEMENT) + 0.5) * spacing / REFINEMENT - count * spacing / 2 + 0.3 * spacing
    fine = 1 / (1 + np.exp(4 * slope_per_mm * x))
    blocks = fine.reshape(count, REFINEMENT)
    return blocks.mean(axis=1), (blocks > 0.5).mean(axis=1), Domain(np.ones(count), (spacing,))


@pytest.mark.parametrize(("slope", "spacing"), [(0.05, 1.0), (0.2, 1.0), (0.2, 2.0), (0.1, 3.0), (0.3, 2.0)])
def test_the_volume_above_a_threshold_is_right_whatever_the_grid(slope, spacing):
    """The contour lies within a sixth of a voxel of where it is, and no part is off by more than that."""
    density, part, domain = ramp(slope, spacing)
    found = np.asarray(marked_part(jnp.asarray(density), 0.5, domain))
    assert abs(found.sum() - part.sum()) < 1 / 6
    assert np.abs(found - part).max() < 1 / 6


def test_a_wide_tail_is_not_marked():
    """A plateau below the threshold: with a width of 0.05 everywhere a tenth of it would be."""
    domain = Domain(np.ones((6, 6, 6)), (2.0, 2.0, 2.0))
    assert float(marked_part(jnp.full(domain.shape, 0.15), 0.25, domain).max()) < 0.01


def test_density_outside_the_tissue_does_not_count_as_a_slope():
    mask = np.ones(10)
    mask[5:] = 0
    domain = Domain(mask, (1.0,))
    density = jnp.where(domain.mask, 0.3, 0.0)
    part = marked_part(density, 0.25, domain)
    np.testing.assert_allclose(part[:5], jax.nn.sigmoid(0.05 / 0.02), rtol=1e-6)


def test_its_gradient_is_finite_where_the_density_is_flat():
    domain = Domain(np.ones((4, 4)), (1.0, 1.0))
    slope = jax.grad(lambda u: marked_part(u, 0.25, domain).sum())(jnp.full(domain.shape, 0.2))
    assert bool(jnp.isfinite(slope).all()) and float(slope.min()) > 0
