"""Targets and a painted dose of a twin of a bar of tissue (synthetic), whose posterior is made, not fitted."""

from dataclasses import replace

import bar
import numpy as np
import pytest
import volume

from twinjax.core.errors import InputError
from twinjax.imaging import Scan
from twinjax.treatment import Radiotherapy, Regimen
from twinjax.twin import OrganAtRisk, TargetQuestion, TargetRecommendation
from twinjax.twin.recommendation import CAVEAT

CORE, SCAN = bar.slab(20, 26), bar.scan(bar.slab(20, 26), bar.slab(18, 30))
# Beside the core, half of it within the margin.
AT_RISK = OrganAtRisk(bar.slab(28, 32), 0.47)
QUESTION = TargetQuestion(margin_mm=9.0, tail=0.2, least_dose=0.3)


def recommended(question=QUESTION, scan=SCAN, at_risk=None, draws=20) -> TargetRecommendation:
    return bar.twin(bar.posterior(draws=40)).recommend_target(
        question, scan, decision_day=8.0, draws=draws, at_risk=at_risk
    )


@pytest.fixture(scope="module")
def made() -> TargetRecommendation:
    return recommended(at_risk=AT_RISK)


@pytest.mark.thorough
def test_targets_have_the_volume_of_the_margin_and_hold_the_core(made):
    """Six planes of core and four of margin on either side, each plane of sixteen voxels of 8 mm³."""
    assert set(made.targets) == {"standard", "mean", "tail"}
    for name, target in made.targets.items():
        assert made.volume_mm3(name) == 14 * 16 * 8
        assert made.on_scan(target)[CORE].all()
    np.testing.assert_array_equal(made.on_scan(made.targets["standard"]), bar.slab(16, 30))


@pytest.mark.thorough
def test_on_draws_that_it_was_not_made_for_the_target_covers_more(made):
    """The core as drawn lies to one side of the cells, and so does its margin."""
    assert all(len(draws) == 20 for draws in made.covered.values())
    found = made.evidence()
    assert made.better and found["covered_gained"]["mean"]["lower"] > 0
    assert found["probability_more_covered"] == {"mean": 1.0, "tail": 1.0}
    assert found["covered"]["standard"]["mean"] < found["covered"]["mean"]["mean"] < 1
    for name, draws in made.covered.items():
        assert found["covered_in_tail"][name] == pytest.approx(np.sort(draws)[:4].mean())
    assert found["caveat"] == CAVEAT
    assert made.doubts == ["the standard gives the organ at risk 1.5 Gy a fraction more than the painted dose may"]


@pytest.mark.thorough
def test_the_painted_dose_keeps_every_bound(made):
    dose, standard = made.doses["painted"] / 30, made.targets["standard"]
    assert made.integral_dose("standard") == pytest.approx(60 * made.volume_mm3("standard"))
    assert 0 <= made.integral_dose("standard") - made.integral_dose("painted") < 30 * 2.5 * 8
    assert dose.max() <= 2.5 and dose[standard].min() >= 0.3
    assert made.on_scan(dose)[AT_RISK.mask].max() == pytest.approx(0.47)


def test_the_painted_dose_leaves_fewer_cells():
    made = recommended()
    found = made.evidence()
    assert made.doubts == []
    assert found["expected_surviving_ratio"]["painted"] < 0.9 and found["probability_fewer"]["painted"] > 0.9
    assert found["gaps"]["painted"] < 1e-3 and found["gaps"]["tail"] < 1e-3


@pytest.mark.thorough
def test_survivors_of_the_standard_are_those_of_the_linear_quadratic_law(made):
    """Outside the target all, inside exp(-30 (2 alpha + 4 alpha / 10)) of the draw's own alpha."""
    z = bar.twin(bar.posterior(draws=40)).whitened_draws(40)[1::2]
    alpha = 0.03 * np.exp(0.3 * z[:, 2])
    covered = made.covered["standard"]
    expected = 1 - covered * (1 - np.exp(-30 * alpha * (2 + 4 / 10)))
    np.testing.assert_allclose(made.surviving["standard"], expected, rtol=1e-6)


@pytest.mark.thorough
def test_later_cores_are_scored_where_there_are_any(made):
    scored = made.scored({"core": bar.slab(14, 18), "nothing": np.zeros(bar.SHAPE, bool)})
    assert set(scored.recurrences) == {"core"} and scored.recurrences["core"]["standard"] == 0.5
    assert scored.evidence()["recurrence_covered"] == [{"region": "core", **scored.recurrences["core"]}]


@pytest.mark.thorough
def test_rows_are_those_of_plans(made):
    rows = {row["plan"]: row for row in made.rows()}
    assert list(rows) == ["standard", "mean", "tail", "painted"]
    assert rows["painted"]["largest_dose_gy"] == pytest.approx(made.doses["painted"].max())
    assert rows["mean"]["covered_mean"] == pytest.approx(made.covered["mean"].mean())


@pytest.mark.thorough
def test_cells_that_are_not_seen_are_covered_by_another_target(made):
    found = recommended(replace(QUESTION, cells="infiltrating", volume_mm3=18 * 128), at_risk=AT_RISK)
    assert found.volume_mm3("mean") == 18 * 128 and found.on_scan(found.targets["mean"])[CORE].all()
    # They are what lies beyond the margin, and so less of them is within it.
    assert found.covered["standard"].mean() < made.covered["standard"].mean() - 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tail": 0.0}, "tail must lie above 0"),
        ({"tail": 1.5}, "tail must lie above 0"),
        ({"cells": "some"}, "choose one of all, infiltrating"),
        ({"margin_mm": 0}, "margin_mm must be a positive number"),
        ({"volume_mm3": -1.0}, "volume_mm3 must be a positive number, or null"),
        ({"least_dose": 1.5, "largest_dose": 1.0}, "least_dose .1.5 Gy. must not lie above largest_dose .1 Gy."),
        ({"least_dose": 2.2}, "the fractions of the standard .2 Gy."),
        ({"least_dose": -0.1}, "least_dose must be a number of Gy >= 0"),
        ({"at_risk": "brainstem.nii.gz"}, "go together, got brainstem.nii.gz and None"),
        ({"largest_dose_at_risk": 1.8}, "go together, got None and 1.8"),
        ({"at_risk": "brainstem.nii.gz", "largest_dose_at_risk": -1.0}, "largest_dose_at_risk must be a number of Gy"),
        ({"largest_dose": 0}, "largest_dose must be a positive number"),
        ({"standard": "adjuvant_temozolomide"}, "one course of radiotherapy"),
        ({"standard": Regimen((Radiotherapy([0.0, 1.0], [2.0, 3.0]),))}, "equal fractions"),
    ],
)
def test_a_question_that_cannot_be_asked(changes, message):
    with pytest.raises(InputError, match=message):
        TargetQuestion(**changes)


@pytest.mark.parametrize("size", [5 * 128, 49 * 128])
def test_a_volume_that_the_organ_does_not_have(size):
    with pytest.raises(InputError, match="volume_mm3=.*at least the core's 768 mm³ and at most the .* of the organ"):
        recommended(replace(QUESTION, volume_mm3=float(size)))


def test_a_scan_without_organ_or_core():
    segmentation, nothing = np.asarray(SCAN.segmentation), np.zeros(bar.SHAPE, bool)
    with pytest.raises(InputError, match="mask of the organ .brain_mask. is empty"):
        recommended(scan=Scan(bar.AFFINE, {}, segmentation, nothing))
    with pytest.raises(InputError, match="core is empty"):
        recommended(scan=Scan(bar.AFFINE, {}, 0 * segmentation, ~nothing))


def test_an_organ_at_risk_on_another_grid():
    with pytest.raises(InputError, match="at_risk has the shape"):
        recommended(at_risk=OrganAtRisk(np.ones((3, 3, 3), bool), 1.0))


def test_an_organ_at_risk_that_is_named_has_to_be_given():
    question = replace(QUESTION, at_risk="brainstem.nii.gz", largest_dose_at_risk=1.0)
    with pytest.raises(InputError, match="names an organ at risk, 'brainstem.nii.gz', whose mask is not given"):
        recommended(question)


def test_a_model_without_space_has_no_target():
    with pytest.raises(InputError, match="a model with space, which VolumeModel is not"):
        volume.twin().recommend_target(QUESTION, SCAN, decision_day=8.0)
