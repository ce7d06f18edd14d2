import itertools
from dataclasses import replace

import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.imaging.scan import Scan
from twinjax.patient.visit import Visit
from twinjax.report.anatomy import AxialView, density_maps, plan_overlay, scan_overview
from twinjax.twin import Forecast

RAS = np.diag([2.0, 3.0, 4.0, 1.0])
SHAPE = (12, 14, 8)


def sphere(centre, radius, shape=SHAPE):
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return np.linalg.norm(grid - np.asarray(centre), axis=-1) <= radius


def visit(day, modalities, core_radius=1.5, whole_radius=3.0, affine=RAS):
    segmentation = np.zeros(SHAPE, np.int8)
    segmentation[sphere((4, 7, 5), whole_radius)] = 2
    segmentation[sphere((4, 7, 5), core_radius)] = 3
    brain = sphere((6, 7, 4), 6)
    images = {name: (brain * (1.0 + 0.1 * segmentation)).astype(np.float32) for name in modalities}
    return Visit(day, Scan(affine, images, segmentation, brain))


def contours(panel):
    return [c for c in panel.collections if type(c).__name__ == "QuadContourSet" and not c.filled]


def test_left_of_the_patient_is_right_in_the_picture_and_front_is_up():
    volume = np.zeros(SHAPE)
    volume[1, 12, 3] = 1.0
    picture = AxialView.through(volume, RAS).cut(volume)
    row, column = np.argwhere(picture)[0]
    assert picture.shape == (14, 12)
    assert (row, column) == (1, 10)


def test_every_storage_order_gives_the_same_picture():
    volume = np.random.default_rng(0).random(SHAPE)
    region = sphere((4, 7, 5), 2)
    expected = AxialView.through(region, RAS, frame=region)
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            flips = tuple(slice(None, None, s) for s in signs)
            matrix = np.zeros((3, 3))
            for axis, world in enumerate(order):
                matrix[world, axis] = signs[axis] * RAS[world, world]
            affine = np.eye(4)
            affine[:3, :3] = matrix
            stored, stored_region = (np.transpose(a, order)[flips] for a in (volume, region))
            view = AxialView.through(stored_region, affine, frame=stored_region)
            np.testing.assert_array_equal(view.cut(stored), expected.cut(volume))
            assert view.aspect == pytest.approx(1.5)


def test_the_plane_is_the_largest_cross_section_and_the_frame_keeps_its_margin():
    region = sphere((4, 7, 5), 2)
    view = AxialView.through(region, RAS, frame=region, margin_mm=4.0)
    assert view.index == 5
    # 5 voxels of 2 mm and 3 mm, with 2 voxels of margin on both sides.
    assert view.cut(region).shape == (9, 9)


def test_an_empty_region_is_refused():
    with pytest.raises(InputError, match="non-empty"):
        AxialView.through(np.zeros(SHAPE), RAS)


def test_scan_overview_has_a_row_per_visit_and_says_what_was_not_acquired():
    visits = [visit(0, ["T1CE", "FLAIR"]), visit(30, ["T1CE"], 2.0, 4.0)]
    figure = scan_overview(visits)
    panels = np.reshape(figure.axes, (2, 2))
    assert [panel.get_title() for panel in panels[0]] == ["T1CE", "FLAIR"]
    assert [panel.get_ylabel() for panel in panels[:, 0]] == ["day 0", "day 30"]
    assert [len(contours(panel)) for panel in panels.ravel()] == [2, 2, 2, 0]
    assert [text.get_text() for text in panels[1, 1].texts] == ["not acquired"]
    assert {text.get_text() for text in panels[0, 0].texts} == {"R", "L"}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["tumour core", "whole tumour"]
    together = sum(v.scan.whole_tumor.astype(int) for v in visits)
    view = AxialView.through(together, RAS, frame=visits[0].scan.brain_mask)
    shown = panels[0, 0].images[0].get_array()
    np.testing.assert_allclose(shown, view.cut(visits[0].scan.images["T1CE"]))


def test_a_visit_without_segmentation_is_shown_without_contours():
    scan = visit(0, ["CT"]).scan
    figure = scan_overview([Visit(0, Scan(RAS, scan.images))])
    assert contours(figure.axes[0]) == []
    assert figure.legends == []


def test_scan_overview_without_images_is_refused():
    scan = Scan(RAS, {}, np.zeros(SHAPE, np.int8))
    with pytest.raises(InputError, match="at least one visit"):
        scan_overview([Visit(0, scan)])


def make_forecast():
    mean = np.stack([0.9 * sphere((4, 7, 5), r).astype(np.float32) for r in (1, 2, 3)])
    brain = sphere((6, 7, 4), 6)
    domain = Domain(brain, np.diag(RAS)[:3], affine=RAS)
    return Forecast(np.array([30.0, 60.0, 90.0]), mean, 0.1 * mean, {}, {}, domain, {}, failed_draws=0), brain


def test_density_maps_show_mean_uncertainty_and_truth_with_threshold_contours():
    forecast, brain = make_forecast()
    figure = density_maps(
        forecast,
        brain.astype(float),
        thresholds={"core": 0.6, "oedema": 0.2},
        truth=forecast.density_mean,
        observed={60.0: sphere((4, 7, 5), 2)},
        columns=2,
    )
    maps = np.reshape(figure.axes[:6], (3, 2))
    assert [panel.get_title() for panel in maps[0]] == ["day 30", "day 90"]
    assert [panel.get_ylabel() for panel in maps[:, 0]] == ["mean density", "uncertainty (s.d.)", "synthetic truth"]
    assert [len(contours(panel)) for panel in maps.ravel()] == [2, 2, 0, 0, 2, 2]
    assert [c.levels.tolist() for c in contours(maps[0, 1])] == [[0.6], [0.2]]
    assert maps[0, 1].images[1].get_array().sum() == pytest.approx(forecast.density_mean[2, :, :, 5].sum(), rel=1e-5)
    assert len(figure.axes) == 6 + 3


def test_an_observed_mask_is_outlined_on_its_day_only():
    forecast, brain = make_forecast()
    forecast = replace(forecast, domain=Domain(brain, (2.0, 3.0, 4.0)))
    observed = {60.0: sphere((4, 7, 5), 2)}
    figure = density_maps(forecast, brain.astype(float), thresholds={"core": 0.6}, observed=observed)
    assert [len(contours(panel)) for panel in figure.axes[:3]] == [1, 2, 1]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["core (density 0.6)", "observed whole tumour"]


def test_plan_overlay_outlines_plans_and_tumour_and_fills_the_recurrence():
    brain, tumor = sphere((6, 7, 4), 6), sphere((4, 7, 4), 2)
    plans = {"standard": sphere((4, 7, 4), 3), "model": sphere((5, 7, 4), 3)}
    figure = plan_overlay(brain.astype(float), RAS, plans, recurrence=tumor, tumor=tumor, planes=2)
    assert [panel.get_title() for panel in figure.axes] == ["plane 4 of 8", "plane 6 of 8"]
    for panel in figure.axes:
        assert len(contours(panel)) == 3
        assert len([c for c in panel.collections if getattr(c, "filled", False)]) == 2
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["standard", "model", "tumour at planning", "recurrence"]
    with pytest.raises(InputError, match="one to 4 plans"):
        plan_overlay(brain, RAS, {})
