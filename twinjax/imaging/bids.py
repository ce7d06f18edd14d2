"""One subject of a BIDS data set (Gorgolewski et al. 2016, Sci Data 3:160044): sessions and their days.

    sub-01/ses-01/anat/sub-01_ses-01_ce-gadolinium_T1w.nii.gz   sub-01/ses-01/{anat,dwi,perf,pet,ct}/...
    sub-01/sub-01_sessions.tsv                                  session_id, acq_time (or days_since_baseline)

By hand, for one subject: pybids builds an index of a whole data set, and answers `T1w` with enhanced scans too.
"""

import csv
import datetime
from pathlib import Path

from twinjax.core.errors import InputError

DATA_FOLDERS = ("anat", "dwi", "perf", "pet", "ct")


def session_days(root: Path) -> dict[Path, float] | None:
    """Session folder to days since the first session, ascending; None for a folder that is no subject.

    Raises `InputError` for sessions without a time in `sub-XX_sessions.tsv`, or two of one day.
    """
    sessions = sorted(path for path in root.glob("ses-*") if path.is_dir())
    if not sessions:
        return {root: 0.0} if any((root / name).is_dir() for name in DATA_FOLDERS) else None
    if len(sessions) == 1:
        return {sessions[0]: 0.0}
    days = _days(root)
    missing = [path.name for path in sessions if path.name not in days]
    if missing:
        raise InputError(f"{root.name}_sessions.tsv tells no time of {missing[0]}; add acq_time for every session")
    first = min(days[path.name] for path in sessions)
    ordered = {path: days[path.name] - first for path in sorted(sessions, key=lambda path: days[path.name])}
    if len(set(ordered.values())) < len(ordered):
        raise InputError(f"'{root.name}': two sessions are of the same day; merge them")
    return ordered


def _days(root: Path) -> dict[str, float]:
    """Session to a day on any scale."""
    tables = sorted(root.glob("*_sessions.tsv"))
    if not tables:
        raise InputError(f"'{root.name}' has several sessions and no {root.name}_sessions.tsv that tells their days")
    if not tables[0].resolve().is_relative_to(root.resolve()):
        raise InputError(f"{tables[0].name} leads out of the patient folder; copy it into the folder")
    days = {}
    with open(tables[0], newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            try:
                if row.get("acq_time"):
                    day = float(datetime.datetime.fromisoformat(row["acq_time"]).toordinal())
                else:
                    day = float(row["days_since_baseline"])
                days[row["session_id"]] = day
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(
                    f"{tables[0].name}: every line needs session_id and acq_time (2024-03-01T10:00:00)"
                ) from error
    return days
