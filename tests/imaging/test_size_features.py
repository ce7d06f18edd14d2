"""Sizes, shapes and RECIST against closed forms and against SimpleITK's own diameter."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from phantom import ROTATION
from scipy.spatial.transform import Rotation

from twinjax.core.errors import InputError
from twinjax.imaging import Scan
from twinjax.imaging.features import (
    Lesion,
    diameters_mm,
    feature_record,
    find_lesions,
    measurable,
    measure_volume,
    rano_measures,
    recist_sum,
    shape_measures,
    surface_area_mm2,
    target_lesions,
    tumor_features,
    volume_mm3,
    write_features,
)

STRAIGHT = np.eye(3)
OBLIQUE = Rotation.from_euler("xyz", [20, -15, 30], degrees=True).as_matrix()


def ellipsoid(semi_axes, spacing, rotation=STRAIGHT, shift=0.0):
    """A region with semi-axes (mm) along the axes of patient space on a turned grid, and the affine of the grid."""
    shape = np.ceil(2 * (max(semi_axes) + 2) / np.asarray(spacing)).astype(int) + 2
    affine = np.eye(4)
    affine[:3, :3] = rotation * np.asarray(spacing)
    affine[:3, 3] = -affine[:3, :3] @ ((shape - 1) / 2)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    place = grid @ affine[:3, :3].T + affine[:3, 3]
    return (np.square(place / (np.asarray(semi_axes) + shift)).sum(axis=-1)) < 1, affine


def surface_of_spheroid(a, c):
    """Prolate, with c > a."""
    e = np.sqrt(1 - a**2 / c**2)
    return 2 * np.pi * a**2 * (1 + c / (a * e) * np.arcsin(e))


@pytest.mark.parametrize("rotation", [STRAIGHT, OBLIQUE])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.9, 1.1, 3.0)])
def test_shape_of_ball_and_spheroid(spacing, rotation):
    region, affine = ellipsoid((15, 15, 15), spacing, rotation)
    ball = shape_measures(region, affine)
    assert ball["surface_area"].value == pytest.approx(4 * np.pi * 15**2, rel=0.03)
    for name in ("sphericity", "elongation", "flatness"):
        assert ball[name].value == pytest.approx(1, abs=0.04)
    region, affine = ellipsoid((9, 9, 18), spacing, rotation)
    spheroid = shape_measures(region, affine)
    surface = surface_of_spheroid(9, 18)
    assert spheroid["surface_area"].value == pytest.approx(surface, rel=0.03)
    sphericity = (36 * np.pi * (4 / 3 * np.pi * 9 * 9 * 18) ** 2) ** (1 / 3) / surface
    assert spheroid["sphericity"].value == pytest.approx(sphericity, rel=0.03)
    assert spheroid["compactness"].value == pytest.approx(spheroid["sphericity"].value ** 3)
    assert spheroid["elongation"].value == pytest.approx(0.5, abs=0.02)
    assert spheroid["flatness"].value == pytest.approx(0.5, abs=0.02)


def test_a_region_at_the_edge_of_the_image_has_its_whole_surface():
    region, affine = ellipsoid((8, 8, 8), (1, 1, 1))
    box = region[np.ix_(*(np.unique(axis) for axis in np.nonzero(region)))]
    assert surface_area_mm2(box, affine) == surface_area_mm2(region, affine)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.9, 1.1, 3.0)])
def test_standard_deviation_of_a_volume_is_that_of_a_moved_edge(spacing):
    region, affine = ellipsoid((15, 15, 15), spacing)
    voxel = np.prod(spacing) ** (1 / 3)
    # Uniform within a voxel's edge.
    shifts = (np.arange(20) + 0.5) / 20 * voxel - voxel / 2
    volumes = [volume_mm3(*ellipsoid((15, 15, 15), spacing, shift=shift)) for shift in shifts]
    assert measure_volume(region, affine).standard_deviation == pytest.approx(np.std(volumes), rel=0.06)


def test_standard_deviation_of_a_surface_and_of_sphericity_are_those_of_a_moved_edge():
    shift = 1 / np.sqrt(12)
    measures = shape_measures(*ellipsoid((9, 9, 18), (1, 1, 1)))
    larger, smaller = (shape_measures(*ellipsoid((9, 9, 18), (1, 1, 1), shift=s)) for s in (shift, -shift))
    moved = (larger["surface_area"].value - smaller["surface_area"].value) / 2
    assert measures["surface_area"].standard_deviation == pytest.approx(moved, rel=0.1)
    # An outward shift makes the spheroid rounder by little.
    moved = (larger["sphericity"].value - smaller["sphericity"].value) / 2
    assert measures["sphericity"].standard_deviation == pytest.approx(abs(moved), abs=0.006)


def test_longest_diameter_is_the_feret_diameter_of_simpleitk():
    rng = np.random.default_rng(3)
    for _ in range(5):
        region, _ = ellipsoid(rng.uniform(4, 14, 3), (0.9, 1.1, 3.0), Rotation.random(rng=rng).as_matrix())
        affine = np.eye(4)
        affine[:3, :3] = ROTATION * [0.9, 1.1, 3.0]
        feret = []
        for plane in np.moveaxis(region, 2, 0):
            image = sitk.GetImageFromArray(plane.T.astype(np.uint8))
            image.SetSpacing([0.9, 1.1])
            statistics = sitk.LabelShapeStatisticsImageFilter()
            statistics.ComputeFeretDiameterOn()
            statistics.Execute(image)
            feret += [statistics.GetFeretDiameter(label) for label in statistics.GetLabels()]
        # Both between voxel centres.
        assert diameters_mm(region, affine)[0] == pytest.approx(max(feret), rel=1e-9)


def test_axial_planes_are_found_in_any_storage_order():
    region, affine = ellipsoid((6, 10, 20), (1, 1, 1))
    swapped = affine[:, [2, 0, 1, 3]]
    assert diameters_mm(np.moveaxis(region, 2, 0), swapped) == pytest.approx(diameters_mm(region, affine))
    assert diameters_mm(region, affine)[0] == pytest.approx(20, abs=1.5)


def test_standard_deviations_of_rano_are_those_of_moved_ends():
    region, affine = ellipsoid((8, 12, 10), (0.9, 1.1, 3.0))
    measures = rano_measures(region, affine)
    rng = np.random.default_rng(0)
    ends = rng.uniform(-0.5, 0.5, (2, 2, 20000)) * np.sqrt(0.9 * 1.1)
    longest, perpendicular = (measures[f"{name}_diameter"].value for name in ("longest", "perpendicular"))
    a, b = longest + ends[0].sum(axis=0), perpendicular + ends[1].sum(axis=0)
    assert measures["longest_diameter"].standard_deviation == pytest.approx(a.std(), rel=0.02)
    assert measures["bidimensional_product"].standard_deviation == pytest.approx((a * b).std(), rel=0.02)
    assert measures["bidimensional_product"].value == longest * perpendicular


def lesion(diameter, organ="lung", node=False, short=None):
    return Lesion(organ, node, 0.0, diameter, diameter / 2 if short is None else short, 0.4, (0.0, 0.0, 0.0))


def test_targets_are_five_in_all_and_two_in_an_organ():
    lesions = [lesion(d, organ) for d, organ in zip(range(50, 10, -5), 3 * ["lung"] + 5 * ["liver"], strict=True)]
    chosen = target_lesions(lesions)
    assert [(t.organ, t.longest_mm) for t in chosen] == [("lung", 50), ("lung", 45), ("liver", 35), ("liver", 30)]
    many = [lesion(20 + n, str(n)) for n in range(7)]
    assert [t.longest_mm for t in target_lesions(many)] == [26, 25, 24, 23, 22]
    found = recist_sum(many)
    assert (found.value, found.unit) == (120, "mm")
    assert found.standard_deviation == pytest.approx(0.4 * np.sqrt(5))
    assert recist_sum([]).value == 0


def test_a_lymph_node_counts_by_its_short_axis():
    node = lesion(30, "node", node=True, short=14)
    assert node.recist_mm == 14 and not measurable(node)
    assert measurable(lesion(30, "node", node=True, short=15)) and measurable(lesion(10)) and not measurable(lesion(9))
    assert recist_sum([node, lesion(12)]).value == 26


def test_lesions_are_connected_parts_with_their_places():
    large, affine = ellipsoid((10, 10, 10), (1, 1, 2), OBLIQUE)
    region = np.zeros((60, 40, 30), bool)
    region[: large.shape[0], : large.shape[1], : large.shape[2]] = large
    region[50:54, 5:7, 5:7] = True
    first, second = find_lesions(region, affine, organ="liver")
    np.testing.assert_allclose(first.centre_mm, 0, atol=0.1)
    np.testing.assert_allclose(second.centre_mm, (affine @ [51.5, 5.5, 5.5, 1])[:3])
    assert first.volume_mm3 + second.volume_mm3 == pytest.approx(volume_mm3(region, affine))
    assert second.longest_mm == pytest.approx(np.hypot(3, 1)) and second.organ == "liver"
    assert recist_sum([first, second]).value == first.longest_mm + second.longest_mm


def segmented_scan(images=None):
    region, affine = ellipsoid((10, 8, 6), (1, 1, 1.5))
    segmentation = np.where(region, 2, 0).astype(np.int8)
    segmentation[ellipsoid((10, 8, 6), (1, 1, 1.5), shift=-3)[0]] = 3
    images = {name: image(region) for name, image in (images or {}).items()}
    return Scan(affine, images, segmentation, np.ones(region.shape, bool))


def test_the_flat_row_agrees_with_the_record(tmp_path):
    scan = segmented_scan()
    row, record = tumor_features(scan), feature_record(scan)
    core = record["core"]
    assert row["core_volume_mm3"] == core["volume"]["value"]
    assert row["core_volume_std_mm3"] == core["volume"]["standard_deviation"] > 0
    assert row["whole_tumor_volume_std_mm3"] > row["core_volume_std_mm3"]
    assert row["recist_sum_mm"] == row["longest_diameter_mm"] == core["lesions"][0]["longest_mm"]
    assert row["bidimensional_product_mm2"] == core["bidimensional_product"]["value"]
    assert row["sphericity"] == core["sphericity"]["value"] and core["sphericity"]["unit"] == "1"
    assert core["elongation"]["standard_deviation"] is None
    assert all(isinstance(value, float) and np.isfinite(value) for value in row.values())
    empty = Scan(scan.affine, segmentation=np.zeros(scan.shape, np.int8))
    write_features(tmp_path / "features.json", {30.0: empty, 0: scan})
    visits = json.loads((tmp_path / "features.json").read_text(encoding="utf-8"))["visits"]
    assert visits[0] == {"day": 0.0, **record}
    nothing = {"volume": {"value": 0.0, "standard_deviation": 0.0, "unit": "mm³"}}
    assert visits[1] == {"day": 30.0, "core": nothing, "whole_tumor": nothing}


def test_the_record_takes_up_adc_and_fet():
    scan = segmented_scan({"ADC": lambda tumor: np.full(tumor.shape, 1e-3), "FET": lambda tumor: 1.0 + 2.0 * tumor})
    record = feature_record(scan)
    assert record["ADC"]["mean_cell_density"]["value"] == pytest.approx(1)
    assert record["FET"]["ratio_max"]["value"] == pytest.approx(3)
    assert record["FET"]["biological_volume"] == record["whole_tumor"]["volume"]


def test_a_single_voxel_has_no_elongation():
    region = np.zeros((5, 5, 5), bool)
    region[2, 2, 2] = True
    measures = shape_measures(region, np.eye(4))
    assert np.isnan(measures["elongation"].value) and measures["surface_area"].value > 0


def test_shape_refuses_a_sheared_grid_and_an_empty_region():
    sheared = np.eye(4)
    sheared[0, 1] = 0.3
    with pytest.raises(InputError, match="shear"):
        surface_area_mm2(np.ones((3, 3, 3), bool), sheared)
    with pytest.raises(InputError, match="empty"):
        shape_measures(np.zeros((3, 3, 3), bool), np.eye(4))
