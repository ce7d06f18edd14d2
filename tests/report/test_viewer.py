"""The interactive viewer: what is packed for the page, and what a browser makes of it."""

import base64
import itertools
import json
import re
import zlib
from dataclasses import replace

import numpy as np
import pytest
from chromium import chromium

from twinjax.domain import Domain
from twinjax.imaging.scan import Scan
from twinjax.patient.visit import Visit
from twinjax.report import PatientReport, Section, write_report
from twinjax.report import viewer as viewer_module
from twinjax.report.figure import TreatmentMark
from twinjax.report.viewer import DAYS, orthogonal_viewer, quantized
from twinjax.twin import Forecast

SHAPE = (20, 16, 12)
UPRIGHT = np.diag([2.0, 2.0, 2.0, 1.0])
UPRIGHT[:3, 3] = [-10.0, 4.0, 6.0]
DAYS_OF_FORECAST = (0.0, 7.0, 30.0, 60.0)
# On the patient's left, in front and below, by where its voxels lie from the middle of the grid.
CENTRE = (5, 11, 4)


def ball(radius):
    axes = np.ogrid[tuple(slice(n) for n in SHAPE)]
    return sum((axis - middle) ** 2 for axis, middle in zip(axes, CENTRE, strict=True)) <= radius**2


def scene(affine=UPRIGHT, stored=lambda volume: volume, days=DAYS_OF_FORECAST, visit_days=(0.0, 30.0)):
    """Visits and a forecast of a growing ball, in any storage order."""
    mean = np.stack([0.9 * ball(2.5 + 0.02 * day) for day in days])
    segmentation = np.where(ball(2.0), 3, np.where(ball(3.0), 2, 0)).astype(np.int8)
    images = {"T1CE": np.where(ball(2.0), 3.0, 1.0 + np.arange(SHAPE[0])[:, None, None] / 20) * np.ones(SHAPE)}
    scan = Scan(affine, {n: stored(i).astype(np.float32) for n, i in images.items()}, stored(segmentation))
    domain = Domain(stored(np.ones(SHAPE)), (2.0, 2.0, 2.0), affine=affine)
    mean = np.stack([stored(each) for each in mean])
    fields = {"core": mean * 0.5, "whole_tumor": mean / 0.9}
    forecast = Forecast(np.asarray(days), mean, 0.1 * mean, fields, {}, domain, {}, 0)
    return [Visit(day, scan) for day in visit_days], forecast


def viewer(**keywords):
    visits, forecast = scene(**keywords)
    return orthogonal_viewer(visits, forecast, last_day=20.0, treatments=[TreatmentMark("drug", [7, 8, 9, 40], True)])


def unpacked(text, stride, shape):
    changes = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    # Sums along the stride, modulo 256.
    whole = np.pad(changes, (0, -len(changes) % stride)).reshape(-1, stride)
    return np.cumsum(whole, axis=0, dtype=np.uint8).ravel()[: len(changes)].reshape(shape)


def maps_of(content):
    shape = content["grids"]["map"]["shape"]
    return [
        unpacked(each["codes"], np.prod(shape), (len(content["days"]), *shape)) * each["top"] / 255
        for each in content["maps"]
    ]


def test_values_come_back_within_half_a_step():
    values = np.random.default_rng(0).normal(size=1000)
    low, high = values.min(), values.max()
    error = np.abs(low + quantized(values, low, high) * (high - low) / 255 - values)
    assert 0.4 * (high - low) / 255 < error.max() <= 0.5001 * (high - low) / 255
    assert quantized(np.array([-1.0, 2.0]), 0.0, 1.0).tolist() == [0, 255]
    assert quantized(np.zeros(3), 0.0, 0.0).tolist() == [0, 0, 0]


def test_an_upright_forecast_is_shown_voxel_by_voxel():
    content = viewer().content
    _, forecast = scene()
    assert content["grids"]["map"] == {"step": 2.0, "origin": [-10.0, 4.0, 6.0], "shape": list(SHAPE)}
    mean, spread, core, whole = maps_of(content)
    np.testing.assert_allclose(mean, forecast.density_mean, atol=0.5001 / 255)
    np.testing.assert_allclose(spread, forecast.density_std, atol=0.5001 * 0.09 / 255)
    np.testing.assert_allclose(core, forecast.visible_probability["core"], atol=0.5001 / 255)
    np.testing.assert_allclose(whole, forecast.visible_probability["whole_tumor"], atol=0.5001 / 255)
    assert [content["maps"][i]["region"] for i in content["boundaries"]] == ["core", "whole_tumor"]
    assert content["maps"][1]["top"] == pytest.approx(0.09)


def test_every_storage_order_shows_the_same_place_to_the_reader():
    expected = viewer().content
    for order in itertools.permutations(range(3)):
        for signs in ((1, 1, 1), (-1, 1, 1), (1, -1, -1)):
            turn = np.zeros((4, 4))
            turn[3, 3] = 1
            for axis, world in enumerate(order):
                turn[world, axis] = signs[axis]
                turn[world, 3] += 0 if signs[axis] == 1 else SHAPE[world] - 1
            flips = tuple(slice(None, None, sign) for sign in signs)
            content = viewer(
                affine=UPRIGHT @ turn, stored=lambda volume, o=order, f=flips: np.transpose(volume, o)[f]
            ).content
            assert content["grids"] == expected["grids"]
            np.testing.assert_allclose(maps_of(content), maps_of(expected), atol=1e-6)
            assert content["outlines"] == expected["outlines"]
            assert content["scans"] == expected["scans"]


def test_an_oblique_scan_stays_where_it_is_in_the_patient():
    angle = np.deg2rad(20)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine = turn @ UPRIGHT
    content = viewer(affine=affine).content
    axes, placed = np.asarray(content["axes"]), content["grids"]["map"]
    np.testing.assert_allclose(axes, turn[:3, :3], atol=1e-12)
    assert "20° off the patient's axes" in viewer(affine=affine).caption and "off the" not in viewer().caption
    mean = maps_of(content)[0][-1]
    shown = np.asarray(placed["origin"]) + placed["step"] * (np.argwhere(mean > 0.45).mean(axis=0))
    np.testing.assert_allclose(axes @ shown, (affine @ [*CENTRE, 1])[:3], atol=1e-6)
    np.testing.assert_allclose(axes @ content["start"], (affine @ [*CENTRE, 1])[:3], atol=1e-6)


def test_days_of_visits_are_kept_and_named_and_outlined():
    days = tuple(np.linspace(0.0, 200.0, 81))
    content = viewer(days=days, visit_days=(0.0, 12.5, 100.0)).content
    assert len(content["days"]) == DAYS
    named = [label for label in content["days"] if "visit" in label]
    assert named == ["day 0, visit", "day 12.5, visit", "day 100, visit held out"]
    assert content["days"][-1] == "day 200"
    assert [content["days"][int(time)] for time in content["outlines"]] == named
    grid = content["grids"]["outline"]
    codes = unpacked(next(iter(content["outlines"].values())), 1, grid["shape"])
    assert (codes >= 1).sum() == ball(3.0).sum() and (codes == 2).sum() == ball(2.0).sum()


def test_the_rows_below_the_slider_follow_its_stops():
    visits, drug = viewer().content["timeline"]
    assert [(round(mark["left"]), mark["symbol"]) for mark in visits["marks"]] == [(0, "▲"), (67, "△")]
    assert drug["text"] == "drug on days 7 to 9, 40"
    assert drug["marks"][0]["left"] == pytest.approx(100 / 3)
    assert drug["marks"][1]["left"] == pytest.approx(100 * (2 + 1 / 3) / 3)


def test_what_is_not_there_is_not_shown():
    _, forecast = scene(days=(0.0,), visit_days=(0.0,))
    bare = Scan(UPRIGHT, {}, None, np.ones(SHAPE, bool))
    content = orthogonal_viewer([Visit(0.0, bare)], replace(forecast, visible_probability={})).content
    assert content["outlines"] == {} and content["boundaries"] == [] and content["timeline"] == []
    assert [scan["label"] for scan in content["scans"]] == ["tissue"]
    assert len(content["maps"]) == 2


def test_the_size_is_bounded_for_noise_on_a_fine_grid(monkeypatch):
    bounds = {"SCANS": 60_000, "MAPS": 90_000, "OUTLINES": 20_000}
    assert sum(getattr(viewer_module, name).letters for name in bounds) < 6_000_000
    for name, letters in bounds.items():
        monkeypatch.setattr(viewer_module, name, viewer_module.Limit(letters, 1_000_000))
    rng, shape, days = np.random.default_rng(0), (30, 30, 20), np.arange(40.0)
    images = {name: rng.random((60, 60, 40), np.float32) for name in ("ADC", "FLAIR", "T1", "T1CE")}
    affine = np.diag([1.0, 1.0, 1.5, 1.0])
    segmentation = rng.integers(0, 4, (60, 60, 40)).astype(np.int8)
    noise = rng.random((40, *shape), np.float32)
    domain = Domain(np.ones(shape), (1.0, 1.0, 1.5), affine=affine)
    forecast = Forecast(days, noise, noise, {"core": noise, "whole_tumor": noise}, {}, domain, {}, 0)
    content = orthogonal_viewer([Visit(0.0, Scan(affine, images, segmentation))], forecast).content
    assert [scan["label"] for scan in content["scans"]] == ["T1CE", "T1", "FLAIR"]
    assert 0.8 * sum(bounds.values()) < len(json.dumps(content)) < sum(bounds.values()) + 8000


@pytest.fixture(scope="module")
def page_path(tmp_path_factory):
    section = Section("Forecast <b>", viewer=viewer())
    report = PatientReport("A viewer", "ball", synthetic=True, sections=[section, Section("Other", viewer=viewer())])
    return write_report(report, tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture
def page(tmp_path):
    with chromium(tmp_path / "profile") as browser:
        yield browser


PICTURES = "[...document.querySelector('.viewer').querySelectorAll('canvas.plane')].map((c) => c.toDataURL())"
SET = """(() => {{ const control = document.querySelector('.viewer [data-part={0}]');
    control.{1}; control.dispatchEvent(new Event('input')); }})()"""
STARTED = """new Promise((done) => { const wait = () =>
    document.querySelector('.viewer[hidden]') ? setTimeout(wait, 20) : done(true); wait(); })"""


def changed(page, action):
    before = page.value(PICTURES)
    action()
    return [a != b for a, b in zip(before, page.value(PICTURES), strict=True)]


def test_a_browser_shows_it_and_follows_mouse_keys_and_slider(page, page_path):
    page.open(page_path)
    assert page.value(STARTED)
    text = "document.querySelector('.viewer [data-part=readout]').textContent"
    # The centre of the ball: (-10, 4, 6) mm and voxels (5, 11, 4) of 2 mm on.
    assert page.value(text) == (
        "R 0.0, A 26.0, S 14.0 mm: density 0.90 ± 0.09 (s.d.); core visible in 45 % of the draws; "
        "whole tumour visible in 100 % of the draws"
    )
    assert page.value("document.querySelectorAll('.viewer-absent:not([hidden])').length") == 0
    left, top, width, height = page.value(
        "(() => { const b = document.querySelector('canvas.plane').getBoundingClientRect();"
        " return [b.left, b.top, b.width, b.height]; })()"
    )
    # A quarter from the left edge of the axial plane is a quarter from the patient's right.
    assert changed(page, lambda: page.click(left + 0.25 * width, top + 0.5 * height)) == [True, True, True]
    assert page.value(text).startswith("R 19.0, A 19.0, S 14.0 mm: density 0.00 ± 0.00")
    assert page.value("document.activeElement === document.querySelector('canvas.plane')")
    for key, where in (("ArrowRight", "R 17.0, A 19.0, S 14.0"), ("ArrowUp", "R 17.0, A 21.0, S 14.0"),
                       ("PageUp", "R 17.0, A 21.0, S 16.0"), ("Home", "R 0.0, A 26.0, S 14.0")):  # fmt: skip
        page.press(key)
        assert page.value(text).startswith(where)
    for part, change in (("day", "value = 0"), ("map", "selectedIndex = 1"), ("scan", "value = ''"),
                         ("opacity", "value = 20"), ("view", "value = 'whole'"), ("boundary", "checked = false"),
                         ("segmentation", "checked = false")):  # fmt: skip
        assert any(changed(page, lambda p=part, c=change: page.value(SET.format(p, c)))), part
    assert page.value("document.querySelector('.viewer [data-part=day-label]').textContent") == "day 0, visit"
    unit = "document.querySelector('.viewer [data-part=unit]').textContent"
    assert page.value(unit) == "standard deviation of the density (fraction of capacity)"
    assert page.complaints == []


def test_nothing_but_the_viewer_may_run(page, tmp_path):
    hostile = "</script><script>document.title = 'hacked'</script>"
    visits, forecast = scene()
    scan = replace(visits[0].scan, images={hostile: visits[0].scan.images["T1CE"]})
    section = Section("Forecast", viewer=orthogonal_viewer([Visit(0.0, scan)], forecast))
    path = write_report(PatientReport("A viewer", "ball", synthetic=True, sections=[section]), tmp_path / "report.html")
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"https?:|@import|url\(", text)
    # One is data.
    assert len(re.findall("<script", text)) == 2
    page.open(path)
    page.value(STARTED)
    assert page.value("document.querySelector('[data-part=scan] option').textContent") == hostile
    assert page.value("document.title") == "A viewer: ball"
    assert page.complaints == []
    page.value(
        "(() => { const script = document.createElement('script'); script.textContent = 'document.title = 1';"
        " document.body.append(script); })()"
    )
    assert page.value("document.title") == "A viewer: ball" and len(page.complaints) == 1


def test_the_tumour_lies_where_the_letters_say(page, page_path):
    page.open(page_path)
    page.value(STARTED)
    for part, change in (("scan", "value = ''"), ("boundary", "checked = false"), ("segmentation", "checked = false")):
        page.value(SET.format(part, change))
    # Shares of the width and height at which the coloured pixels have their centre.
    centres = page.value(
        """[...document.querySelector('.viewer').querySelectorAll('canvas.plane')].map((canvas) => {
        const { width, height } = canvas, sum = [0, 0, 0];
        const data = canvas.getContext('2d').getImageData(0, 0, width, height).data;
        for (let i = 0; i < width * height; i++)
          if (data[4 * i] > data[4 * i + 2] + 60) { sum[0]++; sum[1] += i % width; sum[2] += Math.floor(i / width); }
        return [sum[1] / sum[0] / width, sum[2] / sum[0] / height]; })"""
    )
    right, front, up = ((np.array(CENTRE) + 0.5) / SHAPE).tolist()
    expected = [(1 - right, 1 - front), (1 - right, 1 - up), (1 - front, 1 - up)]
    np.testing.assert_allclose(centres, expected, atol=0.02)


def test_without_scripts_the_note_stands_and_the_viewer_does_not(page, page_path):
    page.open(page_path, scripts=False)
    shown = "[...document.querySelectorAll('.viewer')].map((v) => getComputedStyle(v).display)"
    assert page.value(shown) == ["none", "none"]
    assert page.value("getComputedStyle(document.querySelector('.viewer-absent')).display") == "block"


def test_on_paper_there_is_neither_viewer_nor_note(page, page_path):
    page.open(page_path)
    page.value(STARTED)
    page.print_media()
    shown = "[...document.querySelectorAll('.viewer, .viewer-absent')].map((v) => getComputedStyle(v).display)"
    assert page.value(shown) == ["none"] * 4
