"""Initial conditions: contours where the scan shows them, seeds where they are put."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logit

from twinjax.core.errors import InputError
from twinjax.domain import Domain, signed_distance
from twinjax.model import ContourProfile, DensityField, PointSeed

N = 32
SPACING = (1.0, 1.0, 1.0)
CENTRE = np.full(3, 15.0)
DISTANCE = np.linalg.norm(np.stack(np.meshgrid(*[np.arange(N)] * 3, indexing="ij"), -1) - CENTRE, axis=-1)


@pytest.fixture
def domain() -> Domain:
    mask = np.ones((N,) * 3)
    mask[:, :, -4:] = 0
    return Domain(mask, SPACING)


def crossing(profile, level):
    """Where a falling profile on unit steps meets a level."""
    return np.interp(-level, -np.asarray(profile), np.arange(len(profile)))


def test_density_takes_its_levels_on_the_two_contours(domain):
    """The outermost voxels of the two balls are centred at 5 and 10 mm: their walls stand at 5.5 and 10.5 mm."""
    core, whole = DISTANCE < 6.0, DISTANCE < 11.0
    density = np.asarray(ContourProfile.from_masks(core, whole, SPACING, core_level=0.8, oedema_level=0.1)(domain))
    for ray in (density[15:, 15, 15], density[15, 15::-1, 15], density[15, 15, 15:28]):
        assert (np.diff(ray[2:]) < 0).all()
        np.testing.assert_allclose(crossing(ray, 0.8), 5.5, atol=0.5)
        np.testing.assert_allclose(crossing(ray, 0.1), 10.5, atol=0.5)
    np.testing.assert_array_equal(density[~np.asarray(domain.mask)], 0)
    assert density.max() < 1


def test_profile_is_piecewise_linear_in_the_logit():
    """One axis, contours at 6 and 11 mm: interior width, a straight line between the contours, tail width."""
    x = np.arange(20.0)
    profile = ContourProfile(x - 6, x - 11, core_level=0.7, oedema_level=0.2, tail_width=2.0, interior_width=4.0)
    density = np.asarray(profile(Domain(np.ones(20), (1.0,))))
    np.testing.assert_allclose(density[[6, 11]], [0.7, 0.2], rtol=1e-12)
    slope = np.diff(logit(density))
    np.testing.assert_allclose(slope[:6], -1 / 4, rtol=1e-9)
    np.testing.assert_allclose(slope[6:11], (logit(0.2) - logit(0.7)) / 5, rtol=1e-9)
    np.testing.assert_allclose(slope[11:], -1 / 2, rtol=1e-9)


def test_density_stays_finite_where_the_contours_touch(domain):
    """A core without oedema keeps its level on its contour and falls to the oedema's within a voxel."""
    density = np.asarray(ContourProfile.from_masks(DISTANCE < 6, DISTANCE < 6, SPACING)(domain))
    assert np.isfinite(density).all()
    ray = density[15:, 15, 15]
    assert ray[5] > 0.6 > 0.25 > ray[7]
    assert (np.diff(ray[2:]) < 0).all()


def test_core_counts_as_tumour_even_where_the_whole_tumour_misses_it(domain):
    core = DISTANCE < 6
    np.testing.assert_array_equal(
        ContourProfile.from_masks(core, np.zeros_like(core), SPACING)(domain),
        ContourProfile.from_masks(core, core, SPACING)(domain),
    )


def test_density_levels_off_at_the_plateau_and_keeps_its_contours():
    x = np.arange(40.0)
    domain = Domain(np.ones(40), (1.0,))
    profile = ContourProfile(x - 20, x - 25, core_level=0.6, oedema_level=0.2, interior_width=2.0, plateau=0.8)
    density = np.asarray(profile(domain))
    np.testing.assert_allclose(density[[0, 20, 25]], [0.8, 0.6, 0.2], rtol=1e-4)
    assert (np.diff(density) < 0).all()
    assert density.max() < 0.8
    # Draws of a level and of the plateau can cross.
    crossed = np.asarray(ContourProfile(x - 20, x - 25, core_level=0.6, plateau=0.55)(domain))
    assert np.isfinite(crossed).all()
    np.testing.assert_allclose(crossed[:20], 0.55, rtol=0.01)


def test_contours_of_a_fine_scan_stay_smooth_on_a_coarse_grid():
    """A ball of 9.3 mm, seen in voxels of 1 mm and modelled in voxels of 2 mm; masks brought over first make steps."""
    affine, coarse = np.diag([1.0, 1.0, 1.0, 1.0]), np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3], coarse[:3, 3] = -15.5, -15.0
    domain = Domain(np.ones((16,) * 3), (2.0,) * 3, affine=coarse)
    ball = np.linalg.norm(np.indices((32,) * 3) - 15.5, axis=0) < 9.3
    true = np.linalg.norm(np.asarray(domain.coordinates()), axis=0) - 9.3

    def error(profile):
        return (np.asarray(profile.core_distance) - true)[np.abs(true) < 2].std()

    smooth = ContourProfile.from_masks(ball, ball, (1.0,) * 3, onto=lambda d: domain.from_grid(d, affine))
    mask = domain.from_grid(ball, affine)
    assert error(smooth) < 0.5 * error(ContourProfile.from_masks(mask, mask, domain.spacing))
    assert error(smooth) < 0.3


def test_outside_the_scan_it_is_as_far_from_the_tumour_as_in_its_corner():
    affine = np.eye(4)
    affine[:3, 3] = [6.0, 6.0, 6.0]
    domain = Domain(np.ones((20,) * 3), (1.0,) * 3, affine=np.eye(4))
    ball = np.linalg.norm(np.indices((8,) * 3) - 3.5, axis=0) < 2.5
    profile = ContourProfile.from_masks(ball, ball, (1.0,) * 3, onto=lambda d: domain.from_grid(d, affine))
    inside = np.zeros(domain.shape, bool)
    inside[6:14, 6:14, 6:14] = True
    far = np.asarray(profile.whole_distance)
    np.testing.assert_allclose(far[inside], signed_distance(ball, (1.0,) * 3).ravel(), rtol=1e-6)
    np.testing.assert_allclose(far[~inside], far[6, 6, 6], rtol=1e-6)


def test_empty_core_is_refused():
    with pytest.raises(InputError, match="core is empty"):
        ContourProfile.from_masks(np.zeros((N,) * 3), DISTANCE < 6, SPACING)


def test_a_core_that_the_model_cannot_hold_is_refused():
    affine = np.diag([0.25, 0.25, 0.25, 1.0])
    domain = Domain(np.ones((4,) * 3), (2.0,) * 3, affine=np.diag([2.0, 2.0, 2.0, 1.0]))
    core = np.zeros((32,) * 3)
    core[12, 12, 12] = 1
    with pytest.raises(InputError, match="core is smaller than a voxel of the model"):
        ContourProfile.from_masks(core, core, (0.25,) * 3, onto=lambda d: domain.from_grid(d, affine))


def test_point_seed_is_a_gaussian_that_moves_with_its_shift(domain):
    seed = PointSeed([15.0, 14.0, 13.0], radius=2.0, amplitude=0.5)
    density = seed(domain)
    np.testing.assert_allclose(density[15, 14, 13], 0.5)
    np.testing.assert_allclose(density[17, 14, 13], 0.5 * np.exp(-0.5), rtol=1e-12)
    moved = eqx.tree_at(lambda s: (s.shift_x, s.shift_y, s.shift_z), seed, tuple(map(jnp.asarray, (3.0, -2.0, 1.0))))
    np.testing.assert_allclose(moved(domain)[8:, :20, 6:20], density[5:-3, 2:22, 5:19], rtol=1e-12)
    np.testing.assert_array_equal(moved(domain)[~domain.mask], 0)


def test_point_seed_lies_in_patient_space():
    affine = np.array([[-2.0, 0, 0, 40], [0, 2, 0, -30], [0, 0, 2, 10], [0, 0, 0, 1]])
    domain = Domain(np.ones((12, 12, 12)), (2.0, 2.0, 2.0), affine=affine)
    density = PointSeed((affine @ [5, 7, 3, 1])[:3])(domain)
    assert np.unravel_index(int(density.argmax()), density.shape) == (5, 7, 3)


def test_point_seed_on_fewer_axes():
    density = PointSeed([6.0], radius=1.5, amplitude=0.3)(Domain(np.ones(8), (2.0,)))
    assert int(density.argmax()) == 3
    np.testing.assert_allclose(density.max(), 0.3)


def test_given_density_is_cut_to_the_mask(domain):
    density = DensityField(jnp.full(domain.shape, 0.4))(domain)
    np.testing.assert_array_equal(density, 0.4 * domain.mask)
