"""The command line: Hydra composes the configuration, the job does the rest.

What the user can mend ends with one line on the terminal and exit code 2.
"""

import errno
import functools
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

# Two devices let two chains run side by side on a processor; JAX reads this once, at its import.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=2")

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from twinjax.core.config import conf_dir
from twinjax.core.errors import IncompleteCohort, InputError, TwinjaxError
from twinjax.core.folder import only_job_in
from twinjax.sweep import offer

log = logging.getLogger("twinjax")

# What the user can mend: settings, files and folders.
MENDABLE = (TwinjaxError, HydraException, OmegaConfBaseException, OSError)
# Exit codes: of what the user can mend, of a cohort in which patients failed, and of Ctrl+C, as shells have it.
BAD_INPUT, FAILED_PATIENTS, INTERRUPTED = 2, 1, 130


def main() -> None:
    """Entry point of the `twinjax` command."""
    # Without it Hydra prints errors itself: its own over many lines, those of files without a hint.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    arguments = sys.argv[1:]
    try:
        if arguments[:1] == ["compare"]:
            _compare(arguments[1:])
            return
        if arguments[:1] == ["predict_gbm"]:
            _predict_gbm(arguments[1:])
            return
        _compose("config", run)
    except MENDABLE as error:
        _stop(error)
    except KeyboardInterrupt:
        _interrupted("a cohort goes on where it was with the same command")


def train() -> None:
    """Entry point of the `twinjax-train` command."""
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        _compose("train", run_train)
    except MENDABLE as error:
        _stop(error)
    except KeyboardInterrupt:
        _interrupted("with hydra.run.dir=... of its folder the same command goes on from the last checkpoint")


def _compose(config_name: str, job: Callable[[DictConfig], dict]) -> None:
    """Compose the configuration of that name by the command's arguments, and do the job on it."""
    _refuse_contradictions(sys.argv[1:])
    offer()
    guarded = functools.partial(_guarded, job)
    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=config_name)(guarded)()


def _interrupted(hint: str) -> NoReturn:
    print(f"twinjax: stopped; {hint}", file=sys.stderr)
    raise SystemExit(INTERRUPTED) from None


def _compare(folders: Sequence[str]) -> None:
    from twinjax.job.compare import compare_runs

    if len(folders) != 2:
        raise InputError("compare wants the folders of two runs: twinjax compare outputs/A outputs/B")
    print(compare_runs(*folders))


def _predict_gbm(arguments: Sequence[str]) -> None:
    from twinjax.job import persistent_cache
    from twinjax.job.predict_gbm import predict_densities

    folders = [argument for argument in arguments if "=" not in argument]
    overrides = [argument for argument in arguments if "=" in argument]
    if len(folders) != 2:
        raise InputError("predict_gbm wants two folders: twinjax predict_gbm INPUT OUTPUT [key=value ...]")
    _refuse_contradictions(overrides)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    persistent_cache()

    def config_of(path: str) -> DictConfig:
        with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
            config = hydra.compose("config", ["patient=predict_gbm", *overrides])
        # Not among the overrides, whose grammar has signs that a path may hold.
        config.patient.path = path
        return config

    source, target = folders
    predict_densities(source, target, config_of)


def _refuse_contradictions(arguments: Sequence[str]) -> None:
    """Hydra takes the last of two values without a word."""
    seen: dict[str, str] = {}
    for argument in arguments:
        key, sign, _ = argument.partition("=")
        key = key.lstrip("+")
        if not sign or key.startswith("-"):
            continue
        if seen.get(key, argument) != argument:
            raise InputError(f"{key} is given twice: {seen[key]} and {argument}; leave one out")
        seen[key] = argument


def _guarded(job: Callable[[DictConfig], dict], config: DictConfig) -> dict[str, float]:
    """Run, and end before Hydra adds its own lines to an error; the numbers found, for a sweeper that follows them."""
    from twinjax.job.tracking import numbers_of

    try:
        return numbers_of(job(config))
    except MENDABLE as error:
        # A sweep does its other jobs first, and then raises the first error again.
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            log.error("%s", _line(error))
            raise
        _stop(error)


def _stop(error: Exception) -> NoReturn:
    print(f"twinjax: {_line(error)}", file=sys.stderr)
    raise SystemExit(FAILED_PATIENTS if isinstance(error, IncompleteCohort) else BAD_INPUT) from None


def _line(error: Exception) -> str:
    line = " ".join(str(error).partition("Config search path")[0].split())
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return f"the disk is full; make room and start it again ({line})" if full else line


def run(config: DictConfig) -> dict:
    """The main job on a composed configuration, for one patient or a cohort; returns what it found.

    Of one patient what `results.json` holds, of a cohort what `cohort.json` does. Raises `IncompleteCohort` where
    patients of a cohort failed, after all its files are written.
    """
    from twinjax.job import persistent_cache, run_cohort, run_patient

    persistent_cache()
    folder, choices = _composed()
    many = bool(config.get("cohort"))
    with only_job_in(folder):
        found = (run_cohort if many else run_patient)(config, folder, choices)
    if many and found["failed"]:
        count = f"{len(found['failed'])} of {found['patients']}"
        raise IncompleteCohort(f"{count} patients have no results; see cohort.csv")
    return found


def run_train(config: DictConfig) -> dict:
    """The training on a configuration composed from conf/train.yaml; returns what `results.json` holds."""
    from twinjax.job import persistent_cache

    # Apart from the other jobs: Orbax takes seconds to import, and gives the root logger a handler where it has none.
    from twinjax.job.training import run_training

    persistent_cache()
    folder, choices = _composed()
    with only_job_in(folder):
        return run_training(config, folder, choices)


def _composed() -> tuple[str, dict[str, str]]:
    """The folder of the run, and the choice of every group that has one."""
    composed = HydraConfig.get().runtime
    return composed.output_dir, {group: choice for group, choice in composed.choices.items() if choice is not None}
