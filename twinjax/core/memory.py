"""How much memory there is, and the refusal of what needs more, before it is taken."""

from pathlib import Path

import jax

from twinjax.core.errors import InputError

# Of the control group that a container or a batch system puts a process into (version 2).
GROUP = Path("/sys/fs/cgroup")


def free_bytes() -> float:
    """Bytes that this process may still take: of the GPU where JAX computes on one, else of the machine or the share of
    it that a container or a batch system allows. Infinite where the system does not tell.
    """
    if jax.default_backend() == "gpu":
        told = jax.devices()[0].memory_stats() or {}
        return told.get("bytes_limit", float("inf")) - told.get("bytes_in_use", 0)
    return min(_of_machine(), _of_group())


def refuse_if_too_large(needed_bytes: float, what: str, remedy: str) -> None:
    """`InputError` where `needed_bytes` are more than are free: `what` needs them, and `remedy` says what to change."""
    if needed_bytes > (free := free_bytes()):
        raise InputError(
            f"{what} needs about {needed_bytes / 1e9:,.0f} GB of memory, and {free / 1e9:,.1f} GB are free; {remedy}"
        )


def _of_machine() -> float:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return float("inf")
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return 1024.0 * int(found[0]) if found else float("inf")


def _of_group() -> float:
    try:
        limit, used = ((GROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        told = dict(line.split() for line in (GROUP / "memory.stat").read_text().splitlines())
    except OSError:
        return float("inf")
    # Cached files make way.
    return float("inf") if limit == "max" else float(int(limit) - int(used) + int(told.get("inactive_file", 0)))
