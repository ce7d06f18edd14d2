"""Mass effect: a tumour pushes the midline away from itself."""

import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.model.mass_effect import mass_effect, midline_shift

SHAPE, SPACING = (21, 20, 16), (6.0, 6.0, 6.0)
AXES = np.meshgrid(*[h * (np.arange(n) - (n - 1) / 2) for n, h in zip(SHAPE, SPACING, strict=True)], indexing="ij")
SKULL = sum((a / r) ** 2 for a, r in zip(AXES, (60, 56, 46), strict=True)) <= 1
VENTRICLES = SKULL & (np.abs(AXES[0]) < 7) & (np.abs(AXES[1]) < 25) & (np.abs(AXES[2]) < 10)
BRAIN = Domain(SKULL & ~VENTRICLES, SPACING)


def tumor(x):
    """A ball of cells at a distance x from the midline."""
    return jnp.asarray(0.9 * np.exp(-((AXES[0] - x) ** 2 + AXES[1] ** 2 + AXES[2] ** 2) / (2 * 12.0**2)) * SKULL)


def test_midline_moves_away_from_the_tumour():
    right, left = (mass_effect(tumor(x), BRAIN, SKULL) for x in (28.0, -28.0))
    across = np.asarray(right.voxel_displacement)[0]
    assert across[10, 10, 8] < 0 < np.asarray(left.voxel_displacement)[0, 10, 10, 8]
    shift = midline_shift(right, BRAIN, SKULL)
    assert shift == pytest.approx(midline_shift(left, BRAIN, SKULL), rel=1e-3)
    assert 0.3 < shift < 15
    # Pressure in proportion, and ventricles that give way let the brain move further than ones that are held.
    double = mass_effect(tumor(28.0), BRAIN, SKULL, pressure_kpa=2.0)
    assert midline_shift(double, BRAIN, SKULL) == pytest.approx(2 * shift, rel=1e-3)
    assert midline_shift(mass_effect(tumor(28.0), BRAIN), BRAIN) < shift


def test_the_skull_does_not_move():
    response = mass_effect(tumor(28.0), BRAIN, SKULL)
    outside = ~SKULL
    # A voxel outside has no corner that moves.
    assert np.abs(np.asarray(response.voxel_displacement))[:, outside].max() == 0


@pytest.mark.thorough
def test_midline_follows_patient_space():
    """The grid's second axis runs from left to right."""
    affine = np.zeros((4, 4))
    affine[0, 1], affine[1, 0], affine[2, 2], affine[3, 3] = 6.0, 6.0, 6.0, 1.0
    turned = Domain(np.swapaxes(np.asarray(BRAIN.mask), 0, 1), SPACING, affine=affine)
    skull = np.swapaxes(SKULL, 0, 1)
    response = mass_effect(jnp.swapaxes(tumor(28.0), 0, 1), turned, skull)
    expected = midline_shift(mass_effect(tumor(28.0), BRAIN, SKULL), BRAIN, SKULL)
    assert midline_shift(response, turned, skull) == pytest.approx(expected, rel=1e-3)


def test_another_grid_is_refused():
    with pytest.raises(InputError, match="shape"):
        mass_effect(jnp.zeros((3, 3, 3)), BRAIN)
