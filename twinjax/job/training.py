"""The job of `twinjax-train`: examples, training, the error on brains that were not seen, files."""

import dataclasses
import logging
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from twinjax.core.config import flat, instantiate
from twinjax.core.errors import InputError
from twinjax.job.output import Run
from twinjax.job.provenance import origin_of_run
from twinjax.job.tracking import tracker_of, training_record
from twinjax.report.losses import loss_curves
from twinjax.simulation import DensityOperator
from twinjax.simulation.operator_file import save_operator
from twinjax.training import OperatorTraining, Progress, TrainingCheckpoint, accuracy, predicted, squared_error

log = logging.getLogger("twinjax")

OPERATOR, CHECKPOINTS = "operator.safetensors", "checkpoints"
# Of weights and gradients.
PRECISIONS = ("float32", "float64")
# The same bits come only of the same of these.
PACKAGES = ("jax", "jaxlib", "flax", "optax", "equinox", "numpy")
# Words for the names of `Accuracy.summary`.
ERRORS = {"relative_l2": "relative L2 error", "dice_error": "1 - Dice", "volume_error": "relative volume error"}
ENDS = {"median": "median", "nine_of_ten": "nine of ten below"}


def run_training(config: DictConfig, folder: str | Path, choices: Mapping[str, str]) -> dict[str, Any]:
    """Train what `config`, composed from conf/train.yaml, describes; writes into `folder`, and goes on there from the
    last checkpoint. Returns what `results.json` holds. `InputError` names a key or a file that is wrong.
    """
    plain: Any = OmegaConf.to_container(config, resolve=True)
    seed, precision = plain["seed"], plain["precision"]
    if not isinstance(seed, int) or seed < 0:
        raise InputError(f"seed must be a whole number >= 0, got {seed}")
    if precision not in PRECISIONS:
        raise InputError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision}")
    training = instantiate(config.training, where="training")
    if not isinstance(training, OperatorTraining):
        raise InputError("training must be one of conf/training; choose training=operator")
    tracker = tracker_of(config)
    job = Run(folder, stages=3)
    checkpoint = TrainingCheckpoint(job.folder / CHECKPOINTS, settings(plain))
    checkpoint.refuse_others()
    job.write_text("config.yaml", OmegaConf.to_yaml(config, resolve=True))
    log.info("twinjax-train: results go to %s", folder)
    with job.stage("solve tumours in brains that differ (synthetic)"):
        kinds = ("brains", "validation_brains", "test_brains")
        examples, validation, test = (training.examples(kind, seed, progress=True) for kind in kinds)
        log.info("  %d examples, %d to validate, %d to test", *(e.count for e in (examples, validation, test)))
    with job.stage("train"):
        begun = training.begun(examples, seed=seed, precision=precision)

        def report(progress: Progress) -> None:
            job.write_csv("losses.csv", progress.rows(training.trainer.every))

        done = training.trainer.fit(
            begun, squared_error, examples, validation, seed=seed, checkpoint=checkpoint, report=report
        )
    with job.stage("measure it on brains that it has not seen"):
        rows = done.rows(training.trainer.every)
        found = accuracy(predicted(done.best, test), test.share)
        operator = dataclasses.replace(done.best, errors=tuple(found.summary().items()))
        save_operator(job.folder / OPERATOR, operator)
        results = _results(rows, operator, test.count, seed, plain)
        job.write_json("results.json", results)
        for row in results["metrics"]:
            log.info("  %-40s %.3g", row["metric"], row["value"])
        loss_curves(rows, label="relative squared error").savefig(job.folder / "losses.png", dpi=120)
    if tracker is not None:
        losses = {name: [row[name] for row in rows] for name in ("training", "validation")}
        tracker.write(job.folder, training_record(plain, choices, results, losses, job))
    log.info("%.0f s in all; the network is %s", sum(job.seconds.values()), job.folder / OPERATOR)
    return results


def settings(plain: Mapping[str, Any]) -> dict[str, Any]:
    """All that the result of a training follows from."""
    chosen = {key: plain[key] for key in ("training", "seed", "precision")}
    return flat(chosen) | {f"version of {name}": version(name) for name in ("twinjax", *PACKAGES)}


def _results(rows, operator: DensityOperator, tests: int, seed: int, plain: dict[str, Any]) -> dict[str, Any]:
    """What `results.json` holds."""
    lowest = min(rows, key=lambda row: row["validation"])
    named = {f"{name}_{end}": f"{text}, {words}" for name, text in ERRORS.items() for end, words in ENDS.items()}
    errors = [
        {"metric": named[name], "value": value, "unit": "1", "target": None, "met": None, "n": tests}
        for name, value in operator.errors
    ]
    return {
        "synthetic": True,
        "metrics": errors,
        "ranges": dict(operator.ranges),
        "diagnostics": {
            "steps": rows[-1]["step"],
            "best_step": lowest["step"],
            "validation_loss": lowest["validation"],
            "training_loss": lowest["training"],
        },
        "provenance": origin_of_run(OmegaConf.to_yaml(plain), seed),
    }
