"""The section of a recommended plan, of a recommendation that is made, not sought."""

from dataclasses import replace

import numpy as np
import pytest

from twinjax.report.recommendation import recommendation_key_figure, recommendation_section, verdict
from twinjax.treatment import Radiotherapy, Regimen
from twinjax.twin import Adjustable, PlanQuestion
from twinjax.twin.criteria import criterion_for
from twinjax.twin.recommendation import CAVEAT, FrontPoint, Recommendation

TIMES = np.array([20.0, 40.0, 60.0])
STANDARD = Regimen((Radiotherapy([0.0, 2.0, 4.0], 10.0),))
QUESTION = PlanQuestion(STANDARD, {"radiotherapy": Adjustable(18.0, normal_alpha_beta_ratio=3.0)}, burdens=(0.5,))
COURSE = 20_000 * np.linspace(0.9, 1.1, 41)[:, None] * np.array([1.0, 0.5, 0.4])
BETTER = COURSE * np.array([1.0, 0.8, 0.8])


@pytest.fixture(scope="module")
def made() -> Recommendation:
    sums = {"radiotherapy_bed_normal_tissue_gy": 130.0}
    rows = [
        {"treatment": "radiotherapy", "measure": "total_dose_gy", "standard": 30.0, "recommended": 29.0, "bound": None},
        {"treatment": "radiotherapy", "measure": "bed_normal_tissue_gy", "standard": 130.0, "recommended": 130.0}
        | {"bound": 130.0},
    ]
    return Recommendation(
        QUESTION,
        "volume_mm3",
        criterion_for("volume_mm3"),
        20.0,
        TIMES,
        {"standard": STANDARD, "recommended": Regimen((Radiotherapy([0.0, 4.0], 14.0),))},
        {"standard": COURSE, "recommended": BETTER},
        {"standard": 9.0, "recommended": 8.8},
        rows,
        1.0,
        {"radiotherapy_alpha": -0.8},
        [FrontPoint(0.5, 0.5, sums, COURSE * 1.2, 9.2), FrontPoint(1.0, 1.0, sums, BETTER, 8.8)],
        [],
    )


def test_the_verdict_tells_difference_interval_and_probability(made):
    assert "0.80 times (90 % interval 0.80 to 0.80) the volume on day 60, less in 100 % of the draws" in verdict(made)
    figure = recommendation_key_figure(made)
    assert (figure.value, figure.note) == ("−20 %", "less in 100 % of draws")


def test_a_plan_that_is_no_better_is_not_recommended(made):
    # Half a per cent of the size is no reason to change a treatment.
    for risk in (9.0, 8.995):
        worse = replace(made, risk={"standard": 9.0, "recommended": risk})
        assert "it stays" in verdict(worse)
        assert recommendation_key_figure(worse).value == "none better"
    assert replace(made, risk={"standard": 9.0, "recommended": 8.98}).better


def test_the_section_says_what_the_plan_rests_on(made):
    section = recommendation_section(replace(made, doubts=["no convergence"]))
    assert CAVEAT in section.text and "In doubt: no convergence" in section.text
    assert "Progression: a volume 40 % above that of the decision" in section.text and "Wen et al." in section.text
    limits, evidence, front, sensitivity = section.tables
    assert limits.rows[1] == ["radiotherapy", "BED normal tissue (Gy)", 130.0, 130.0, 130.0]
    # Between 9.2 at half the limits and 8.8 at all of them.
    assert evidence.rows[-1][2] == "75 % of the limits"
    assert [row[0] for row in front.rows] == ["50 %", "100 %"]
    assert sensitivity.rows == [["radiotherapy alpha", "−0.80"]]


def test_the_figure_shows_both_plans_and_where_the_standard_stands(made):
    ((_, figure),) = recommendation_section(made).figures
    doses, course, front = figure.axes
    assert doses.get_ylabel() == "Gy"
    shown = {line.get_label(): np.asarray(line.get_ydata()) for line in course.lines}
    np.testing.assert_allclose(shown["recommended"], np.median(BETTER, axis=0) / 1000)
    points = [(line.get_xdata()[0], line.get_ydata()[0]) for line in front.lines if len(line.get_xdata()) == 1]
    np.testing.assert_allclose(points, [(100, 8.0), (100, 6.4)])
