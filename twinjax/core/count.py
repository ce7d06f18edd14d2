"""Numbers of things in settings."""

from typing import Any

from twinjax.core.errors import InputError


def check_counts(settings: Any, *names: str, prefix: str = "") -> None:
    """`InputError` for one of the attributes `names` that is no whole number of at least 1, named with `prefix`."""
    for name in names:
        value = getattr(settings, name)
        if not isinstance(value, int) or value < 1:
            raise InputError(f"{prefix}{name} must be a whole number of at least 1, got {value}")
