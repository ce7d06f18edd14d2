"""How much memory there is, and the refusal of what needs more, before it is taken."""

from pathlib import Path

import jax

from twinjax.core.errors import InputError

# Control groups, by which containers and batch systems share out a machine, and which of them this process is in.
GROUPS, OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
# Of a group its limit, what it has taken, and of that the cached files, which make way: in version 2, and in version 1.
VERSION_2 = ("memory.max", "memory.current", "inactive_file")
VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def free_bytes() -> float:
    """Bytes of the machine that this process may still take: of all, or of the share that a container or a batch system
    allows. Infinite where the system does not tell.
    """
    return min(_of_machine(), _of_groups())


def free_device_bytes(devices: int = 1) -> float:
    """The same of what JAX computes on: of the first `devices` GPUs together, or of the machine."""
    if jax.default_backend() != "gpu":
        return free_bytes()
    told = [device.memory_stats() or {} for device in jax.devices()[:devices]]
    return sum(one.get("bytes_limit", float("inf")) - one.get("bytes_in_use", 0) for one in told)


def refuse_if_too_large(needed: float, free: float, what: str, remedy: str) -> None:
    """`InputError` where `what` needs more bytes than are free; `remedy` says what to change."""
    if needed > free:
        raise InputError(
            f"{what} needs about {needed / 1e9:,.1f} GB of memory, and {free / 1e9:,.1f} GB are free; {remedy}"
        )


def _of_machine() -> float:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return float("inf")
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return 1024.0 * int(found[0]) if found else float("inf")


def _of_groups() -> float:
    """Of the groups that this process is in, and of all that those are in."""
    try:
        lines = OWN_GROUPS.read_text().splitlines()
    except OSError:
        return float("inf")
    found = [float("inf")]
    for controllers, path in (line.split(":", 2)[1:] for line in lines):
        if controllers not in ("", "memory"):
            continue
        root, names = (GROUPS / "memory", VERSION_1) if controllers else (GROUPS, VERSION_2)
        own = root / path.strip("/")
        found += [_left(group, names) for group in (own, *own.parents) if group == root or root in group.parents]
    return min(found)


def _left(group: Path, names: tuple[str, str, str]) -> float:
    limit, taken, cached = names
    try:
        most, used = ((group / name).read_text().strip() for name in (limit, taken))
        told = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except OSError:
        return float("inf")
    return float("inf") if most == "max" else float(int(most) - int(used) + int(told.get(cached, 0)))
