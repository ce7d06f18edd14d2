"""Scores of a forecast against regions, ADC and the truth, on a synthetic bar where all are known."""

from dataclasses import replace

import bar
import numpy as np
import pytest

from twinjax.patient import PatientData, Visit
from twinjax.patient.virtual import VirtualPatient, VirtualTruth
from twinjax.twin import accuracy

CORE, WHOLE = bar.slab(14, 30), bar.slab(10, 40)
VOXELS = 16  # of one plane of the bar
TRUTH = VirtualTruth(
    VirtualPatient(visit_days=(0, 4, 8), diffusivity=0.11, proliferation_rate=0.07),
    bar.DOMAIN,
    np.stack([0.7 * bar.slab(14, last) + 0.2 * WHOLE for last in (20, 24, 30)]).astype(np.float32),
    np.stack([0.9 * WHOLE] * 3).astype(np.float32),
    age_days=100.0,
)


@pytest.fixture(scope="module")
def posterior():
    return bar.posterior()


def patient(**keywords) -> PatientData:
    visits = [Visit(day, bar.scan(CORE, WHOLE)) for day in (0.0, 4.0, 8.0, 30.0)]
    return PatientData.from_visits("bar", visits, brain_mask=bar.DOMAIN, **keywords)


def test_a_region_s_scores_by_hand():
    scores = accuracy.region_scores(bar.prediction(CORE, WHOLE, [8.0]), {"core": bar.slab(16, 30), "whole_tumor": CORE})
    assert scores["core_dice"] == pytest.approx(2 * 14 / (16 + 14))
    assert scores["core_volume_mm3"] == 14 * VOXELS * 8
    assert scores["core_predicted_mm3"] == pytest.approx(16 * VOXELS * 8, rel=0.05)
    assert scores["core_volume_error"] == pytest.approx(scores["core_predicted_mm3"] / (14 * VOXELS * 8) - 1)
    # One plane of 2 mm; at one end two planes are missing.
    assert scores["core_center_distance_mm"] == pytest.approx(2.0)
    assert scores["core_hausdorff_95_mm"] == pytest.approx(4.0)
    # Most of a forecast of 16 planes lies above 14, all of one of 30 planes above 16.
    assert 0 < scores["core_share_below"] < 0.5 and scores["whole_tumor_share_below"] == 0
    # The error of log (volume + 500 mm³), less half the mean distance of two draws of a deviation of 0.1.
    error = np.log((30 * VOXELS * 8 + 500) / (16 * VOXELS * 8 + 500))
    assert scores["whole_tumor_crps"] == pytest.approx(error - 0.1 / np.sqrt(np.pi), abs=0.02)
    # 14 planes lie within two deviations of 16, 16 planes far from 30.
    assert scores["core_in_interval"] is True
    assert scores["whole_tumor_in_interval"] is False


def test_a_volume_that_is_known_otherwise_replaces_that_of_the_mask():
    volume = 16 * VOXELS * 8.0
    scores = accuracy.region_scores(bar.prediction(CORE, WHOLE, [8.0]), {"core": bar.slab(0, 2)}, {"core": volume})
    assert (scores["core_volume_mm3"], scores["core_in_interval"], scores["core_dice"]) == (volume, True, 0)


def test_visits_within_the_forecast_are_scored_and_later_ones_held_out(posterior):
    scores = accuracy.forecast_scores(patient(), bar.prediction(CORE, WHOLE), posterior, last_day=4.0)
    assert [(s["day"], s["held_out"], s["reference"]) for s in scores] == [
        (4.0, False, "segmentation"),
        (8.0, True, "segmentation"),
    ]
    assert scores[1]["core_dice"] == scores[1]["whole_tumor_dice"] == 1
    assert not any("density" in key for key in scores[1])


def test_a_synthetic_patient_is_scored_against_the_truth_too(posterior):
    forecast = bar.prediction(CORE, WHOLE)
    forecast = replace(forecast, density_mean=TRUTH.density[1:])
    scores = accuracy.forecast_scores(patient(truth=TRUTH.spatial()), forecast, posterior, last_day=0.0)
    assert [s["reference"] for s in scores] == ["segmentation", "truth"] * 2
    # Visible from 0.6 (core) and 0.25 (oedema): what is 0.2 dense is not seen.
    assert scores[1]["core_volume_mm3"] == scores[1]["whole_tumor_volume_mm3"] == 10 * VOXELS * 8
    assert scores[3]["core_volume_mm3"] == 16 * VOXELS * 8
    assert scores[1]["density_concordance"] == pytest.approx(1)


@pytest.mark.parametrize(("offset", "share"), [(0.0, 1.0), (0.5, 0.0)])
def test_coverage_of_the_density_that_adc_shows(posterior, offset, share):
    """ADC of a density of 0.8 in the core and 0.4 around it; the densest tissue is full by definition."""
    density = 0.4 * CORE + 0.4 * WHOLE
    adc = np.where(WHOLE, 3.0e-3 - density * 2.0e-3, 1e-3).astype(np.float32)
    visits = [Visit(day, bar.scan(CORE, WHOLE, ADC=adc)) for day in (0.0, 8.0)]
    forecast = bar.prediction(CORE, WHOLE, [8.0])
    forecast = replace(forecast, density_mean=forecast.density_mean / 0.8 - offset)
    (score,) = accuracy.forecast_scores(
        PatientData.from_visits("bar", visits, brain_mask=bar.DOMAIN), forecast, posterior, last_day=0.0
    )
    assert score["density_coverage"] == share
    # The outer 3 mm of the whole tumour say nothing: one voxel of 2 mm at either end.
    assert score["density_voxels"] == (30 - 2) * VOXELS


def score(**changes):
    row = {"day": 8.0, "held_out": True, "reference": "segmentation"}
    for region in ("core", "whole_tumor"):
        row |= {f"{region}_dice": 0.9, f"{region}_volume_error": -0.1, f"{region}_center_distance_mm": 1.0}
        row |= {f"{region}_in_interval": True, f"{region}_hausdorff_95_mm": 4.0, f"{region}_crps": 0.1}
    return row | changes


def test_held_out_visits_are_summed_up_against_the_targets():
    scores = [
        score(held_out=False, core_dice=0.0),
        score(core_dice=0.7, core_volume_error=float("inf"), core_center_distance_mm=float("nan")),
        score(core_in_interval=False, core_crps=0.4, density_coverage=0.5, density_voxels=100),
        score(reference="truth", density_concordance=0.8, density_coverage=0.9, density_voxels=300),
    ]
    rows = {row["metric"]: row for row in accuracy.held_out_metrics(scores)}
    dice = rows["Dice, core against segmentation"]
    assert (dice["value"], dice["target"], dice["met"], dice["n"]) == (pytest.approx(0.8), "≥ 0.85", False, 2)
    error = rows["volume error, largest, core against segmentation"]
    assert (error["value"], error["target"], error["met"], error["n"]) == (pytest.approx(10.0), "≤ 15", True, 1)
    assert rows["centre-of-mass distance, largest, core against segmentation"]["n"] == 1
    ranked = rows["ranked probability score of log volume, mean, core against segmentation"]
    assert (ranked["value"], ranked["target"], ranked["n"]) == (pytest.approx(0.25), "", 2)
    assert rows["95 % Hausdorff distance, largest, core against segmentation"]["value"] == 4.0
    assert rows["90 % interval covers volume of segmentation"]["value"] == pytest.approx(75.0)
    assert rows["90 % interval covers volume of truth"]["met"] is True
    assert rows["concordance of cell density with the truth"]["met"] is None
    covered = rows["90 % interval covers cell density measured by ADC"]
    assert (covered["value"], covered["n"]) == (pytest.approx(80.0), 400)


def test_nothing_held_out_has_no_metrics():
    assert accuracy.held_out_metrics([score(held_out=False)]) == []


def test_true_parameters_are_counted_inside_their_intervals():
    posterior = bar.posterior()
    (name,) = posterior.names[:1]
    low, high = posterior.credible_interval(0.9)[name]
    (row,) = accuracy.parameter_metrics(posterior, {name: (low + high) / 2, "of no interest": 1.0})
    assert (row["value"], row["n"], row["met"]) == (100.0, 1, True)
    (row,) = accuracy.parameter_metrics(posterior, {name: high + 1e-6})
    assert (row["value"], row["met"]) == (0.0, False)
    assert accuracy.parameter_metrics(posterior, None) == accuracy.parameter_metrics(posterior, {}) == []


def test_a_fit_that_is_the_scan():
    rows = {r["metric"]: r for r in accuracy.fit_metrics(bar.scan(CORE, WHOLE), bar.prediction(CORE, WHOLE, [1.0]))}
    for label in ("core", "whole tumour"):
        assert rows[f"Dice of the fit, {label}"]["value"] == 1
        # The median of what would be measured: two hundred draws with a scatter of a tenth.
        assert rows[f"volume error of the fit, {label}"]["value"] == pytest.approx(0, abs=3)
        assert rows[f"centre-of-mass distance of the fit, {label}"]["value"] == 0
    assert rows["90 % interval covers fitted volume"]["value"] == 100


@pytest.mark.parametrize(
    ("value", "sign", "bound", "met"), [(3.0, 1, "≥ 2", True), (1.0, 1, "≥ 2", False), (1.0, -1, "≤ 2", True)]
)
def test_a_target_is_a_bound_from_one_side(value, sign, bound, met):
    row = accuracy.metric_row("x", value, "mm", 1, target=2.0, sign=sign)
    assert (row["target"], row["met"]) == (bound, met)


def test_the_true_volume_is_known_between_visits_but_not_after_them():
    volume = accuracy.true_volume(TRUTH.spatial(), "core", np.array([0.0, 2.0, 4.0, 8.0, 9.0]))
    np.testing.assert_allclose(volume[:4], np.array([6, 8, 10, 16]) * VOXELS * 8)
    assert np.isnan(volume[4])


def test_true_parameters_are_those_that_were_calibrated(posterior):
    assert accuracy.true_parameters(patient(), posterior) is None
    found = accuracy.true_parameters(patient(truth=TRUTH.spatial()), posterior)
    assert found == {"diffusivity": 0.11, "proliferation_rate": 0.07}
