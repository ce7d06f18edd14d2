"""A field as the voxels of a scan show it: averaged along axes on which those are larger, untouched on the others."""

import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.domain import Domain, resample, seen_on

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
AFFINE[:3, 3] = [-20.0, 5.0, 7.0]
SHAPE = (12, 10, 9)
DOMAIN = Domain(np.ones(SHAPE), (2.0,) * 3, affine=AFFINE)
FIELD = np.random.default_rng(0).random(SHAPE)


def scan_grid(edges, shift=(0.0, 0.0, 0.0)) -> np.ndarray:
    """The affine of voxels of `edges` mm whose first corner lies `shift` mm from that of the domain."""
    affine = np.diag([*edges, 1.0])
    affine[:3, 3] = AFFINE[:3, 3] - 1.0 + np.asarray(edges) / 2 + shift
    return affine


def test_a_voxel_of_the_scan_shows_the_mean_of_what_is_in_it():
    seen, sampling = seen_on(DOMAIN, scan_grid((4.0, 2.0, 6.0)), (6, 10, 3))
    assert (seen.shape, seen.spacing) == ((6, 10, 3), (4.0, 2.0, 6.0))
    expected = FIELD.reshape(6, 2, 10, 3, 3).mean((1, 4))
    np.testing.assert_allclose(sampling(jnp.asarray(FIELD)), expected, rtol=1e-12)
    assert np.asarray(seen.mask).all()


@pytest.mark.parametrize("edges", [(3.0, 3.0, 3.0), (1.5, 1.5, 3.0), (2.0, 2.0, 5.0)], ids=str)
def test_it_is_what_resampling_gives_on_the_grid_that_it_names(edges):
    """Voxels that do not nest, and a scan that is finer along two axes and begins elsewhere."""
    shape = tuple(int(2 * n // h) - 1 for n, h in zip(SHAPE, edges, strict=True))
    seen, sampling = seen_on(DOMAIN, scan_grid(edges, (0.7, 0.4, 1.1)), shape)
    np.testing.assert_allclose(seen.spacing, np.maximum(edges, 2.0))
    expected = resample(FIELD, AFFINE, seen.affine, seen.shape)
    np.testing.assert_allclose(sampling(jnp.asarray(FIELD)), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("where", ["finer", "oblique", "elsewhere"])
def test_nothing_is_averaged_where_nothing_is_larger_or_axes_are_not_parallel(where):
    affine, domain = scan_grid((1.0, 1.0, 2.0)), DOMAIN
    if where == "oblique":
        affine = scan_grid((4.0, 4.0, 4.0))
        affine[0, 1] = 0.5
    elif where == "elsewhere":
        affine, domain = scan_grid((4.0, 4.0, 4.0)), Domain(np.ones(SHAPE), (2.0,) * 3)
    seen, sampling = seen_on(domain, affine, (24, 20, 9))
    assert seen is domain
    assert sampling is None


def test_only_voxels_that_are_all_tissue_are_seen():
    mask = np.ones(SHAPE)
    mask[5, 3, 4] = 0
    seen, _ = seen_on(Domain(mask, (2.0,) * 3, affine=AFFINE), scan_grid((4.0, 2.0, 6.0)), (6, 10, 3))
    outside = np.argwhere(~np.asarray(seen.mask))
    np.testing.assert_array_equal(outside, [[2, 3, 1]])


def test_in_a_box_it_is_the_same_and_what_reaches_out_of_it_is_refused():
    _, sampling = seen_on(DOMAIN, scan_grid((4.0, 2.0, 6.0)), (6, 10, 3))
    lower, upper = (3, 2, 0), (11, 9, 7)
    # Voxels 2 to 4, 2 to 8 and 0 to 1 of the scan lie wholly in the box.
    within = np.ravel_multi_index(np.array([[2, 4, 3], [2, 8, 5], [0, 1, 1]]), sampling.shape)
    cropped = sampling.cropped(lower, upper, within)
    part = FIELD[tuple(slice(a, b) for a, b in zip(lower, upper, strict=True))]
    found = np.asarray(cropped(jnp.asarray(part))).ravel()[within]
    np.testing.assert_allclose(found, np.asarray(sampling(jnp.asarray(FIELD))).ravel()[within], rtol=1e-12)
    for index in ((1, 4, 1), (2, 9, 1), (2, 4, 2)):
        reaching = np.append(within, np.ravel_multi_index(index, sampling.shape))
        with pytest.raises(InputError, match=r"outside the box .*; enlarge it"):
            sampling.cropped(lower, upper, reaching)
