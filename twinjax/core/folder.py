"""Folders that results go into."""

from pathlib import Path

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
