"""Every verification case of `experiments/verification`: published and closed-form values."""

import importlib.util
from pathlib import Path

import pytest

TABLE = Path(__file__).parent.parent / "experiments" / "verification" / "table.py"
spec = importlib.util.spec_from_file_location("verification_table", TABLE)
assert spec is not None and spec.loader is not None
table = importlib.util.module_from_spec(spec)
spec.loader.exec_module(table)

CASES = [pytest.param(case, id=f"{topic}: {case.name}") for topic in table.topics() for case in table.cases(topic)]


@pytest.mark.parametrize("case", CASES)
def test_case(case):
    obtained = float(case.obtained())
    assert case.difference(obtained) <= case.relative_tolerance, (case.expected, obtained, case.source)


def test_every_cancer_has_cases():
    assert {"glioblastoma", "triple_negative_breast", "lung", "prostate", "pancreas"} <= set(table.topics())
