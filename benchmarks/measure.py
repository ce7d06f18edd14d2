"""Timing side by side, and one table."""

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax

REPEATS = 7


@dataclass
class Row:
    """One line of the table; `value` and `against` are ready to print."""

    what: str
    value: str
    against: str
    goal: str = ""


def interleaved(functions: dict[str, Callable], repeats: int = REPEATS) -> dict[str, list[float]]:
    """Seconds of each function, one after the other in every round, so that a slow spell of the machine hits all."""
    for function in functions.values():
        jax.block_until_ready(function())
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            jax.block_until_ready(function())
            seconds[name].append(time.perf_counter() - start)
    return seconds


def processor_seconds(functions: dict[str, Callable], repeats: int = REPEATS) -> dict[str, float]:
    """Median over the rounds of the processor time of each, all threads: it hardly depends on who else is at work."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.process_time()
            jax.block_until_ready(function())
            seconds[name].append(time.process_time() - start)
    return {name: statistics.median(found) for name, found in seconds.items()}


def ratio(seconds: dict[str, list[float]], name: str, base: str) -> float:
    """Median over the rounds of the seconds of `name` over those of `base`."""
    return statistics.median(a / b for a, b in zip(seconds[name], seconds[base], strict=True))


def median(seconds: dict[str, list[float]], name: str) -> float:
    return statistics.median(seconds[name])


def machine() -> str:
    """The processor, its cores and caches, and the versions."""
    found = {}
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else []:
        key, _, value = line.partition(":")
        found.setdefault(key.strip(), value.strip())
    name = found.get("model name") or platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores, Python {platform.python_version()}, jax {jax.__version__}"


def table(rows: list[Row]) -> str:
    """The rows in Markdown."""
    cells = [("what", "measured", "against", "goal"), ("---", "---", "---", "---")]
    cells += [(row.what, row.value, row.against, row.goal) for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(4)]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in cells
    )
