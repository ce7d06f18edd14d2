"""The experiments at small size against the numbers that their pages give; `make validate` runs them.

Others of `experiments/` have tests beside what they are about: verification, segmentation, calibration (derivatives,
fields, ranks).
"""

import csv
import importlib
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from twinjax.twin.coverage import measured_coverage

FOLDER = Path(__file__).parent.parent / "experiments"
pytestmark = pytest.mark.slow


def rows_of(script: str, *arguments: str) -> dict[str, list[str]]:
    """The first cell of every row of the tables that a script prints, to the others."""
    command = [sys.executable, str(FOLDER / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines() if line[:1] == "|"]
    return {row[0]: row[1:] for row in cells}


@contextmanager
def modules(folder: str, *names: str):
    """Modules of an experiment, which find each other by plain names that other experiments have too."""
    sys.path.insert(0, str(FOLDER / folder))
    before = set(sys.modules)
    try:
        yield [importlib.import_module(name) for name in names]
    finally:
        sys.path.remove(str(FOLDER / folder))
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(FOLDER)):
                del sys.modules[name]


def test_virtual_patients(tmp_path):
    """The row of `stein` in docs/virtual-patients.md, whole, and that reports read the same."""
    recorded = tmp_path / "coverage.csv"
    arguments = ["--output", str(tmp_path), "--record", str(recorded)]
    found = rows_of("virtual_patients/run.py", "stein", *arguments)["stein"]
    assert found[:4] == ["20", "20", "56, 87, 97, 98 % of 120", "95 % of 60"]
    assert [float(cell.rstrip(" %")) for cell in found[4:6]] == pytest.approx([17, 19], abs=1)
    assert measured_coverage(path=recorded) == measured_coverage("stein")


def test_radiotherapy_schedules(tmp_path):
    """Days gained lie where those of 90 % of 100 patients do (README.md there): none within the same BED."""
    rows_of("radiotherapy_schedules/run.py", "--patients", "3", "--output", str(tmp_path))
    with open(tmp_path / "patients.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    gained = {limit: [] for limit in ("total dose", "BED of normal tissue")}
    for row in rows:
        gained[row["limit"]].append(float(row["days_recommended"]) - float(row["days_standard"]))
    assert [len(days) for days in gained.values()] == [3, 3]
    assert all(6.0 < days < 26.9 for days in gained["total dose"])
    assert all(abs(days) < 0.05 for days in gained["BED of normal tissue"])


def test_cost_of_calibration():
    """Evidence of `claret` by two methods (experiments/calibration/README.md, Cost)."""
    found = rows_of("calibration/cost.py", "claret", "--methods", "laplace", "importance")
    laplace, importance = (float(found[name][5].split("±")[0]) for name in ("laplace", "importance"))
    assert laplace == pytest.approx(2.30, abs=0.01) and importance == pytest.approx(2.33, abs=0.06)
    assert found["laplace"][6] == found["importance"][6] == "converged"


# Truth and fitted law to what the residual of a patient alone adds to the law's score, and its standard error of 60.
ALONE = {
    ("gompertz", "logistic"): (-0.1169, 0.0233),
    ("logistic", "gompertz"): (-0.1354, 0.0225),
    ("logistic", "logistic"): (0.0312, 0.0054),
    ("gompertz", "gompertz"): (0.0154, 0.0040),
}


def test_neural_closure(tmp_path):
    """A residual learned alone helps where the law is wrong and harms where it is right (docs/neural-closure.md)."""
    few = ("--patients", "4", "--cohorts", "1", "--methods", "law", "alone")
    rows_of("neural_closure/run.py", *few, "--output", str(tmp_path))
    with open(tmp_path / "neural_closure.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    for (truth, law), (expected, error) in ALONE.items():
        own = [row for row in rows if (row["truth"], row["law"]) == (truth, law)]
        alone, by_law = (np.mean([float(r["crps"]) for r in own if r["method"] == m]) for m in ("alone", "law"))
        found = alone - by_law
        assert found * expected > 0
        assert abs(found - expected) < 4 * error * np.sqrt(60 / 4)


def test_lung_lesions(data_folder):
    """What a forecast has to beat (docs/lung.md): the last value carried forward."""
    with modules("lung_cohort", "cohort", "run") as (cohort, run):
        lesions = cohort.read_lesions(data_folder / "lung" / "lesion_series.csv")
        earlier, _, measured = cohort.split(lesions, 3)
        last = np.array([course.measurements[cohort.QUANTITY][1][-1] for course in earlier])
        errors = np.abs(last[:, None] - measured).mean(axis=1)
        walk, changes = run.walk_of_trends(lesions)
    assert len(lesions) == 318
    # A third of the model error of a volume that docs/likelihood.md recommends.
    assert (walk, changes) == (pytest.approx(0.101, abs=5e-4), 2018)
    assert [errors.mean(), np.median(errors)] == pytest.approx([4.45, 2.33], abs=0.005)


def test_lung_population(data_folder):
    """What the population makes of them (docs/lung.md): no better than the last value, but with an interval."""
    mean, median, _, _, covered, _ = rows_of("lung_cohort/run.py")["stein, model error walks"]
    assert [float(mean), float(median)] == pytest.approx([4.64, 2.67], abs=0.05)
    assert float(covered.rstrip(" %")) == pytest.approx(90, abs=2)


def test_androgen_suppression(data_folder):
    """The two baselines of docs/prostate.md."""
    with modules("prostate_cohort", "cohort", "baselines") as (cohort, baselines):
        cases = cohort.load_cases(str(data_folder))
        found = [
            np.median([cohort.score(case, predict(case)) for case in cases], axis=0).tolist()
            for predict in (baselines.last_value, baselines.switching_exponential)
        ]
    assert len(cases) == 35
    assert found[0] == pytest.approx([2.23, 1.91, 7.88], abs=0.005)
    assert found[1] == pytest.approx([0.62, 1.16, 3.30], abs=0.005)


def test_cell_quota_model(data_folder, tmp_path):
    """Its row of docs/prostate.md, of a fit that has not settled altogether."""
    found = rows_of("prostate_cohort/run.py", "--output", str(tmp_path))["cell quota model"]
    fitted, forecast, absolute = (float(cell.split("(")[0]) for cell in found[:3])
    assert [fitted, forecast, absolute] == pytest.approx([0.51, 1.12, 2.36], abs=0.05)


def test_xenografts(data_folder):
    """The row of untreated lung tumours in experiments/xenograft_cohort/README.md."""
    with modules("xenograft_cohort", "run") as (run,):
        series = run.curves(data_folder / "lung" / "xenograft_volumes.csv", "untreated")
        best, law, days = run.chosen_population(series)
    assert (len(series), law, days) == (5, "exponential", 7.0)
    assert [best["error"], best["inside"]] == pytest.approx([0.211, 0.85], abs=0.005)
