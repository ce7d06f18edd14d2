"""`Case`: something published or in closed form that twinjax must reproduce."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """A value with its source, and how twinjax obtains it.

    **Fields:** `name`; `expected` and `obtained()` in `unit`; `relative_tolerance`, the accuracy to which the expected
    value is stated (with `expected` 0: absolute); `source` (paper, or the closed form).
    """

    name: str
    expected: float
    obtained: Callable[[], float]
    relative_tolerance: float
    unit: str
    source: str

    def difference(self, obtained: float) -> float:
        """Relative to the expected value; absolute where that is 0."""
        return abs(obtained - self.expected) / (abs(self.expected) or 1.0)
