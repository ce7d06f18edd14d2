"""A value as a laboratory reports it: a number, nothing, or that it lies beyond what the device can tell."""

import math
from typing import Any

from twinjax.core.errors import InputError

# How tables say that nothing was measured.
MISSING = ("", "na", "n/a", "nan", "none", "-")


def laboratory_value(entry: Any, where: str) -> tuple[float, int]:
    """`(value, side)` of a number, or of text such as `<0.1` (side -1), `>500` (1), `12.5` (0) or nothing (NaN, 0).

    Raises `InputError`, which opens with `where`, for anything else, and for numbers that are negative or infinite.
    """
    text = "" if entry is None else str(entry).strip().replace("≤", "<").replace("≥", ">")
    if text.lower() in MISSING:
        return math.nan, 0
    side = {"<": -1, ">": 1}.get(text[0], 0)
    try:
        value = float(text[1:].lstrip("=") if side else text)
    except ValueError:
        value = math.inf
    if not math.isfinite(value) or value < 0:
        raise InputError(
            f"{where}: '{entry}' is no value; give a number >= 0, <0.1 or >500 for what could not be told, "
            "or nothing where it is missing"
        )
    return value, side


def as_entry(value: float, side: int) -> float | str:
    """What `laboratory_value` reads as `(value, side)`: a number, or text such as `<0.1`."""
    return f"{ {-1: '<', 1: '>'}[side] }{value!r}" if side else value
