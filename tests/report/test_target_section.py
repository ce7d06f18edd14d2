"""The section of a recommended target, of a recommendation that is made, not sought."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_hex

from twinjax.domain import Domain
from twinjax.imaging import Scan
from twinjax.report.recommended import recommended
from twinjax.twin import TargetQuestion, TargetRecommendation
from twinjax.twin.recommendation import CAVEAT

SHAPE, AFFINE = (20, 20, 12), np.diag([2.0, 2.0, 2.0, 1.0])
DISTANCE = 2 * np.linalg.norm(np.indices(SHAPE) - np.reshape([10, 9, 6], (3, 1, 1, 1)), axis=0)


@pytest.fixture(scope="module")
def made() -> TargetRecommendation:
    segmentation = np.select([DISTANCE < 6, DISTANCE < 9], [3, 2]).astype(np.int8)
    scan = Scan(AFFINE, {"T1CE": np.exp(-DISTANCE / 8)}, segmentation, np.ones(SHAPE, bool))
    targets = {"standard": DISTANCE < 12, "mean": np.roll(DISTANCE < 12, 1, 0), "tail": np.roll(DISTANCE < 12, 1, 1)}
    doses = {name: 60.0 * target for name, target in targets.items()} | {"painted": 75 * np.exp(-DISTANCE / 10)}
    steps = np.linspace(0, 1, 41)
    covered = {"standard": 0.9 + 0.02 * steps, "mean": 0.92 + 0.04 * steps, "tail": 0.925 + 0.02 * steps}
    surviving = {name: 1 - share for name, share in covered.items()} | {"painted": 0.5 * (1 - covered["standard"])}
    return TargetRecommendation(
        TargetQuestion(), 95.0, scan, Domain(np.ones(SHAPE), (2.0, 2.0, 2.0), affine=AFFINE), targets, doses, covered,
        surviving, {"tail": 0.0, "painted": 0.0}, {"diffusivity": 0.7}, ["few draws"],
    )  # fmt: skip


def test_the_verdict_tells_shares_probability_and_survivors(made):
    told = recommended(made)
    assert (
        "covers 94.0 % of the cells, the standard 91.0 %: +3.00 points more in the mean (90 % interval +2.10 to +3.90"
        in (told.verdict)
    )
    assert "more in 100 % of the draws" in told.verdict and "leaves 0.50 times the expected cells" in told.verdict
    assert told.key_figure.value == "94.0 %" and told.key_figure.note == "standard 91.0 %"


def test_a_target_that_is_no_better_is_not_recommended(made):
    told = recommended(replace(made, covered=made.covered | {"mean": made.covered["standard"] + 5e-4}))
    assert told.verdict.startswith("No target covers more than the standard by 0.1 % of the cells: it stays.")
    assert told.key_figure.value == "none better"


def test_the_section_holds_evidence_caveat_and_doubts(made):
    section = recommended(made.scored({"core, day 140": DISTANCE < 6})).section
    assert CAVEAT in section.text and "few draws" in section.text and "cannot be delivered as it stands" in section.text
    targets, doses, recurrence, sensitivity = section.tables
    assert [row[0] for row in targets.rows] == ["standard, 15 mm", "most cells", "most in the worst draws"]
    assert [row[0] for row in doses.rows][-1] == "painted dose" and doses.rows[-1][4] == "0.50 (0.50 to 0.50)"
    assert recurrence.rows == [["core, day 140", "100.0 %", "100.0 %", "100.0 %"]]
    assert sensitivity.rows == [["diffusivity", "+0.70"]]
    assert len(recommended(made).section.tables) == 3


def test_the_figures_outline_every_target_and_colour_the_dose(made):
    (_, overlay), (_, dose) = recommended(made).section.figures
    names = [text.get_text() for text in overlay.legends[0].get_texts()]
    assert names == ["standard, 15 mm", "most cells", "most in the worst draws", "tumour at planning"]
    assert len({to_hex(line.get_color()) for line in overlay.legends[0].get_lines()}) == 4
    assert "dose (Gy)" in [axes.get_ylabel() for axes in dose.axes]
    images = [image for axes in dose.axes for image in axes.images if image.get_cmap().name == "inferno"]
    assert max(float(np.max(np.asarray(image.get_array()))) for image in images) == pytest.approx(75.0, rel=0.2)
