"""Every verification case of `experiments/verification`: published and closed-form values."""

import importlib.util
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "experiments" / "verification"
TABLE = FOLDER / "table.py"
spec = importlib.util.spec_from_file_location("verification_table", TABLE)
assert spec is not None and spec.loader is not None
table = importlib.util.module_from_spec(spec)
spec.loader.exec_module(table)

# The first of a topic belongs to the default run.
CASES = [
    pytest.param(case, id=f"{topic}: {case.name}", marks=[pytest.mark.thorough] if number else [])
    for topic in table.topics()
    for number, case in enumerate(table.cases(topic))
]


@pytest.mark.parametrize("case", CASES)
def test_case(case):
    obtained = float(case.obtained())
    assert case.difference(obtained) <= case.relative_tolerance, (case.expected, obtained, case.source)


def test_every_cancer_has_cases():
    assert {"glioblastoma", "triple_negative_breast", "lung", "prostate", "pancreas"} <= set(table.topics())


def test_readme_has_the_table_of_all_cases():
    """What was obtained differs in the last digits between machines; names, expected values and accuracy do not."""
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    expected = [table.known_cells(topic, case) for topic in table.topics() for case in table.cases(topic)]
    assert [(name, value, accuracy, source) for name, value, _, _, accuracy, source in rows[2:]] == expected
