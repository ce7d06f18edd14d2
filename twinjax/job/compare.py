"""Two run folders side by side: which settings differ, and what each found."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from twinjax.core.config import flat
from twinjax.core.errors import InputError

# Of where results came from; the configuration is compared key by key.
ORIGIN = ("versions", "revision", "data (SHA-256)")
WIDEST = 60


def compare_runs(first: str | Path, second: str | Path) -> str:
    """Keys of the configuration that differ, and the metrics of both, as text.

    Of runs of one patient (`results.json`) or of cohorts (`cohort.json`). Raises `InputError` for a folder that holds
    no finished run.
    """
    runs = [_read(Path(folder)) for folder in (first, second)]
    names = [Path(first).name or str(first), Path(second).name or str(second)]
    if names[0] == names[1]:
        names = [str(first), str(second)]
    (settings, found), (other_settings, other_found) = runs
    keys = [key for key in settings | other_settings if settings.get(key) != other_settings.get(key)]
    changed = [[key, _text(settings, key), _text(other_settings, key)] for key in keys]
    metrics = [[key, _text(found, key), _text(other_found, key)] for key in found | other_found]
    parts = [_table(["differs", *names], changed) if changed else "The settings are the same."]
    return "\n\n".join([*parts, _table(["found", *names], metrics)])


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings and origin by dotted key, and metrics by name."""
    try:
        settings = flat(OmegaConf.to_container(OmegaConf.load(folder / "config.yaml")))
        cohort = folder / "cohort.json"
        results = json.loads((cohort if cohort.is_file() else folder / "results.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        raise InputError(
            f"'{folder}' holds no finished run: it needs config.yaml and results.json, or cohort.json"
        ) from error
    origin = results.get("provenance") or {}
    settings |= {name: origin[name] for name in ORIGIN if name in origin}
    return settings, _found(results)


def _found(results: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "diagnostics" in results:
        found["calibration"] = results["diagnostics"]["verdict"]
    else:
        found["patients with results"] = f"{results['done']} of {results['patients']}"
        found["patients not converged"] = len(results["not_converged"])
    for metric in results["metrics"]:
        value = "none" if metric["value"] is None else f"{metric['value']:.4g} {metric['unit']}".strip()
        found[metric["metric"]] = f"{value} (target {metric['target']})" if metric["target"] else value
    seconds = results.get("seconds")
    return found | ({"seconds": f"{sum(seconds.values()):.0f}"} if seconds else {})


def _text(values: Mapping[str, Any], key: str) -> str:
    text = " ".join(str(values[key]).split()) if key in values else "-"
    return text if len(text) <= WIDEST else text[: WIDEST - 3] + "..."


def _table(header: list[str], rows: list[list[str]]) -> str:
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    padded = (map(str.ljust, line, widths) for line in lines)
    return "\n".join("  ".join(cells).rstrip() for cells in padded)
