"""The section of androgen deprivation switched by PSA, of a recommendation that is made, not sought."""

from dataclasses import replace

import numpy as np
import pytest

from twinjax.report.recommended import recommended
from twinjax.twin import SwitchingQuestion, SwitchingRecommendation
from twinjax.twin.closed_loop import SwitchedCourses
from twinjax.twin.recommendation import CAVEAT

TIMES = 784.0 + 28.0 * np.arange(21)
QUESTION = SwitchingQuestion(off_below=(1.0, 2.0, 4.0), on_above=(5.0, 10.0, 20.0))


def course(lost_at: int, off: slice) -> SwitchedCourses:
    """Forty-one draws that are above the ceiling from that review on, without treatment in `off`."""
    psa = np.linspace(0.9, 1.1, 41)[:, None] * np.where(np.arange(21) < lost_at, 1.0, 50.0)
    treated = np.ones((41, 20), bool)
    treated[:, off] = False
    return SwitchedCourses(TIMES, psa, treated, QUESTION.ceiling_ng_ml)


def row(off, on, course):
    days = course.days_of_control
    return {
        "off_below": off,
        "on_above": on,
        "share_on_treatment": float(course.share_on_treatment.mean()),
        "risk": -days.mean(),
        "efficient": on is not None,
    }


@pytest.fixture(scope="module")
def made() -> SwitchingRecommendation:
    courses = {
        "continuous": course(10, slice(0)),
        "trial": course(12, slice(0, 3)),
        "recommended": course(15, slice(0, 5)),
    }
    thresholds = {"continuous": None, "trial": (4.0, 10.0), "recommended": (2.0, 10.0)}
    rows = [row(*(thresholds[name] or (None, None)), one) for name, one in courses.items()]
    risk = {name: -float(one.days_of_control.mean()) for name, one in courses.items()}
    return SwitchingRecommendation(
        QUESTION, 784.0, TIMES, thresholds, courses, risk, rows, {"growth_rate": -0.8}, ["a narrow grid"]
    )


def test_the_verdict_tells_days_probability_and_time_off(made):
    """Five reviews of 28 days later than continuous treatment, five of fifteen without treatment."""
    told = recommended(made)
    assert "on at a PSA of 10 ng/mL and off at 2" in told.verdict
    assert (
        "+140 days of control in the mean (140 to 140; longer in 100 % of the draws) against continuous treatment"
        in told.verdict
    )
    assert "+84 days" in told.verdict and "33 % of the time without treatment" in told.verdict
    assert told.key_figure.value == "on 10, off 2 ng/mL"


def test_what_is_no_better_and_what_never_comes_are_said(made):
    worse = replace(made, risk=made.risk | {"continuous": made.risk["recommended"]})
    assert "No thresholds keep control for longer" in recommended(worse).verdict
    assert recommended(worse).key_figure.value == "none better"
    never = {name: replace(one, psa=np.ones_like(one.psa)) for name, one in made.courses.items()}
    assert "Under none of the plans is control lost" in recommended(replace(made, courses=never)).verdict


def test_the_section_says_what_it_rests_on(made):
    section = recommended(made).section
    assert CAVEAT in section.text and "In doubt: a narrow grid." in section.text
    assert "growth rate (−0.80)" in section.text
    (table,) = section.tables
    assert [cells[:2] for cells in table.rows] == [
        ["continuous", "always on"],
        ["trial", "off 4, on 10"],
        ["recommended", "off 2, on 10"],
    ]
    assert table.rows[0][2] == "280 (280 to 280)" and table.rows[0][5] == "+140 (140 to 140)"
    assert table.rows[2][4] == "67 %" and table.rows[2][5] == ""


def test_the_figure_shows_the_plans_and_every_rule(made):
    ((_, figure),) = recommended(made).section.figures
    psa, treated, front = figure.axes[:3]
    shown = {line.get_label(): np.asarray(line.get_ydata()) for line in psa.lines}
    np.testing.assert_allclose(shown["recommended"], np.median(made.courses["recommended"].psa, axis=0))
    assert len(treated.lines) == 3
    points = [(line.get_xdata()[0], line.get_ydata()[0]) for line in front.lines if len(line.get_xdata()) == 1]
    np.testing.assert_allclose(points[0], (100.0, 280.0))
