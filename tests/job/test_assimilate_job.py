"""Later visits told to the twin one by one: of a synthetic volume, one as it was foreseen and one that was not."""

import csv

import numpy as np
import pytest
import volume

from twinjax.calibration import LevenbergMarquardt
from twinjax.core.config import load_named
from twinjax.core.errors import InputError
from twinjax.job import JobSettings, Run
from twinjax.job.assimilate import assimilate_later, assimilation_results
from twinjax.model import VolumeModel
from twinjax.report.assimilation import assimilation_section, assimilation_sentence

SETTINGS = JobSettings(until_day=5.0, assimilate=True, horizon_days=100.0)
QUIET = LevenbergMarquardt(estimate_noise=False, draws=400)
# Day 50 has no measurement of its own.
DAYS = (30.0, 50.0, 60.0)


def seen_until(day):
    foreseen = {30.0: volume.expected(30.0), 60.0: 3 * volume.expected(60.0)}
    return volume.problem({one: size for one, size in foreseen.items() if one <= day})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return Run(tmp_path_factory.mktemp("assimilated"), stages=1)


@pytest.fixture(scope="module")
def twin():
    return volume.fitted(volume.problem())


@pytest.fixture(scope="module")
def visits(run, twin):
    asked = {"regimen": twin.regimen, "quantities": ["volume_mm3"], "seed": 0}
    return assimilate_later(run, twin, seen_until, DAYS, QUIET, SETTINGS, **asked)


def test_each_visit_with_something_new_is_told_once(visits, twin):
    assert [visit.day for visit in visits] == [30.0, 60.0]
    assert [[one["inside"] for one in visit.expected] for visit in visits] == [[True], [False]]
    assert visits[0].warnings == [] and "above the 90 % interval of the forecast" in visits[1].warnings[0]
    # Each starts where the one before it ended, the first at the fit.
    fit = {row["parameter"]: row["median"] for row in twin.posterior.rows(0.9)}
    for before, after in zip([fit, _after(visits[0])], visits, strict=True):
        assert {row["parameter"]: row["median_before"] for row in after.change} == pytest.approx(before)


def test_the_forecast_follows_a_visit_that_was_larger(visits):
    (first,), (second,) = (visit.ahead for visit in visits)
    assert first["day"] == second["day"] == 100.0 and first["quantity"] == "volume_mm3"
    before, after = (np.log(first[f"upper_{when}"] / first[f"lower_{when}"]) for when in ("before", "after"))
    assert after < before
    assert (second["median_before"], second["upper_before"]) == (first["median_after"], first["upper_after"])
    assert second["median_after"] > second["upper_before"]


def test_the_file_has_a_line_a_visit_and_parameter(run, visits):
    with open(run.folder / "assimilation.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["day"], row["parameter"]) for row in rows] == [
        (day, name) for day in ("30.0", "60.0") for name in ("proliferation_rate", "alpha")
    ]
    assert float(rows[2]["median_after"]) == visits[1].change[0]["median_after"]


def test_the_report_says_what_was_not_foreseen_and_what_it_changed(visits):
    section = assimilation_section(visits)
    assert "above the 90 % interval" in section.text and "Possible reasons: pseudoprogression (58 days" in section.text
    expected, change, ahead = section.tables
    assert [row[-1] for row in expected.rows] == [True, False]
    assert [row[0] for row in change.rows] == [30.0, None, 60.0, None]
    assert change.rows[2][4].startswith("+") and len(ahead.rows) == 2
    panels = section.figures[0][1].axes
    assert [panel.get_title(loc="left") for panel in panels[:2]] == ["Proliferation rate", "Alpha"]
    assert [tick.get_text() for tick in panels[0].get_xticklabels()] == ["fit", "30", "60"]
    sentence = assimilation_sentence(visits)
    assert sentence.startswith("1 of 2 later measurements") and "may no longer describe this patient" in sentence
    assert "no longer" not in assimilation_sentence(visits[:1])


def test_results_hold_it_as_plain_values(run, visits):
    (first, second) = assimilation_results(visits)["assimilation"]
    assert first["by"] in ("reweighting", "fit from the old mode") and second["warnings"] == visits[1].warnings
    assert assimilation_results([]) == {"assimilation": None}


def test_it_is_done_where_it_is_asked_for(run, twin):
    asked = {"regimen": twin.regimen, "quantities": ["volume_mm3"], "seed": 0}
    assert assimilate_later(run, twin, seen_until, DAYS, QUIET, JobSettings(until_day=5.0), **asked) == []


def test_without_a_later_visit_there_is_nothing_to_tell():
    model, prior = VolumeModel(growth="logistic"), load_named("prior", "pancreas_volume")
    with pytest.raises(InputError, match=r"assimilate=true needs visits after calibration.until_day.* is of day 60"):
        JobSettings(until_day=60.0, assimilate=True, horizon_days=100.0).check([0.0, 30.0, 60.0], model, prior)


def _after(visit):
    return {row["parameter"]: row["median_after"] for row in visit.change}
