"""CSV files that people write: the columns, and every row with the place where it stands."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from twinjax.core.errors import InputError


def read_csv_rows(path: str | Path, kind: str) -> tuple[list[str], Iterator[tuple[str, dict[str, str]]]]:
    """`(columns, rows)` of a comma-separated file in UTF-8 whose first line names the columns.

    Columns are in lower case. A row is `(where, fields)`: `sizes.csv line 3`, and the stripped text by column; empty
    lines are skipped. Raises `InputError` for a file that cannot be read, which `kind` names, for a column that is
    there twice, and on the way for a row with more or fewer fields than columns.
    """
    path = Path(path)
    try:
        table = csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines(), skipinitialspace=True)
        columns = [(name or "").strip().lower() for name in table.fieldnames or ()]
        table.fieldnames = columns
        records = [(f"{path.name} line {table.line_num}", record) for record in table]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{kind} '{path.name}' cannot be read; give a CSV in UTF-8") from error
    if twice := [name for name in columns if name and columns.count(name) > 1]:
        raise InputError(f"{path.name}: column {twice[0]} is there more than once; remove one")
    return columns, (_fields(where, record) for where, record in records)


def _fields(where: str, record: Mapping) -> tuple[str, dict[str, str]]:
    if None in record or None in record.values():
        raise InputError(f"{where}: the row has not as many fields as there are columns")
    return where, {name: value.strip() for name, value in record.items()}


def check_time_column(name: str, columns: list[str]) -> None:
    """Refuse a table, called `name`, whose rows have no time, or two."""
    if ("day" in columns) == ("date" in columns):
        raise InputError(f"{name}: give one column of time, either day or date")
