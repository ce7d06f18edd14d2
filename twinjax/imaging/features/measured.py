"""`Measured`: a value with its standard deviation and its unit."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """A quantity as it was measured.

    **Fields:** `value`; `standard_deviation` of its error, in the same unit, NaN where it is not known; `unit`, `"1"`
    for a pure number. `standard_deviation` is what an observation model takes as noise.
    """

    value: float
    standard_deviation: float = math.nan
    unit: str = "1"

    def record(self) -> dict[str, float | str | None]:
        """`{"value", "standard_deviation", "unit"}` for JSON, which has no NaN: None stands for it."""
        numbers = {"value": self.value, "standard_deviation": self.standard_deviation}
        return {key: float(x) if math.isfinite(x) else None for key, x in numbers.items()} | {"unit": self.unit}
