"""`PatientReport`: what a report says; `write_report`: one self-contained HTML file of it."""

import base64
import hashlib
import io
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import numpy as np
from matplotlib.figure import Figure

from twinjax.report.style import STYLE

MAX_BYTES = 15_000_000
RESOLUTIONS_DPI = (120, 90, 60)
FOLDER = Path(__file__).parent

NUMBER = re.compile(r"—|[−+-]?[\d.,\u202f]+(e[−+]?\d+)?( %)?")

Cell = str | float | int | bool | np.number | np.bool_ | None


@dataclass(frozen=True)
class Table:
    """A table: `rows` of cells in the order of `columns`. Booleans are shown as yes and no, None as a dash."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""


@dataclass(frozen=True)
class Viewer:
    """An interactive viewer: `content` is what `viewer.js` reads, numbers and text alone; see `orthogonal_viewer`."""

    caption: str
    content: Mapping[str, Any]


@dataclass(frozen=True)
class Section:
    """A chapter of the report. `text`: plain words, a blank line starts a paragraph; `figures`: (caption, Figure).

    `viewer` stands before the figures, which say the same to a reader on paper or without JavaScript.
    """

    title: str
    text: str = ""
    figures: Sequence[tuple[str, Figure]] = ()
    tables: Sequence[Table] = ()
    viewer: Viewer | None = None


@dataclass(frozen=True)
class KeyFigure:
    """A number of the summary box: `label` says what it is, `value` holds number and unit, `note` the uncertainty."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class PatientReport:
    """All that a report says; every text is plain and is escaped when written.

    **Fields:** `summary` (sentences), `key_figures` (large numbers above them), `warnings` (the banner on top:
    no convergence, a failed solver), `synthetic` (says so on every page), `provenance` (name to value; a value of
    several lines, as a configuration, is folded), `limitations`; `subject`, what the report is about.
    """

    title: str
    patient_id: str
    synthetic: bool
    summary: Sequence[str] = ()
    warnings: Sequence[str] = ()
    sections: Sequence[Section] = ()
    provenance: Mapping[str, object] = field(default_factory=dict)
    limitations: Sequence[str] = ()
    key_figures: Sequence[KeyFigure] = ()
    subject: str = "Patient"


def write_report(report: PatientReport, path: str | Path) -> Path:
    """Write the report as one HTML file without outside resources; returns the path.

    The page may run the script of the viewer, where it has one, and nothing else. The file appears whole or not at all.
    Pictures are drawn coarser where the file would pass 15 MB.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = format_cell
    environment.filters["numeric"] = _is_numeric_column
    template = environment.get_template("template.html.jinja")
    script = ""
    if any(section.viewer for section in report.sections):
        script = (FOLDER / "viewer.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    page = ""
    for dpi in RESOLUTIONS_DPI:
        images = [[_png(figure, dpi) for _, figure in section.figures] for section in report.sections]
        page = template.render(report=report, images=images, script=script, digest=digest)
        if len(page) <= MAX_BYTES:
            break
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        unfinished.write_text(page, encoding="utf-8")
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def content_of(report: PatientReport) -> dict[str, Any]:
    """All that the report says as plain values: texts and tables; of pictures and the viewer the caption alone."""
    return {
        "title": report.title,
        "subject": report.subject,
        "patient": report.patient_id,
        "synthetic": report.synthetic,
        "warnings": list(report.warnings),
        "key_figures": [asdict(one) for one in report.key_figures],
        "summary": list(report.summary),
        "sections": [
            {
                "title": section.title,
                "text": section.text,
                "viewer": None if section.viewer is None else section.viewer.caption,
                "figures": [caption for caption, _ in section.figures],
                "tables": [
                    {"caption": one.caption, "columns": list(one.columns), "rows": [list(row) for row in one.rows]}
                    for one in section.tables
                ],
            }
            for section in report.sections
        ],
        "limitations": list(report.limitations),
        "provenance": dict(report.provenance),
    }


def format_cell(value: Cell) -> str:
    """A cell as text: four significant digits, thousands apart, a true minus, a dash for nothing."""
    if isinstance(value, str):
        return value
    if value is None or math.isnan(value):
        return "—"
    if isinstance(value, bool | np.bool_):
        return "✓ yes" if value else "✗ no"
    value = float(value)
    if value.is_integer() and abs(value) < 1e9:
        return f"{int(value):,}".replace(",", "\u202f").replace("-", "−")
    text = f"{value:,.0f}" if 1e3 <= abs(value) < 1e9 else f"{value:.4g}"
    return text.replace(",", "\u202f").replace("-", "−")


def _is_numeric_column(table: Table, column: int) -> bool:
    cells = [format_cell(row[column]) for row in table.rows]
    return any(cell != "—" for cell in cells) and all(NUMBER.fullmatch(cell) for cell in cells)


def _png(figure: Figure, dpi: int) -> dict[str, object]:
    """The picture as base64 text, with its width in CSS pixels (96 an inch)."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return {
        "data": base64.b64encode(buffer.getvalue()).decode("ascii"),
        "width": round(96 * figure.get_size_inches()[0]),
    }
