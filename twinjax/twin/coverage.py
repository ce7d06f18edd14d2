"""How often the intervals of forecasts held what was held out of virtual patients, as far as it has been measured."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# One line a measurement. `experiments/virtual_patients/run.py --record` writes its own, docs/virtual-patients.md
# says what they mean.
MEASURED = Path(__file__).with_name("coverage.csv")
# Nominal levels of the intervals, in per cent.
LEVELS = (50, 80, 90, 95)


@dataclass(frozen=True)
class MeasuredCoverage:
    """What the intervals of one model held on synthetic patients.

    **Fields:** `model` and `calibrator`, names of the configuration; `patient` likewise, `""` for the model's own;
    `misfit`, whether the tumours grew by a law that the fitted model does not have; `model_error`, what the fit
    reckoned with (`calibration.model_error`); `patients` and `converged` of them, None where it was not kept;
    `held_out` values and `inside`, nominal level to the share of them in intervals of that level, both in per cent,
    None where it was not measured; `parameters` whose truth is known and `parameters_inside`, the per cent of them in
    90 % intervals; `command`, which measured it.
    """

    model: str
    patient: str
    calibrator: str
    misfit: bool
    model_error: float
    patients: int
    converged: int | None
    held_out: int
    inside: dict[int, float | None]
    parameters: int | None
    parameters_inside: float | None
    command: str

    def row(self) -> dict[str, Any]:
        """The line of the file."""
        return {
            "model": self.model,
            "patient": self.patient,
            "calibrator": self.calibrator,
            "misfit": "yes" if self.misfit else "no",
            "model_error": self.model_error,
            "patients": self.patients,
            "converged": self.converged,
            "held_out": self.held_out,
            **{f"in_{level}": self.inside[level] for level in LEVELS},
            "parameters": self.parameters,
            "parameters_in_90": self.parameters_inside,
            "command": self.command,
        }


def measured_coverage(
    model: str | None = None, calibrator: str | None = None, model_error: float | None = None, *, path: Path = MEASURED
) -> list[MeasuredCoverage]:
    """What was measured of `model`, a name of conf/model, with `model_error` (None: of all); empty where nothing was.

    First what was measured with `calibrator`, then what was measured on more values; misfits last.
    """
    with path.open(newline="", encoding="utf-8") as stream:
        found = [_read(row) for row in csv.DictReader(stream)]
    kept = [one for one in found if model in (None, one.model) and model_error in (None, one.model_error)]
    return sorted(kept, key=lambda one: (one.misfit, one.calibrator != calibrator, -one.held_out))


def record_coverage(one: MeasuredCoverage, path: Path = MEASURED) -> None:
    """Put it into the file, in place of what the same command measured before."""
    found = [other for other in measured_coverage(path=path) if other.command != one.command] if path.is_file() else []
    rows = sorted((other.row() for other in [*found, one]), key=lambda row: (row["model"], row["command"]))
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _read(row: dict[str, str]) -> MeasuredCoverage:
    whole = {key: int(row[key]) if row[key] else None for key in ("converged", "parameters")}
    return MeasuredCoverage(
        row["model"],
        row["patient"],
        row["calibrator"],
        row["misfit"] == "yes",
        float(row["model_error"]),
        int(row["patients"]),
        whole["converged"],
        int(row["held_out"]),
        {level: _number(row[f"in_{level}"]) for level in LEVELS},
        whole["parameters"],
        _number(row["parameters_in_90"]),
        row["command"],
    )


def _number(text: str) -> float | None:
    if not text:
        return None
    value = float(text)
    return int(value) if value.is_integer() else value
