from dataclasses import replace

import numpy as np
import pytest

from twinjax.calibration import Posterior
from twinjax.imaging.scan import Scan
from twinjax.patient.visit import Visit
from twinjax.report import table as tables
from twinjax.treatment import Chemotherapy, Radiotherapy, Regimen

RNG = np.random.default_rng(2)


def make_posterior(**diagnostics):
    samples = {"diffusivity": RNG.lognormal(np.log(0.1), 0.1, (4, 500)), "sensitivity": RNG.normal(0.2, 0.05, (4, 500))}
    found = {
        "method": "NUTS",
        "r_hat": {"diffusivity": 1.001, "sensitivity": 1.004},
        "ess": {"diffusivity": 1500.0, "sensitivity": 900.0},
        "divergences": 0,
        "solver_failures": 0,
        "verdict": "converged",
        "converged": True,
    }
    mode = {"diffusivity": 0.1012, "sensitivity": 0.2}
    units = {"diffusivity": "mm²/day", "sensitivity": "1/day"}
    return Posterior(samples, np.zeros((4, 500, 2)), mode, np.zeros(2), units, found | diagnostics)


def test_parameters_tell_what_the_data_informed():
    posterior = make_posterior(contraction={"diffusivity": 0.96, "sensitivity": -0.01})
    table = tables.parameter_table(
        posterior,
        units={"diffusivity": "mm²/day"},
        priors={"diffusivity": "lognormal, median 0.1"},
        truth={"diffusivity": 0.11},
    )
    first, second = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
    assert first["parameter"] == "Diffusivity" and first["unit"] == "mm²/day" and first["truth (synthetic)"] == "0.110"
    assert first["most probable"] == "0.101"
    low, high = first["90 % interval"].split("\u00a0to\u00a0")
    assert [float(low), float(high)] == pytest.approx(np.quantile(posterior.samples["diffusivity"], [0.05, 0.95]), 0.01)
    assert first["R\u2011hat"] == "1.001" and first["effective draws"] == "1\u202f500"
    assert first["informed by (contraction)"].startswith("data (9")
    assert second["informed by (contraction)"].startswith("mostly prior") and second["truth (synthetic)"] == "—"


def test_a_method_without_chains_has_no_r_hat():
    posterior = make_posterior(r_hat=None, ess=None)
    assert "—" in tables.parameter_table(posterior).rows[0]
    checks = [row[0] for row in tables.diagnostics_table(posterior).rows]
    assert not any("R-hat" in check for check in checks)
    assert not any("hat" in column for column in tables.parameter_table(posterior).columns)


@pytest.mark.parametrize(("shape", "met"), [(0.31, True), (0.82, False)])
def test_weighted_draws_are_judged_by_their_pareto_k(shape, met):
    rows = tables.diagnostics_table(make_posterior(r_hat=None, pareto_k=shape)).rows
    assert [(row[1], row[2], row[3]) for row in rows if "Pareto" in row[0]] == [(f"{shape:.2f}", "below 0.7", met)]


def test_diagnostics_name_the_worst_and_whether_it_is_good_enough():
    posterior = make_posterior(
        r_hat={"a": 1.002, "b": 1.31}, ess={"a": 900.0, "b": 12.0}, divergences=5, converged=False
    )
    table = tables.diagnostics_table(posterior)
    assert [(row[1], row[3]) for row in table.rows] == [
        ("NUTS", None),
        ("1.310", False),
        ("12", False),
        ("5", False),
        ("0", True),
        ("converged", False),
    ]


def test_warnings_come_from_missing_convergence_and_failed_solves():
    assert tables.posterior_warnings(make_posterior()) == []
    warned = tables.posterior_warnings(make_posterior(converged=False, verdict="R-hat 1.31.", solver_failures=3))
    assert len(warned) == 2
    assert "not converged" in warned[0] and warned[0].endswith("R-hat 1.31.")
    assert "failed for 3 draws" in warned[1]


def test_a_mode_far_out_in_the_prior_is_pointed_out():
    posterior = replace(make_posterior(), z_map=np.array([-2.6, 2.4]))
    (warned,) = tables.posterior_warnings(posterior)
    assert "diffusivity" in warned and "sensitivity" not in warned


def test_options_are_listed_best_first():
    draws = RNG.normal(30_000, 1_000, 1000)
    table = tables.option_table({"none": draws, "radiotherapy": 0.5 * draws}, quantity="whole_tumor_volume_mm3")
    assert table.columns[1] == "whole tumour volume, median (mL)"
    assert [row[0] for row in table.rows] == ["radiotherapy", "none"]
    assert table.rows[0][3] == "100 %"
    assert float(table.rows[0][1]) == pytest.approx(15, rel=0.02)


def test_the_burden_states_dose_bed_and_drug():
    regimens = {
        "none": Regimen(),
        "chemoradiation": Regimen([Chemotherapy(np.arange(10.0), 75.0), Radiotherapy(np.arange(30.0), 2.0)]),
    }
    table = tables.burden_table(regimens)
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [row["option"] for row in rows] == ["none", "chemoradiation", ""]
    assert [row["treatment"] for row in rows] == ["none", "temozolomide", "radiotherapy"]
    assert rows[1]["total dose (mg/m²)"] == pytest.approx(750) and rows[1]["BED tumour (Gy)"] is None
    assert rows[2]["total dose (Gy)"] == pytest.approx(60) and rows[2]["BED tumour (Gy)"] == pytest.approx(72)
    assert list(table.columns[-2:]) == ["first day", "last day"] and rows[2]["last day"] == 29


def test_visits_give_volumes_in_ml_and_their_use():
    segmentation = np.zeros((10, 10, 10), np.int8)
    segmentation[:5], segmentation[0] = 2, 3
    scan = Scan(np.diag([-2.0, 1.0, 1.0, 1.0]), {"T1CE": np.ones((10, 10, 10))}, segmentation)
    bare = Scan(np.eye(4), {"T1CE": np.ones((2, 2, 2)), "FLAIR": np.ones((2, 2, 2))})
    table = tables.visits_table([Visit(0, scan, {"psa_ng_ml": 4.2}), Visit(30, bare)], calibrated_days=[0])
    assert list(table.columns) == ["day", "images", "core (mL)", "whole tumour (mL)", "PSA (ng/mL)", "used for"]
    assert table.rows[0] == [0, "T1CE", 0.2, 1.0, 4.2, "calibration"]
    assert table.rows[1] == [30, "T1CE, FLAIR", None, None, None, "held out, to test the forecast"]


def test_times_are_summed():
    assert tables.timing_table({"imaging": 1.25, "forecast": 2.5}).rows[-1] == ["all stages", 3.75]


def test_metrics_keep_their_order():
    table = tables.metrics_table([("Dice", 0.9, "", "≥ 0.85", True, 3)])
    assert dict(zip(table.columns, table.rows[0], strict=True))["target"] == "≥ 0.85"


@pytest.mark.parametrize(
    ("draws", "quantity", "text"),
    [
        (np.full(10, 21_400.0), "core_volume_mm3", "21.4 mL (90 % interval 21.4 to 21.4)"),
        (np.full(10, 2.5e9), "cell_count", "2.50e+09 (90 % interval 2.50e+09 to 2.50e+09)"),
    ],
)
def test_an_interval_is_a_sentence_part(draws, quantity, text):
    assert tables.interval_text(draws, quantity) == text
