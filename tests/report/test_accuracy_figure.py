"""What the figure of a patient's accuracy shows: of scores that are made."""

import numpy as np
import pytest

from twinjax.report.accuracy import MOST, accuracy_figure, shares_below
from twinjax.report.figure import TreatmentMark, timeline
from twinjax.twin.accuracy import metric_row

METRICS = [
    metric_row("Dice", 0.68, "", 2, target=0.85),
    metric_row("volume error", 3.0, "%", 2, target=15.0, sign=-1),
    metric_row("distance", 50.0, "mm", 2, target=5.0, sign=-1),
    metric_row("ranked probability score", 0.1, "", 2),
    metric_row("volume error of what is gone", np.inf, "%", 2, target=15.0, sign=-1),
]


def test_each_metric_with_a_target_is_drawn_as_a_share_of_it():
    left, _ = accuracy_figure(METRICS, {"PSA": [0.2]}).axes
    assert [tick.get_text() for tick in left.get_yticklabels()] == ["Dice", "volume error", "distance"]
    assert [bar.get_width() for bar in left.patches] == pytest.approx([0.8, 0.2, MOST])
    # Told without colour: hatched and crossed where the target is not met.
    assert [bool(bar.get_hatch()) for bar in left.patches] == [True, False, True]
    assert [text.get_text() for text in left.texts] == ["✗ 0.68 (≥ 0.85)", "✓ 3 % (≤ 15)", "✗ 50 mm (≤ 5)"]


def test_each_measurement_stands_where_it_lay_in_its_forecast():
    _, right = accuracy_figure(METRICS, {"PSA": [0.9, 0.2, 0.2], "CA19-9": [0.5]}).axes
    lines = [line for line in right.lines if line.get_marker() != "None"]
    assert [line.get_xdata().tolist() for line in lines] == [[0.2, 0.2, 0.9], [0.5]]
    first, second, third = lines[0].get_ydata()
    assert first == third == 0 and second < first
    assert [tick.get_text().replace("\u00a0", " ") for tick in right.get_yticklabels()] == [
        "PSA (n = 3)",
        "CA19-9 (n = 1)",
    ]


def test_shares_are_those_of_what_was_held_out():
    course = [
        {"quantity": "psa_ng_ml", "held_out": False, "share_below": 0.1},
        {"quantity": "psa_ng_ml", "held_out": True, "share_below": 0.7},
        {"quantity": "psa_ng_ml", "held_out": True, "share_below": None},
    ]
    assert shares_below(course) == {"PSA": [0.7]}
    region = {"core_share_below": 0.2, "whole_tumor_share_below": 0.8}
    visits = [{"held_out": True, "reference": name, **region} for name in ("segmentation", "truth")]
    assert list(shares_below(visits).values()) == [[0.2], [0.8]]


def test_a_timeline_tells_what_was_held_out_by_the_shape_too():
    given = [TreatmentMark("radiotherapy", [10.0, 11.0], False), TreatmentMark("temozolomide", [10.0, 40.0], True)]
    top, below = timeline({"scan": [0, 50, 90], "PSA": [0, 20]}, given, last_day=50.0, horizon=120.0).axes
    drawn = [(line.get_marker(), line.get_xdata().tolist()) for line in top.lines if line.get_marker() != "None"]
    assert drawn == [("o", [0, 50]), ("D", [90]), ("o", [0, 20])]
    assert [tick.get_text() for tick in below.get_yticklabels()] == ["radiotherapy", "temozolomide"]
    (only,) = timeline({"scan": [0, 50]}, last_day=50.0, horizon=120.0).axes
    assert [tick.get_text() for tick in only.get_yticklabels()] == ["scan"]
