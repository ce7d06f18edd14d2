"""The stage that seeks a plan: its files, and what it hands to results and report."""

import json

import psa
import pytest
import volume

from twinjax.job import JobSettings, Run
from twinjax.job.options import recommend_plan, recommendation_results
from twinjax.treatment import Radiotherapy, Regimen
from twinjax.twin import Adjustable, PlanQuestion, SwitchingQuestion

SETTINGS = JobSettings(decision_horizon_days=20.0, decision_draws=10)


def test_without_a_question_nothing_is_sought(tmp_path):
    run = Run(tmp_path, stages=0)
    assert recommend_plan(run, volume.twin(), None, SETTINGS, given=Regimen(), day=5.0) is None
    assert recommendation_results(None) == {"recommendation": None} and run.seconds == {}


@pytest.mark.thorough
def test_the_stage_writes_doses_and_front(tmp_path):
    standard = Regimen((Radiotherapy([0.0, 1.0], 3.0, alpha=0.05, alpha_beta_ratio=2.0),))
    question = PlanQuestion(
        standard, {"radiotherapy": Adjustable(10.0, normal_alpha_beta_ratio=3.0)}, burdens=(), starts=1
    )
    run, twin = Run(tmp_path, stages=1), volume.twin()
    made = recommend_plan(run, twin, question, SETTINGS, given=twin.regimen, day=5.0)
    assert made is not None and made.times[-1] == 25.0
    assert list(run.seconds) == ["seek a better plan"]
    doses = (tmp_path / "recommendation.csv").read_text().splitlines()
    assert doses[0] == "plan,treatment,day,dose,unit" and doses[1] == "standard,radiotherapy,0.0,3.0,gy"
    assert len((tmp_path / "front.csv").read_text().splitlines()) == 2
    run.write_json("results.json", recommendation_results(made))
    found = json.loads((tmp_path / "results.json").read_text())["recommendation"]
    assert found["better"] and found["probability_smaller"] == pytest.approx(1.0)
    assert {row["measure"] for row in found["limits"]} >= {"bed_normal_tissue_gy", "eqd2_normal_tissue_gy"}


def test_the_stage_writes_what_switching_gives(tmp_path):
    question = SwitchingQuestion(off_below=(2.0,), on_above=(20.0,), least_on_days=112.0, review_days=56.0)
    settings = JobSettings(decision_horizon_days=336.0, decision_draws=10)
    run, twin = Run(tmp_path, stages=1), psa.twin()
    made = recommend_plan(run, twin, question, settings, given=twin.regimen, day=psa.DECISION)
    assert made is not None and made.times[-1] == psa.DECISION + 336.0
    reviews = (tmp_path / "recommendation.csv").read_text().splitlines()
    assert reviews[0].startswith("plan,day,psa_ng_ml,") and len(reviews) == 1 + 3 * 6
    run.write_json("results.json", recommendation_results(made))
    found = json.loads((tmp_path / "results.json").read_text())["recommendation"]
    assert found["thresholds"]["recommended"] == {"off_below": 2.0, "on_above": 20.0} and len(found["front"]) == 3
