"""What is said of how often intervals hold: the table of docs/virtual-patients.md, and its record by the experiment."""

import importlib.util
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from twinjax.core.config import choices
from twinjax.report.coverage import NOT_MEASURED, coverage_tables, coverage_text
from twinjax.twin.coverage import LEVELS, measured_coverage, record_coverage

ROOT = Path(__file__).parents[2]
SCRIPT = "python experiments/virtual_patients/run.py"


def of_page() -> dict[str, tuple]:
    """Command to (patients, converged, shares, held out, parameters, share of them), as the page's table has them."""
    found = {}
    for line in (ROOT / "docs" / "virtual-patients.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != 9 or not cells[1].isdigit():
            continue
        shares, held_out = cells[3].split(" % of ")
        inside, parameters = cells[4].split(" % of ")
        levels = tuple(int(share) for share in shares.split(", "))
        name = cells[0].replace(", `", " ").rstrip("`")
        found[f"{SCRIPT} {name}"] = (*map(int, cells[1:3]), levels, int(held_out), int(parameters), int(inside))
    return found


def test_the_file_says_what_the_page_says():
    ours = {
        one.command: (
            one.patients,
            one.converged,
            tuple(one.inside[level] for level in LEVELS),
            one.held_out,
            one.parameters,
            one.parameters_inside,
        )
        for one in measured_coverage()
        if one.command.startswith(SCRIPT) and not one.misfit and not one.model_error
    }
    page = of_page()
    assert len(page) >= 13 and ours == page


def test_the_other_measurements_stand_in_the_pages_too():
    others = [one for one in measured_coverage() if one.misfit or one.model_error]
    page = (ROOT / "docs" / "virtual-patients.md").read_text(encoding="utf-8")
    for one in others:
        law = "(logistic|Gompertz)" if one.misfit else r"its own \(no `--misfit`\)"
        shares = ", ".join(map(str, one.inside.values()))
        row = rf"\| {one.model} \| {law} \| {one.model_error:g} \| {one.patients} \| {shares} % of {one.held_out} \|"
        assert re.search(row, page) and one.command in page
    assert len(others) == 4
    (claret,) = [one for one in measured_coverage() if not one.command.startswith(SCRIPT)]
    text = re.sub(r"\s+", " ", (ROOT / "docs" / "cohort.md").read_text(encoding="utf-8"))
    assert f"{claret.inside[90]} ± 0.6 % of 6000 held-out diameters and {claret.parameters_inside} ± 0.6 %" in text


def test_every_model_and_calibrator_is_one_of_the_configuration():
    for one in measured_coverage():
        assert one.model in choices("model") and one.calibrator in choices("calibrator")
        assert not one.patient or one.patient in choices("patient")


def test_the_own_calibrator_comes_first_and_a_misfit_last():
    assert [one.calibrator for one in measured_coverage("pancreas", "importance")] == ["importance", "laplace"]
    assert [one.calibrator for one in measured_coverage("pancreas", "laplace")] == ["laplace", "importance"]
    assert [one.misfit for one in measured_coverage("pancreas_volume", "nuts")] == [False, True]


def test_a_reader_is_told_what_held_or_that_nothing_was_measured():
    text = coverage_text(measured_coverage("lung_volume", "importance"))
    assert "On 20 synthetic patients of this model, calibrated by importance, 90 % intervals held 87 % of 100" in text
    (table,) = coverage_tables(measured_coverage("lung_volume", "importance", 0.0))
    assert [row[:8] for row in table.rows] == [
        ["importance", "of the model's own law", 20, 100, 59, 86, 87, 92],
        ["laplace", "of the model's own law", 20, 100, 48, 72, 85, 88],
        ["laplace", "of another growth law", 100, 500, 32, 52, 64, 70],
    ]
    assert [one.inside[90] for one in measured_coverage("lung_volume", "laplace", 0.3)] == [100, 93]
    assert measured_coverage("stein", "laplace", 0.3) == []
    assert measured_coverage("glioblastoma_necrotic") == []
    assert coverage_text([]) == NOT_MEASURED and coverage_tables([]) == []


def test_a_measurement_replaces_that_of_the_same_command(tmp_path):
    path = tmp_path / "coverage.csv"
    first, second = measured_coverage("stein")[0], measured_coverage("claret")[0]
    for one in (first, second, replace(first, held_out=7)):
        record_coverage(one, path)
    assert measured_coverage(path=path) == [second, replace(first, held_out=7)]


@pytest.fixture
def script(monkeypatch):
    folder = ROOT / "experiments" / "virtual_patients"
    monkeypatch.syspath_prepend(str(folder))
    spec = importlib.util.spec_from_file_location("virtual_patients_run", folder / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("patients", None)


def test_the_experiment_records_the_shares_of_its_lines(script):
    rows = [{"converged": "True", "parameters": "3", "parameters_covered": "2"}] * 2
    below = [{"below": share} for share in (0.5, 0.3, 0.93, 0.97)]
    chosen = SimpleNamespace(calibrator="importance", misfit=False, model_error=0.0)
    one = script.recorded("lung_volume:virtual_lung_volume", chosen, rows, below)
    # Within 25, 40, 45 and 47.5 per cent of the middle: two, two, three and four of four.
    assert one.inside == {50: 50, 80: 50, 90: 75, 95: 100}
    assert (one.patients, one.converged, one.held_out, one.parameters, one.parameters_inside) == (2, 2, 4, 6, 67)
    assert (one.model, one.patient, one.calibrator) == ("lung_volume", "virtual_lung_volume", "importance")
    assert one.command == f"{SCRIPT} lung_volume:virtual_lung_volume --calibrator importance --patients 2"
