"""Resampling keeps positions, volumes and labels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from twinjax.core.errors import InputError
from twinjax.domain import resample

SHAPE = (24, 20, 28)


def scaled(affine, factors):
    """A grid over the same field of view with voxels `factors` times as long."""
    factors = np.broadcast_to(np.asarray(factors, float), 3)
    zoom = np.diag([*factors, 1.0])
    zoom[:3, 3] = (factors - 1) / 2
    return affine @ zoom


def oblique(spacing=(1.0, 1.0, 1.0)):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [10, -20, 30], degrees=True).as_matrix() @ np.diag(spacing)
    affine[:3, 3] = [-12.0, 5.0, 7.5]
    return affine


AFFINES = {
    "identity": np.eye(4),
    "anisotropic": np.array([[0.5, 0, 0, 3], [0, 1, 0, -4], [0, 0, 2, 5], [0, 0, 0, 1.0]]),
    "flipped": np.array([[-1.0, 0, 0, 90], [0, -1, 0, 126], [0, 0, 1, -72], [0, 0, 0, 1]]),
    "oblique": oblique((1.0, 1.5, 2.0)),
}


def positions(shape, affine):
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def centre_of_mass(array, affine):
    weights = np.asarray(array, float)[..., None]
    return (positions(array.shape, affine) * weights).sum((0, 1, 2)) / weights.sum()


def volume(array, affine):
    return float(np.sum(array, dtype=float) * abs(np.linalg.det(affine[:3, :3])))


def blob(shape=SHAPE):
    """A smooth tumour, zero at the border, off centre."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    distance = np.linalg.norm((index - np.asarray(shape) * [0.45, 0.5, 0.55]) / 7.0, axis=-1)
    return np.clip(1 - distance**2, 0, 1).astype(np.float32)


@pytest.mark.parametrize("factors", [0.5, 0.8, 2.0, (1.3, 2.0, 0.7), (2.0, 1.0, 4.0)], ids=str)
@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
def test_constant_stays_constant_up_to_the_border(affine, factors):
    shape = tuple(np.floor(np.asarray(SHAPE) / factors + 1e-9).astype(int))
    found = resample(np.full(SHAPE, 0.25), affine, scaled(affine, factors), shape)
    assert found.shape == shape
    np.testing.assert_allclose(found, 0.25, rtol=1e-6)


@pytest.mark.parametrize("factors", [2.0, 4.0, 1.5, (1.3, 2.7, 1.9)], ids=str)
@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
def test_volume_and_position_are_kept_on_coarsening(affine, factors):
    target = scaled(affine, factors)
    tumour = blob()
    shape = tuple(np.ceil(np.asarray(SHAPE) / factors).astype(int))
    coarse = resample(tumour, affine, target, shape)
    np.testing.assert_allclose(volume(coarse, target), volume(tumour, affine), rtol=1e-6)
    # Within a hundredth of a coarse voxel: averaging moves mass to the voxel's centre.
    shift = centre_of_mass(coarse, target) - centre_of_mass(tumour, affine)
    assert (np.abs(shift) < 0.01 * np.linalg.norm(target[:3, :3], axis=0).max()).all()


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
def test_volume_and_position_are_kept_on_refinement(affine):
    target = scaled(affine, 0.5)
    tumour = blob()
    fine = resample(tumour, affine, target, tuple(2 * n for n in SHAPE))
    np.testing.assert_allclose(volume(fine, target), volume(tumour, affine), rtol=1e-5)
    np.testing.assert_allclose(centre_of_mass(fine, target), centre_of_mass(tumour, affine), atol=1e-3)


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=30), st.floats(1.0, 5.0), st.floats(-3.0, 3.0))
def test_integral_over_a_covering_grid_is_exact(values, factor, start):
    array = np.asarray(values, np.float32)
    target = np.diag([factor, 1.0, 1.0, 1.0])
    target[0, 3] = start - 3 - factor
    count = int(np.ceil((len(values) + 8) / factor)) + 3
    coarse = resample(array, np.eye(4), target, (count,))
    np.testing.assert_allclose(factor * coarse.sum(dtype=float), array.sum(dtype=float), rtol=1e-5, atol=1e-6)
    assert coarse.min() >= 0
    assert coarse.max() <= array.max() * (1 + 1e-6)


def test_each_coarse_voxel_is_the_mean_of_its_fine_ones():
    fine = np.random.default_rng(0).random((6, 4, 8), np.float32)
    coarse = resample(fine, np.eye(4), scaled(np.eye(4), 2), (3, 2, 4))
    np.testing.assert_allclose(coarse, fine.reshape(3, 2, 2, 2, 4, 2).mean((1, 3, 5)), rtol=1e-6)


def test_voxel_half_outside_counts_half():
    target = scaled(np.eye(4), (2, 1, 1))
    np.testing.assert_allclose(resample(np.ones((3, 1, 1)), np.eye(4), target, (3, 1, 1)).ravel(), [1, 0.5, 0])


def test_a_linear_field_is_sampled_exactly_between_oblique_grids():
    source, target = AFFINES["oblique"], np.eye(4)
    slope, shape = np.array([0.3, -0.2, 0.1]), (9, 9, 9)
    target[:3, 3] = source[:3, :3] @ [8.0, 8.0, 8.0] + source[:3, 3]
    field = positions(SHAPE, source) @ slope
    found = resample(field, source, target, shape)
    np.testing.assert_allclose(found, positions(shape, target) @ slope, atol=1e-4)


@pytest.mark.parametrize("edge", [1.0, 2.0, 3.0])
def test_volume_is_kept_between_oblique_grids(edge):
    source = AFFINES["oblique"]
    target = np.diag([edge, edge, edge, 1.0])
    n = round(108 / edge)
    target[:3, 3] = positions(SHAPE, source).mean((0, 1, 2)) - edge * (n - 1) / 2
    tumour, shape = blob(), (n, n, n)
    found = resample(tumour, source, target, shape)
    np.testing.assert_allclose(volume(found, target), volume(tumour, source), rtol=5e-3)
    np.testing.assert_allclose(centre_of_mass(found, target), centre_of_mass(tumour, source), atol=0.02 * edge)


def test_zero_outside_the_source():
    target = np.eye(4)
    target[:3, 3] = [-5, 0, 0]
    found = resample(np.ones((4, 4, 4)), np.eye(4), target, (12, 4, 4))
    np.testing.assert_array_equal(found[:, 0, 0], [0] * 5 + [1] * 4 + [0] * 3)
    target[:3, 3] = [1000, 0, 0]
    assert not resample(np.ones((4, 4, 4)), np.eye(4), target, (4, 4, 4)).any()


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, bool, np.float32])
def test_labels_take_the_nearest_voxel_and_keep_their_type(dtype):
    labels = np.random.default_rng(1).integers(0, 5, (6, 5, 4)).astype(dtype)
    fine = resample(labels, np.eye(4), scaled(np.eye(4), 1 / 3), (18, 15, 12), order=0)
    assert fine.dtype == dtype
    np.testing.assert_array_equal(fine, np.kron(labels, np.ones((3, 3, 3), dtype)).astype(dtype))
    np.testing.assert_array_equal(resample(fine, scaled(np.eye(4), 1 / 3), np.eye(4), labels.shape, order=0), labels)


@pytest.mark.parametrize("order", [0, 1])
def test_the_same_grid_gives_a_copy(order):
    array = np.random.default_rng(2).random((3, 4, 5)).astype(np.float32)
    affine = AFFINES["oblique"].astype(np.float32)
    found = resample(array, affine, affine.astype(float), array.shape, order=order)
    np.testing.assert_array_equal(found, array)
    assert not np.shares_memory(found, array)


@pytest.mark.parametrize("order", [0, 1])
def test_flipped_grid_and_back(order):
    array = np.random.default_rng(3).random((4, 5, 6)).astype(np.float32)
    flip = np.diag([-1.0, 1.0, -1.0, 1.0])
    flip[:3, 3] = [3, 0, 5]
    flipped = resample(array, np.eye(4), flip, array.shape, order=order)
    np.testing.assert_allclose(flipped, array[::-1, :, ::-1], rtol=1e-6)
    np.testing.assert_allclose(resample(flipped, flip, np.eye(4), array.shape, order=order), array, rtol=1e-6)


@pytest.mark.parametrize("order", [0, 1])
def test_permuted_axes(order):
    array = np.random.default_rng(4).random((4, 5, 6)).astype(np.float32)
    swap = np.eye(4)[[1, 0, 2, 3]]
    found = resample(array, np.eye(4), swap, (5, 4, 6), order=order)
    np.testing.assert_allclose(found, array.transpose(1, 0, 2), rtol=1e-6)


@pytest.mark.parametrize("axes", [1, 2])
def test_fewer_axes(axes):
    array = np.arange(8.0**axes).reshape((8,) * axes)
    coarse = resample(array, np.eye(4), scaled(np.eye(4), 2), (4,) * axes)
    expected = array.reshape((4, 2) * axes).mean(tuple(range(1, 2 * axes, 2)))
    np.testing.assert_allclose(coarse, expected)


@pytest.mark.parametrize("order", [2, -1, 3])
def test_other_orders_are_refused(order):
    with pytest.raises(InputError, match="order must be 0"):
        resample(np.ones((2, 2, 2)), np.eye(4), np.eye(4), (2, 2, 2), order=order)


@pytest.mark.parametrize("wrong", [np.zeros((4, 4)), np.eye(3), np.full((4, 4), np.nan)], ids=["zero", "small", "nan"])
@pytest.mark.parametrize("name", ["affine", "target_affine"])
def test_bad_affine_is_named(name, wrong):
    affines = {"affine": np.eye(4), "target_affine": np.eye(4)} | {name: wrong}
    with pytest.raises(InputError, match=f": {name} must be"):
        resample(np.ones((2, 2, 2)), **affines, target_shape=(2, 2, 2))
