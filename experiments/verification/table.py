"""Every verification case with expected and obtained value: `python experiments/verification/table.py [cancer ...]`.

Prints a Markdown table; exit code 1 where a case misses its stated accuracy. `tests/test_verification.py` runs the same
cases.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import jax

if TYPE_CHECKING:
    from case import Case

FOLDER = Path(__file__).parent
# The topics import `case` from here, whoever loads this file.
sys.path.insert(0, str(FOLDER))

NO_CASES = {"case", "table"}


def topics() -> list[str]:
    """The files with cases."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in NO_CASES)


def cases(topic: str) -> "list[Case]":
    """The cases of one file. Its module is loaded under a name of its own."""
    return list(_module(topic).CASES)


def known_cells(topic: str, case: "Case") -> tuple[str, str, str, str]:
    """Of a row: the case, what is expected, the accuracy to which that is stated, and the source."""
    name = f"{topic.replace('_', ' ')}: {case.name}"
    return name, f"{case.expected:.6g} {case.unit}".rstrip(), f"{case.relative_tolerance:.1e}", case.source


def _module(topic: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"verification_{topic}", FOLDER / f"{topic}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(wanted: list[str]) -> int:
    """Print the table of the topics (default: all); the number of cases that miss their accuracy."""
    jax.config.update("jax_enable_x64", True)
    unknown = set(wanted) - set(topics())
    if unknown:
        sys.exit(f"no verification of {', '.join(sorted(unknown))}; choose from {', '.join(topics())}")
    print("| case | expected | obtained | difference | accuracy stated | source |")
    print("| --- | --- | --- | --- | --- | --- |")
    missed = 0
    for topic in wanted or topics():
        for case in cases(topic):
            obtained = float(case.obtained())
            difference = case.difference(obtained)
            within = difference <= case.relative_tolerance
            missed += not within
            verdict = "" if within else " MISSED"
            name, expected, accuracy, source = known_cells(topic, case)
            cells = [name, expected, f"{obtained:.6g}", f"{difference:.1e}{verdict}", accuracy, source]
            print("| " + " | ".join(cells) + " |", flush=True)
    return missed


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1:]) else 0)
