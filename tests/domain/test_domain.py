"""`Domain`: what is kept when its grid changes, and what it refuses."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.domain import Domain

SHAPE = (12, 10, 8)
AFFINE = np.array([[-1.0, 0, 0, 90], [0, 1.5, 0, -126], [0, 0, 2.0, -72], [0, 0, 0, 1]])
SPACING = (1.0, 1.5, 2.0)


def ball(shape=SHAPE, radius=0.4):
    index = np.stack(np.meshgrid(*[(np.arange(n) + 0.5) / n - 0.5 for n in shape], indexing="ij"))
    return np.linalg.norm(index, axis=0) < radius


@pytest.fixture
def head() -> Domain:
    white = np.random.default_rng(0).random(SHAPE)
    return Domain(ball(), SPACING, white_matter=white, grey_matter=1 - white, affine=AFFINE)


def test_tissue_lies_inside_the_mask(head):
    outside = ~np.asarray(head.mask)
    assert not np.asarray(head.white_matter)[outside].any()
    np.testing.assert_allclose((head.white_matter + head.grey_matter)[head.mask], 1.0, rtol=1e-6)
    assert head.voxel_volume == 3.0
    assert head.shape == SHAPE


def test_without_tissue_maps_all_is_white_matter():
    domain = Domain(ball(), SPACING)
    np.testing.assert_array_equal(domain.white_matter, domain.mask)
    assert not domain.grey_matter.any()


def test_from_tissue_leaves_fluid_and_what_is_outside_the_brain_out():
    white, grey = np.zeros((3, 1, 1)), np.zeros((3, 1, 1))
    white[:, 0, 0], grey[:, 0, 0] = [0.4, 0.1, 1.0], [0.2, 0.1, 0.0]
    domain = Domain.from_tissue(white, grey, AFFINE)
    np.testing.assert_array_equal(domain.mask[:, 0, 0], [True, False, True])
    assert domain.spacing == SPACING
    brain = np.array([True, True, False]).reshape(3, 1, 1)
    np.testing.assert_array_equal(
        Domain.from_tissue(white, grey, AFFINE, brain_mask=brain).mask[:, 0, 0], [True, False, False]
    )


def test_coordinates_are_patient_space(head):
    coordinates = head.coordinates()
    assert coordinates.shape == (3, *SHAPE)
    np.testing.assert_allclose(coordinates[:, 2, 3, 4], (AFFINE @ [2, 3, 4, 1])[:3])


def test_coordinates_of_a_bare_grid():
    np.testing.assert_allclose(Domain(np.ones((4, 5)), (2.0, 3.0)).coordinates()[:, 2, 4], [4.0, 12.0])


def test_crop_keeps_positions_and_tissue(head):
    lower, upper = (2, 1, 3), (9, 8, 7)
    box = tuple(slice(a, b) for a, b in zip(lower, upper, strict=True))
    cropped = head.cropped(lower, upper)
    np.testing.assert_allclose(cropped.coordinates(), head.coordinates()[:, *box])
    np.testing.assert_array_equal(cropped.mask, head.mask[box])
    np.testing.assert_array_equal(cropped.white_matter, head.white_matter[box])
    np.testing.assert_array_equal(cropped.grey_matter, head.grey_matter[box])
    assert cropped.spacing == head.spacing


@pytest.mark.parametrize(
    ("lower", "upper"), [((-1, 0, 0), (5, 5, 5)), ((0, 0, 0), (13, 5, 5)), ((4, 0, 0), (4, 5, 5))], ids=str
)
def test_crop_outside_the_grid_is_refused(head, lower, upper):
    with pytest.raises(InputError, match="does not lie in a grid"):
        head.cropped(lower, upper)


def test_field_to_the_full_grid_and_back(head):
    lower, upper = (2, 1, 2), (10, 9, 7)
    cropped = head.cropped(lower, upper)
    density = np.random.default_rng(1).random(cropped.shape).astype(np.float32)
    full = cropped.to_grid(density, AFFINE, SHAPE)
    box = tuple(slice(a, b) for a, b in zip(lower, upper, strict=True))
    np.testing.assert_allclose(full[box], density, atol=1e-6)
    # What lies outside the crop is exactly zero: nothing leaks over its faces.
    full[box] = 0
    assert not full.any()
    np.testing.assert_allclose(cropped.from_grid(head.to_grid(density * 0, AFFINE, SHAPE), AFFINE), 0)


def test_labels_survive_the_way_to_a_crop_and_back(head):
    cropped = head.cropped((2, 1, 2), (10, 9, 7))
    labels = np.zeros(SHAPE, np.int8)
    labels[4:7, 3:6, 3:5] = 3
    there = cropped.from_grid(labels, AFFINE, order=0)
    assert there.dtype == np.int8
    np.testing.assert_array_equal(cropped.to_grid(there, AFFINE, SHAPE, order=0), labels)


@pytest.mark.parametrize("resolution", [2.0, 2, 3.0, 0.75])
def test_resampled_covers_the_same_field_of_view(head, resolution):
    new = head.resampled(resolution)
    assert new.spacing == (resolution,) * 3
    np.testing.assert_allclose(np.linalg.norm(new.affine[:3, :3], axis=0), resolution)
    # The outer corner of the first voxel stays where it was.
    corner = [-0.5, -0.5, -0.5, 1.0]
    np.testing.assert_allclose(new.affine @ corner, head.affine @ corner)
    extent = np.asarray(SHAPE) * SPACING
    assert (np.abs(np.asarray(new.shape) * resolution - extent) <= resolution / 2).all()


@pytest.mark.parametrize("resolution", [1.5, 2.0, 3.0])
def test_resampled_keeps_volume(resolution):
    whole = Domain(np.ones((24, 24, 24)), (1.0, 1.0, 1.0))
    coarse = whole.resampled(resolution)
    np.testing.assert_allclose(coarse.white_matter, 1.0, rtol=1e-6)
    assert coarse.mask.all()
    sphere = Domain(ball((24, 24, 24)), (1.0, 1.0, 1.0))
    coarse = sphere.resampled(resolution)
    volumes = [float(d.mask.sum() * d.voxel_volume) for d in (sphere, coarse)]
    np.testing.assert_allclose(volumes[1], volumes[0], rtol=0.06)


def test_resampled_keeps_the_centre_of_a_tumour_field(head):
    coarse = head.resampled(3.0)
    field = np.zeros(SHAPE, np.float32)
    field[3:9, 3:7, 2:5] = 1.0

    def centre(density, domain):
        return (domain.coordinates() * density).sum((1, 2, 3)) / density.sum()

    there = coarse.from_grid(field, head.affine)
    np.testing.assert_allclose(there.sum() * coarse.voxel_volume, field.sum() * head.voxel_volume, rtol=1e-6)
    np.testing.assert_allclose(centre(there, coarse), centre(field, head), atol=1e-4)


def test_a_mask_is_brought_over_as_a_mask(head):
    """Two voxels of one, of which the region holds three quarters, and a quarter."""
    fine = np.zeros((4, 2, 2), bool)
    fine[0], fine[1, 0], fine[3, 0, 0] = True, True, True
    coarse = Domain(np.ones((2, 1, 1)), (2.0, 2.0, 2.0))
    half = np.eye(4)
    half[:3, 3] = -0.5
    found = coarse.from_grid(fine, half)
    assert found.dtype == bool
    np.testing.assert_array_equal(found.ravel(), [True, False])
    np.testing.assert_array_equal(found, coarse.from_grid(fine.astype(np.float32), half) >= 0.5)
    np.testing.assert_array_equal(head.from_grid(np.asarray(head.mask), head.affine), head.mask)


def test_resampled_to_its_own_resolution_is_the_same_domain():
    domain = Domain(ball(), (1.0, 1.0, 1.0))
    assert domain.resampled(1.0) is domain


@pytest.mark.parametrize("shape", [(20,), (16, 12)], ids=["one axis", "two axes"])
def test_bare_grids_are_resampled_too(shape):
    coarse = Domain(np.ones(shape), (1.0,) * len(shape)).resampled(2.0)
    assert coarse.affine is None
    assert coarse.shape == tuple(n // 2 for n in shape)
    np.testing.assert_allclose(coarse.white_matter, 1.0)


def test_box_around_a_region(head):
    region = np.zeros(SHAPE, bool)
    region[5:7, 4, 3] = True
    assert head.box_around(region, 0.0) == ((5, 4, 3), (7, 5, 4))
    assert head.box_around(region, 2.0) == ((3, 2, 2), (9, 7, 5))
    assert head.box_around(region, 1000.0) == ((0, 0, 0), SHAPE)


def test_box_around_nothing_is_refused(head):
    with pytest.raises(InputError, match="empty"):
        head.box_around(np.zeros(SHAPE, bool), 5.0)
    with pytest.raises(InputError, match="shape"):
        head.box_around(np.ones((2, 2, 2), bool), 5.0)


def test_passes_through_jit_and_tree_maps(head):
    doubled = eqx.tree_at(lambda d: d.maps["white_matter"], head, head.white_matter * 2)
    total = eqx.filter_jit(lambda d: jnp.sum(d.white_matter) * d.voxel_volume)
    np.testing.assert_allclose(total(doubled), 2 * total(head), rtol=1e-6)
    assert jax.tree.map(lambda leaf: leaf, head).spacing == SPACING


def test_maps_go_along_with_the_grid():
    """Fractions are clipped and every map is zero outside the mask; a coarser or smaller grid has the same maps."""
    mask, perfusion = np.ones((6, 4, 4)), np.linspace(0.0, 3.0, 96).reshape(6, 4, 4)
    mask[0] = 0
    organ = Domain(mask, (1.0, 1.0, 1.0), maps={"perfusion": perfusion, "adipose": perfusion})
    np.testing.assert_allclose(organ.map("perfusion"), perfusion * mask)
    np.testing.assert_allclose(organ.map("adipose"), np.minimum(perfusion, 1) * mask)
    np.testing.assert_array_equal(organ.white_matter, mask)
    coarse, small = organ.resampled(2.0), organ.cropped((2, 0, 0), (4, 4, 2))
    np.testing.assert_allclose(coarse.map("perfusion")[1, 0, 0], perfusion[2:4, :2, :2].mean(), rtol=1e-5)
    np.testing.assert_allclose(small.map("perfusion"), perfusion[2:4, :, :2])
    with pytest.raises(InputError, match="no map 'stroma' .it has perfusion, adipose"):
        organ.map("stroma")


def test_precision_follows_jax(head):
    assert head.white_matter.dtype == jnp.float64
    with jax.enable_x64(False):
        assert Domain(ball(), SPACING).white_matter.dtype == jnp.float32


nan_tissue = np.ones(SHAPE)
nan_tissue[0, 0, 0] = np.nan
BAD = {
    "spacing for another number of axes": (dict(spacing=(1.0, 1.0)), "spacing has 2 entries"),
    "zero spacing": (dict(spacing=(1.0, 0.0, 1.0)), "spacing must be positive"),
    "NaN spacing": (dict(spacing=(1.0, np.nan, 1.0)), "spacing must be positive"),
    "empty mask": (dict(mask=np.zeros(SHAPE)), "mask is empty"),
    "four axes": (dict(mask=np.ones((2, 2, 2, 2)), spacing=(1.0,) * 4), "one to three axes"),
    "tissue of another shape": (dict(white_matter=np.ones((2, 2, 2))), "white_matter has shape"),
    "NaN tissue": (dict(grey_matter=nan_tissue), "grey_matter has NaN"),
    "affine of another size": (dict(affine=np.eye(3)), r"an affine is \(4, 4\)"),
    "affine of other voxels": (dict(affine=np.diag([2.0, 2, 2, 1])), "does not fit the affine"),
    "NaN affine": (dict(affine=AFFINE * np.nan), "does not fit the affine"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_named(change, message):
    arguments = dict(mask=ball(), spacing=SPACING) | change
    with pytest.raises(InputError, match=message):
        Domain(**arguments)


def test_tissue_maps_of_two_grids_are_refused():
    with pytest.raises(InputError, match="differ in shape"):
        Domain.from_tissue(np.ones(SHAPE), np.ones((2, 2, 2)), AFFINE)
    with pytest.raises(InputError, match="differ in shape"):
        Domain.from_tissue(np.ones(SHAPE), np.ones(SHAPE), AFFINE, brain_mask=np.ones((2, 2, 2)))


@pytest.mark.parametrize("resolution", [0.0, -1.0, np.nan, np.inf])
def test_bad_resolution_is_refused(head, resolution):
    with pytest.raises(InputError, match="resolution_mm must be positive"):
        head.resampled(resolution)


def test_a_grid_that_does_not_fit_into_memory_is_refused(head):
    with pytest.raises(InputError, match=r"voxels of 0.001 mm needs about .* GB of memory.*larger resolution_mm"):
        head.resampled(0.001)


def test_a_cube_holds_the_tissue_where_it_was():
    white = np.zeros((20, 20, 20))
    white[5:15, 5:15, 5:15] = 1
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    domain = Domain(white > 0, (2.0,) * 3, white_matter=white, grey_matter=0 * white, affine=affine)
    cube = domain.cube_about([17.0, 17.0, 25.0], voxels=6, resolution_mm=4.0)
    assert cube.shape == (6, 6, 6) and cube.spacing == (4.0,) * 3
    np.testing.assert_allclose(np.asarray(cube.coordinates()).mean(axis=(1, 2, 3)), [17, 17, 25])
    # The tissue lies between 9 and 29 mm.
    inside = (np.abs(np.asarray(cube.coordinates()) - 19) < 10).all(axis=0)
    np.testing.assert_array_equal(np.asarray(cube.mask), inside)
    with pytest.raises(InputError, match="no voxel is tissue"):
        domain.cube_about([200.0, 0.0, 0.0], voxels=6, resolution_mm=4.0)
