"""The folder of a run: stages with their times, and result files."""

import csv
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from twinjax.calibration import Identifiability, Posterior
from twinjax.core.errors import InputError
from twinjax.core.folder import writable
from twinjax.domain import Domain
from twinjax.imaging import write_nifti
from twinjax.imaging.features import tumor_features
from twinjax.job.provenance import code_revision
from twinjax.patient import ClinicalCourse, PatientData, Visit
from twinjax.report import PatientReport, content_of, write_report
from twinjax.report.style import quantity_label
from twinjax.twin import Comparison
from twinjax.twin.accuracy import true_parameters
from twinjax.twin.coverage import MeasuredCoverage

log = logging.getLogger("twinjax")


class Run:
    """One run: writes into `folder`, logs the stages and keeps the seconds that each took."""

    def __init__(self, folder: str | Path, stages: int):
        self.folder = writable(folder, "cannot write to the output folder")
        self.stages, self.seconds = stages, {}
        # Asked for now, as at the end of a long run the checkout may be at another.
        code_revision()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Log `[k/n] name`, and how long it took."""
        log.info("[%d/%d] %s", len(self.seconds) + 1, self.stages, name)
        began = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - began
        log.info("      %.1f s", self.seconds[name])

    def write_json(self, name: str, content: Any) -> None:
        """`content` as JSON; numpy scalars and arrays become numbers and lists, NaN becomes null."""
        text = json.dumps(_plain(content), indent=2, allow_nan=False, ensure_ascii=False)
        self.write_text(name, text + "\n")

    def write_csv(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """One line per row; the columns are the keys of all rows in their order."""
        columns = list(dict.fromkeys(key for row in rows for key in row))
        path = self.folder / name
        with open(path.with_suffix(".partial"), "w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, columns)
            writer.writeheader()
            writer.writerows(rows)
        os.replace(path.with_suffix(".partial"), path)

    def write_field(
        self, name: str, field: np.ndarray, domain: Domain, patient: PatientData, *, grid_of: str | None = None
    ) -> None:
        """A field of `domain` as NIfTI, 0 outside the domain: on the grid of the patient's processed scans, or of the
        baseline's file of the modality `grid_of`. A bool field is 1 where at least half of a voxel is."""
        scan = patient.baseline.scan
        array, affine = domain.to_grid(np.asarray(field, np.float32), scan.affine, scan.shape), scan.affine
        if grid_of is not None:
            assert patient.record is not None
            array, affine = patient.record.restored(array, grid_of, labels=False)
        if np.asarray(field).dtype == bool:
            array = (array >= 0.5).astype(np.int8)
        write_nifti(self.folder / name, array, affine)

    def write_features(self, visits: Sequence[Visit]) -> None:
        """`features.csv`: what the segmentation of each visit shows (`tumor_features`)."""
        self.write_csv("features.csv", [{"day": visit.day, **tumor_features(visit.scan)} for visit in visits])

    def write_posterior(self, posterior: Posterior) -> None:
        """`posterior.nc` and `parameters.csv`; the log says how the calibration went and what it found.

        Also `training.csv` of a method that trains: the loss after each step, by stage.
        """
        log.info("  %s: %s", posterior.diagnostics["method"], posterior.diagnostics["verdict"])
        posterior.save(self.folder / "posterior.nc")
        rows = posterior.rows()
        self.write_csv("parameters.csv", rows)
        steps = ((name, step, loss) for name, curve in posterior.curves.items() for step, loss in enumerate(curve, 1))
        if losses := [{"stage": name, "step": step, "loss": float(loss)} for name, step, loss in steps]:
            self.write_csv("training.csv", losses)
        for row in rows:
            log.info("  %-26s %.4g [%.4g, %.4g] %s", *(row[k] for k in ("parameter", "map", "lower", "upper", "unit")))

    def write_identifiability(self, found: Identifiability) -> None:
        """`identifiability.csv`; the log warns of what is mostly prior, and of what is known only in combination."""
        self.write_csv("identifiability.csv", found.rows())
        for warning in found.warnings:
            log.warning("  %s", warning)

    def write_metrics(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """`metrics.csv` of the rows of `metric_row`, which the log shows too."""
        self.write_csv("metrics.csv", rows)
        for row in rows:
            target = f" (target {row['target']})" if row["target"] else ""
            log.info("  %-46s %.3g %s%s", row["metric"], row["value"], row["unit"], target)

    def log_options(self, comparison: Comparison) -> None:
        """The compared options on the terminal, best first."""
        label, unit, scale = quantity_label(comparison.outcome)
        log.info("  %s on day %g:", label, comparison.horizon_days)
        for row in comparison.rows():
            ends = (scale * row[key] for key in ("median", "lower", "upper"))
            chance = 100 * row["probability_best"]
            text = "  %-34s %.3g [%.3g, %.3g] %s, best in %.0f %% of draws"
            log.info(text, row["option"], *ends, unit, chance)

    def write_report(self, report: PatientReport) -> None:
        """`report.html`, and what it says as plain values: `report.json`."""
        write_report(report, self.folder / "report.html")
        self.write_json("report.json", content_of(report))

    def write_text(self, name: str, text: str) -> None:
        """`text` as a file, written whole or not at all."""
        path = self.folder / name
        partial = path.with_name(path.name + ".partial")
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)


def check_grid_of(patient: PatientData, modality: str | None) -> None:
    """`InputError` unless the baseline's file of `modality` is known, so that fields can be written on its grid."""
    if modality is None:
        return
    if patient.record is None:
        raise InputError("forecast.grid_of needs imaging.json, which ImagingPipeline writes; set it to null")
    known = patient.record.visit().originals
    if modality not in known:
        raise InputError(f"forecast.grid_of={modality}: the baseline has {', '.join(known)}")


def common_results(
    patient: PatientData | ClinicalCourse,
    posterior: Posterior,
    identifiability: Identifiability,
    metrics: list[dict[str, Any]],
    coverage: Sequence[MeasuredCoverage],
    origin: dict[str, Any],
) -> dict[str, Any]:
    """What `results.json` holds of every job."""
    return {
        "patient": patient.patient_id,
        "synthetic": patient.source == "synthetic",
        "parameters": posterior.rows(),
        "diagnostics": dict(posterior.diagnostics),
        "identifiability": {"parameters": identifiability.rows(), "warnings": identifiability.warnings},
        "metrics": metrics,
        "coverage_on_virtual_patients": [one.row() for one in coverage] or "not measured",
        "truth": patient.truth if isinstance(patient, ClinicalCourse) else true_parameters(patient, posterior),
        "provenance": origin,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
