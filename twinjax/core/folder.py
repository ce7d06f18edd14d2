"""Folders that results go into."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from twinjax.core.errors import InputError


def writable(folder: str | Path, complaint: str) -> Path:
    """The folder, made if it is not there; `InputError` that begins with `complaint` where it cannot be written to."""
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"{complaint} '{folder}': {error.strerror}") from error
    return path


@contextmanager
def only_job_in(folder: str | Path) -> Iterator[None]:
    """Hold a folder for one job; `InputError` where another has it, or where it cannot be written to.

    The system gives the lock back when the process ends, however it ends.
    """
    lock = FileLock(writable(folder, "cannot write to the output folder") / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise InputError(f"another job is writing to '{folder}'; wait for it, or name another folder") from error
    try:
        yield
    finally:
        lock.release()


def signature(folder: str | Path, endings: tuple[str, ...] = ("",)) -> str:
    """A hash of names, sizes and times of the files with these endings: cheap, and another after any change.

    Of a file in place of a folder it is that of the file.
    """
    root = Path(folder)
    found = [root] if root.is_file() else root.rglob("*")
    files = [path for path in found if path.is_file() and path.name.lower().endswith(endings)]
    told = sorted((str(p.relative_to(root)), p.stat().st_size, p.stat().st_mtime_ns) for p in files)
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
