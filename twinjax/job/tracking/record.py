"""What is told of a finished run, and nothing of who the patient is."""

import base64
import csv
import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from twinjax.core.config import flat
from twinjax.job.output import Run

# Parts of the configuration that describe the patient, or could name one.
PERSONAL = ("patient", "cohort", "title", "tracking", "imaging.file_names")
# Of the origin of a run: where it came from, without the hash of the patient's data.
ORIGIN = ("versions", "machine", "revision", "seed")
FIGURE = re.compile(r'alt="([^"]*)" src="data:image/png;base64,([^"]+)"')

Setting = str | float | bool


@dataclass(frozen=True)
class Record:
    """A finished run, of a patient or of a cohort.

    **Fields:** `settings` by group (its choice) and by dotted key; `numbers` by kind (`metrics`, `diagnostics`,
    `parameters`, `seconds`) and name; `texts` by title, in Markdown; `curves`: stage to the loss after each step;
    `figures`: (caption, PNG) of the report.
    """

    settings: Mapping[str, Setting]
    numbers: Mapping[str, Mapping[str, float]]
    texts: Mapping[str, str] = field(default_factory=dict)
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)
    figures: Sequence[tuple[str, bytes]] = ()


def patient_record(
    config: Mapping[str, Any], choices: Mapping[str, str], results: Mapping[str, Any], run: Run
) -> Record:
    """Of the main job on one patient.

    The group `patient` is told by its choice alone, and pictures of the report only of synthetic patients.

    **Arguments:** `config`, plain and without places of the machine; `results` as `results.json` holds them.
    """
    return Record(
        settings_of_run(config, choices),
        {
            "metrics": _metrics(results),
            "diagnostics": _diagnostics(results),
            "parameters": {row["parameter"]: row["median"] for row in results["parameters"]},
            "seconds": run.seconds | {"in all": sum(run.seconds.values())},
        },
        {
            "verdict": results["diagnostics"]["verdict"],
            "metrics": _table(results["metrics"], ("metric", "value", "unit", "target", "met", "n")),
            "parameters": _table(results["parameters"], ("parameter", "median", "lower", "upper", "unit")),
            "provenance": _provenance(results),
            "files": _files(run),
        },
        _curves(run),
        _figures(run) if results["synthetic"] else (),
    )


def cohort_record(
    config: Mapping[str, Any], choices: Mapping[str, str], summary: Mapping[str, Any], run: Run
) -> Record:
    """Of a cohort; `summary` as `cohort.json` holds it. Which patients failed stays in its report."""
    counts = {"patients": summary["patients"], "with results": summary["done"]}
    counts["not converged"] = len(summary["not_converged"])
    return Record(
        settings_of_run(config, choices),
        {"metrics": _metrics(summary), "cohort": counts, "seconds": run.seconds},
        {
            "metrics": _table(summary["metrics"], ("metric", "value", "error", "unit", "target", "met", "patients")),
            "files": _files(run),
        },
    )


def training_record(
    config: Mapping[str, Any],
    choices: Mapping[str, str],
    results: Mapping[str, Any],
    losses: Mapping[str, Sequence[float]],
    run: Run,
) -> Record:
    """Of the training of a network, whose tumours are all synthetic; `losses` by name, round by round."""
    return Record(
        settings_of_run(config, choices),
        {"metrics": _metrics(results), "diagnostics": _diagnostics(results), "seconds": run.seconds},
        {
            "metrics": _table(results["metrics"], ("metric", "value", "n")),
            "provenance": _provenance(results),
            "files": _files(run),
        },
        losses,
        [("Training", (run.folder / "losses.png").read_bytes())],
    )


def numbers_of(results: Mapping[str, Any]) -> dict[str, float]:
    """Metrics and diagnostics by name, of what `run_patient` or `run_cohort` returns."""
    return _metrics(results) | _diagnostics(results)


def settings_of_run(config: Mapping[str, Any], choices: Mapping[str, str]) -> dict[str, Setting]:
    """The choice of every group, and every key but those that could tell who the patient is."""
    found: dict[str, Setting] = {group: name for group, name in choices.items() if not group.startswith("hydra/")}
    for key, value in flat(config).items():
        if key.startswith(tuple(f"{part}." for part in PERSONAL)) or key in PERSONAL or key.endswith("_target_"):
            continue
        found[key] = value if isinstance(value, str | int | float) else str(value)
    return found


def _metrics(results: Mapping[str, Any]) -> dict[str, float]:
    found = results.get("metrics", ())
    return {metric["metric"]: float(metric["value"]) for metric in found if metric["value"] is not None}


def _diagnostics(results: Mapping[str, Any]) -> dict[str, float]:
    found = results.get("diagnostics", {}).items()
    return {name: float(value) for name, value in found if isinstance(value, bool | int | float)}


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """As Markdown."""
    lines = [columns, ["---"] * len(columns), *([_cell(row[column]) for column in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _provenance(results: Mapping[str, Any]) -> str:
    return "\n".join(f"- {name}: {results['provenance'][name]}" for name in ORIGIN)


def _files(run: Run) -> str:
    """Names and sizes of the results, without the folders of scans."""
    files = sorted(path for path in run.folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return "\n".join(f"- {path.name} ({path.stat().st_size / 1e3:.0f} kB)" for path in files)


def _curves(run: Run) -> dict[str, list[float]]:
    path, found = run.folder / "training.csv", {}
    if path.is_file():
        with open(path, newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                found.setdefault(row["stage"], []).append(float(row["loss"]))
    return found


def _figures(run: Run) -> list[tuple[str, bytes]]:
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    return [(html.unescape(caption), base64.b64decode(data)) for caption, data in FIGURE.findall(page)]
