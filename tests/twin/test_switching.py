"""`DigitalTwin.recommend_switching` for thresholds of PSA: the choice, and what is told of it."""

import csv
import json

import numpy as np
import psa
import pytest
import volume

from twinjax.core.config import load_named
from twinjax.core.errors import InputError
from twinjax.model import AndrogenCellQuota, BiphasicPSA, SwansonPSA
from twinjax.twin import SwitchingQuestion
from twinjax.twin.closed_loop import SwitchingRule, switched

QUESTION = SwitchingQuestion(off_below=(1.0, 4.0), on_above=(3.0, 20.0), least_on_days=112.0, review_days=56.0)
HORIZON = psa.DECISION + 1680.0


@pytest.fixture(scope="module")
def made():
    return psa.twin().recommend_switching(QUESTION, decision_day=psa.DECISION, horizon_days=HORIZON, draws=10)


@pytest.mark.thorough
def test_the_pair_is_the_best_of_all_on_the_draws_of_the_search(made):
    of = psa.twin()
    seen, _ = psa.ahead(of, 20)
    seen = type(seen).of(seen.tumor, of.problem, of.whitened_draws(20)[::2], psa.DECISION, "psa_ng_ml")
    means = {
        pair: switched(seen, SwitchingRule(*pair, 112.0), made.times, np.inf, 40.0).days_of_control.mean()
        for pair in QUESTION.pairs
    }
    assert QUESTION.pairs == [(1.0, 3.0), (1.0, 20.0), (4.0, 20.0)]
    assert means[made.thresholds["recommended"]] == max(means.values()) > min(means.values())


@pytest.mark.thorough
def test_it_is_told_by_draws_that_the_search_has_not_seen(made):
    found = made.evidence()
    assert found["draws"] == 10 and found["share_lost"]["continuous"] > 0.5
    for plan, course in made.courses.items():
        days = course.days_of_control
        assert found["days_of_control"][plan]["median"] == np.median(days)
        assert made.risk[plan] == pytest.approx(-days.mean())
    gained = made.courses["recommended"].days_of_control - made.courses["continuous"].days_of_control
    np.testing.assert_allclose(made.days_gained("continuous"), gained)
    later = (gained > 0).mean() + 0.5 * (gained == 0).mean()
    assert found["probability_later"]["continuous"] == pytest.approx(later)
    assert found["better"] == (gained.mean() > 1)
    off = made.courses["recommended"].days_of_control - made.courses["recommended"].days_on_treatment
    np.testing.assert_allclose(made.days_off_gained("continuous"), off)
    assert found["share_on_treatment"]["continuous"] == 1.0
    assert set(made.sensitivity) <= {"growth_rate", "supply_rate"}


@pytest.mark.thorough
def test_pauses_are_better_where_they_turn_cells_back_alone(made):
    """Neither treatment nor waiting is best by the way it is counted."""
    stays = psa.twin(5e-5).recommend_switching(QUESTION, decision_day=psa.DECISION, horizon_days=HORIZON, draws=10)
    assert made.better and not stays.better
    assert set(stays.evidence()["share_lost"].values()) == {1.0}
    days = {(row["off_below"], row["on_above"]): -row["risk"] for row in stays.front}
    assert days[1.0, 20.0] < days[1.0, 3.0] < days[None, None]


@pytest.mark.thorough
def test_the_front_has_every_rule_and_marks_what_none_beats(made):
    rows = made.front_rows()
    pairs = [(row["off_below"], row["on_above"]) for row in rows]
    assert set(pairs) == {*QUESTION.pairs, QUESTION.trial, (None, None)} and len(pairs) == 5
    best = min(rows, key=lambda row: row["risk"])
    assert best["efficient"] and rows[0]["share_on_treatment"] == min(r["share_on_treatment"] for r in rows)
    efficient = [row for row in rows if row["efficient"]]
    assert [r["risk"] for r in efficient] == sorted((r["risk"] for r in efficient), reverse=True)


@pytest.mark.thorough
def test_rows_are_one_table_and_the_evidence_is_plain(made, tmp_path):
    rows = made.rows()
    assert len(rows) == 3 * (len(made.times) - 1)
    with open(tmp_path / "a.csv", "w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    json.dumps(made.evidence() | {"front": made.front_rows()}, allow_nan=False)


def test_a_short_horizon_is_doubted():
    short = psa.twin().recommend_switching(
        QUESTION, decision_day=psa.DECISION, horizon_days=psa.DECISION + 112.0, draws=10
    )
    assert any("keep control until the last review" in doubt for doubt in short.doubts)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"off_below": (0.0,)}, "off_below must be a list of positive numbers"),
        ({"on_above": (0.5,)}, "no value of off_below"),
        ({"trial_off_below": 12.0}, "trial_off_below must be positive and below trial_on_above"),
        ({"review_days": 0.0}, "review_days must be a positive number of days"),
        ({"least_on_days": -1.0}, "least_on_days must be a number of days >= 0"),
        ({"ceiling_ng_ml": 20.0}, "ceiling_ng_ml must lie above 20, the highest PSA"),
        ({"trial_on_above": 50.0}, "ceiling_ng_ml must lie above 50"),
        ({"tail": 0.0}, "tail must lie above 0"),
    ],
    ids=str,
)
def test_what_cannot_be_asked(changes, message):
    with pytest.raises(InputError, match=message):
        SwitchingQuestion(**changes)


def test_a_horizon_needs_three_reviews():
    with pytest.raises(InputError, match="leaves 1 reviews after the decision"):
        SwitchingQuestion().reviews(100.0, 150.0)
    np.testing.assert_allclose(SwitchingQuestion().reviews(100.0, 160.0), [100.0, 128.0, 156.0])


def test_the_model_must_have_psa_that_answers_to_deprivation():
    QUESTION.check(AndrogenCellQuota())
    QUESTION.check(BiphasicPSA())
    with pytest.raises(InputError, match="SwansonPSA is not; choose model=prostate_androgen_deprivation"):
        QUESTION.check(SwansonPSA())
    with pytest.raises(InputError, match="VolumeModel is not"):
        volume.twin().recommend_switching(QUESTION, decision_day=5.0, horizon_days=400.0)


def test_the_question_of_the_configuration_is_the_default():
    assert load_named("recommendation", "intermittent_androgen_deprivation") == SwitchingQuestion(
        off_below=[0.5, 1, 2, 4], on_above=[2.5, 5, 10, 20], least_on_days=252, review_days=28
    )
