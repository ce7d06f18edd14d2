"""The names of visit folders: `day_0030`, days since the baseline, or calendar dates such as `2024-03-01`."""

import datetime
import re
from pathlib import Path
from typing import NamedTuple

from twinjax.core.errors import InputError


class VisitFolders(NamedTuple):
    """`days`: folder name to days since the baseline, ascending; the `baseline_date` where the names are dates;
    the names of the `other` subfolders."""

    days: dict[str, float]
    baseline_date: datetime.date | None
    other: list[str]


def visit_folders(root: Path) -> VisitFolders:
    """The visit folders of a patient folder, by day; none is no error.

    Raises `InputError` for names that are almost a visit, both kinds of names, two visits of one day, or a first
    visit that is not day 0.
    """
    days: dict[str, float] = {}
    dates: dict[str, datetime.date] = {}
    other = []
    for name in sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")):
        if re.fullmatch(r"day_\d+", name):
            days[name] = float(name[4:])
        elif re.fullmatch(r"\d{4}-\d{2}-\d{2}", name):
            dates[name] = _date(name)
        elif name.startswith("day"):
            raise InputError(f"visit folder '{name}': write day_ and the days since baseline (>= 0), as in day_0030")
        else:
            other.append(name)
    if days and dates:
        raise InputError(f"'{root.name}' mixes day_NNNN and dates ({next(iter(dates))}); name all visits one way")
    baseline_date = min(dates.values()) if dates else None
    days |= {name: float((date - baseline_date).days) for name, date in dates.items() if baseline_date}
    ordered = sorted(days, key=lambda name: days[name])
    if len(set(days.values())) < len(days):
        raise InputError(f"'{root.name}': two visit folders name the same day ({', '.join(ordered)}); merge them")
    if ordered and days[ordered[0]] != 0:
        raise InputError(f"the first visit is {ordered[0]}; days count from the baseline, so it must be day_0000")
    return VisitFolders({name: days[name] for name in ordered}, baseline_date, other)


def _date(name: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(name)
    except ValueError:
        raise InputError(f"visit folder '{name}' is no calendar date; write it as 2024-03-01") from None
