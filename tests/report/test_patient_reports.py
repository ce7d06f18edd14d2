"""What the reports of several visits and of one scan say, on a synthetic bar whose forecast is made, not solved."""

import bar
import numpy as np
import pytest

from twinjax.patient import PatientData, Visit
from twinjax.report.longitudinal import longitudinal_report
from twinjax.report.single_scan import single_scan_report
from twinjax.treatment import Radiotherapy, Regimen
from twinjax.twin import Comparison
from twinjax.twin.accuracy import fit_metrics, forecast_scores, held_out_metrics, metric_row
from twinjax.twin.criteria import criterion_for
from twinjax.twin.plan import TargetPlan

CORE, WHOLE = bar.slab(14, 30), bar.slab(10, 40)
SAID = "What the data say about each parameter"
OPTIONS = {"none": Regimen(), "reirradiation": Regimen((Radiotherapy([0.0], 5.0),))}


@pytest.fixture(scope="module")
def posterior():
    return bar.posterior()


def patient(days=(0.0, 4.0, 8.0), **keywords) -> PatientData:
    scan = bar.scan(CORE, WHOLE, T1CE=np.ones(bar.SHAPE, np.float32))
    return PatientData.from_visits("bar", [Visit(day, scan) for day in days], brain_mask=bar.DOMAIN, **keywords)


def comparison() -> Comparison:
    forecasts = {name: bar.prediction(CORE, WHOLE, [4.0, 30.0]) for name in OPTIONS}
    volumes = {"none": np.array([30.0, 40.0]), "reirradiation": np.array([10.0, 20.0])}
    days = {name: np.array([5.0, 9.0]) for name in OPTIONS}
    chances = {"none": 0.0, "reirradiation": 1.0}
    outcome = "whole_tumor_volume_mm3"
    criterion = criterion_for(outcome)
    return Comparison(forecasts, {}, 4.0, 30.0, outcome, volumes, criterion, days, chances, best="reirradiation")


def longitudinal(posterior, *, last_day=4.0, compared=None, failed_draws=0):
    ours, forecast = patient(), bar.prediction(CORE, WHOLE, [0.0, 4.0, 8.0, 20.0], failed_draws=failed_draws)
    scores = forecast_scores(ours, forecast, posterior, last_day)
    return longitudinal_report(
        ours,
        posterior,
        bar.identifiability(posterior),
        forecast,
        title="Glioblastoma digital twin",
        last_day=last_day,
        scores=scores,
        metrics=held_out_metrics(scores),
        progression=[forecast.progression(f"{region}_volume_mm3", since=last_day) for region in forecast.volume_noise],
        comparison=compared,
        options=OPTIONS if compared else {},
        provenance={"seed": 3},
        seconds={"fit": 1.0},
    )


def test_several_visits_are_forecast_scored_and_compared(posterior):
    report = longitudinal(posterior, compared=comparison())
    assert [section.title for section in report.sections] == [
        "Scans",
        "Forecast",
        "How good was it",
        "Calibration",
        SAID,
        "Treatment options",
        "Where the time went",
    ]
    text = " ".join(report.summary)
    assert "2 visits (days 0, 4)" in text
    assert "By day 20" in text
    assert "Against the 1 held-out visits the forecast reached a mean Dice of 1.00" in text
    assert "reirradiation leaves the smallest tumour on day 30 in 100 % of the posterior draws, of the 2" in text
    # 30 planes of 16 voxels of 8 mm³.
    assert float(report.key_figures[0].value.removesuffix(" mL")) == pytest.approx(3.84, rel=0.05)
    assert report.synthetic is False and report.provenance == {"seed": 3}
    options = next(section for section in report.sections if section.title == "Treatment options")
    assert options.tables[0].rows[0][0] == "reirradiation" and options.tables[2].rows[0][0] == "no further treatment"
    assert "Progression: a volume 40 % above the smallest since the decision" in options.text
    assert "RANO 2.0 (Wen et al. 2023, J Clin Oncol 41:5187)" in options.text
    assert "The whole tumour volume is not expected to progress by day 20 (RANO 2.0)" in text
    (progression,) = next(section for section in report.sections if section.title == "Forecast").tables
    assert [row[0] for row in progression.rows] == ["Core volume", "Whole tumour volume"]


def test_what_was_not_done_is_not_reported(posterior):
    report = longitudinal(posterior, last_day=8.0, failed_draws=2)
    titles = [section.title for section in report.sections]
    assert titles == ["Scans", "Forecast", "Calibration", SAID, "Where the time went"]
    assert len(report.summary) == 3
    assert "2 forecasts failed in the solver and were left out." in report.warnings


@pytest.mark.parametrize("recurrence", [True, False])
def test_one_scan_is_fitted_and_planned(posterior, recurrence):
    extras = {"recurrence": bar.slab(10, 32).astype(np.float32)} if recurrence else None
    ours, forecast = patient([0.0], extras=extras), bar.prediction(CORE, WHOLE, [1.0])
    metrics = fit_metrics(ours.visits[0].scan, forecast)
    if recurrence:
        metrics.append(metric_row("recurrence inside the standard 15 mm plan", 80.0, "%", 9))
        metrics.append(metric_row("recurrence inside the model plan", 85.0, "%", 9))
    lengths = {"front_width": 3.0, "growth_length": 40.0}
    renamed = type(posterior)(
        {name: posterior.samples["diffusivity"] for name in lengths},
        posterior.z,
        lengths,
        posterior.z_map,
        dict.fromkeys(lengths, "mm"),
        posterior.diagnostics,
        posterior.problem,
    )
    report = single_scan_report(
        ours,
        renamed,
        bar.identifiability(posterior),
        forecast,
        plan=TargetPlan(WHOLE, CORE),
        metrics=metrics,
        rates=[{"speed": 0.1, "diffusivity": 0.2}],
        provenance={},
        seconds={"fit": 1.0},
    )
    assert [section.title for section in report.sections] == [
        "Scan",
        "Predicted cell density",
        "Radiotherapy target at equal volume",
        "Calibration",
        SAID,
        "Where the time went",
    ]
    assert "3.0 mm wide" in report.summary[1]
    assert len(report.summary) == len(report.key_figures) == 2 + recurrence
    assert ("holds 85.00 % of the later recurrence" in " ".join(report.summary)) == recurrence
