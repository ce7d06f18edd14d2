"""Visits that were held out of the fit, told to the twin one after the other."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import jax

from twinjax.calibration import AbstractCalibrator, InverseProblem
from twinjax.job.output import Run
from twinjax.job.settings import JobSettings
from twinjax.treatment import Regimen
from twinjax.twin import DigitalTwin
from twinjax.twin.assimilated import AssimilatedVisit

log = logging.getLogger("twinjax")


def assimilate_later(
    run: Run,
    twin: DigitalTwin,
    problem_until: Callable[[float], InverseProblem],
    days: Sequence[float],
    calibrator: AbstractCalibrator,
    settings: JobSettings,
    *,
    regimen: Regimen,
    quantities: Sequence[str],
    seed: int,
) -> list[AssimilatedVisit]:
    """Each of `days` in turn: what was expected of it, how the parameters moved, and what is forecast since.

    **Arguments:** `twin` on the grid of the fit; `problem_until(day)`, with the visits up to that day; `regimen` as
    planned; `quantities`, which are forecast for the horizon.

    File: `assimilation.csv`, a line a visit and parameter.
    """
    if not settings.assimilate:
        return []
    found: list[AssimilatedVisit] = []
    with run.stage("assimilate the later visits"):
        for number, day in enumerate(days, start=1):
            problem = problem_until(day)
            if not set(problem.days.tolist()) - set(twin.problem.days.tolist()):
                continue
            made = twin.assimilate(problem, calibrator, key=jax.random.fold_in(jax.random.key(seed), number))
            before, twin = twin, made.twin
            ends = [
                one.predict(settings.horizon_days, [settings.horizon_days], regimen=regimen, fields=False)
                for one in (before, twin)
            ]
            found.append(AssimilatedVisit.of(day, made, quantities, *ends))
            for sentence in made.warnings:
                log.warning("  %s", sentence)
        rows = [{"day": visit.day, "by": visit.by, **row} for visit in found for row in visit.change]
        run.write_csv("assimilation.csv", rows)
    return found


def assimilation_results(found: Sequence[AssimilatedVisit]) -> dict[str, Any]:
    """What `results.json` holds of it."""
    return {"assimilation": [asdict(visit) for visit in found] if found else None}
