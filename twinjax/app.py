"""The command line: Hydra composes the configuration, the job does the rest.

What the user can mend ends with one line on the terminal and exit code 2.
"""

import os
import sys
from typing import NoReturn

# Two devices let two chains run side by side on a processor; JAX reads this once, at its import.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=2")

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from twinjax.core.config import conf_dir
from twinjax.core.errors import TwinjaxError
from twinjax.core.folder import only_job_in

# What the user can mend: settings, files and folders.
MENDABLE = (TwinjaxError, HydraException, OmegaConfBaseException, OSError)
# Exit codes: of what the user can mend, of a cohort in which patients failed, and of Ctrl+C, as shells have it.
BAD_INPUT, FAILED_PATIENTS, INTERRUPTED = 2, 1, 130


def main() -> None:
    """Entry point of the `twinjax` command."""
    # Without it Hydra prints errors itself: its own over many lines, those of files without a hint.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(_guarded)()
    except MENDABLE as error:
        _stop(error)
    except KeyboardInterrupt:
        print("twinjax: stopped; a cohort goes on where it was with the same command", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None


def _guarded(config: DictConfig) -> None:
    """Run, and end before Hydra adds its own lines to an error."""
    try:
        found = run(config)
    except MENDABLE as error:
        _stop(error)
    if failed := found.get("failed"):
        print(
            f"twinjax: {len(failed)} of {found['patients']} patients have no results, see cohort.csv", file=sys.stderr
        )
        raise SystemExit(FAILED_PATIENTS)


def _stop(error: Exception) -> NoReturn:
    line = " ".join(str(error).partition("Config search path")[0].split())
    print(f"twinjax: {line}", file=sys.stderr)
    raise SystemExit(BAD_INPUT) from None


def run(config: DictConfig) -> dict:
    """The main job on a composed configuration, for one patient or a cohort; returns what it found.

    Of one patient what `results.json` holds, of a cohort what `cohort.json` does.
    """
    from twinjax.job import persistent_cache, run_cohort, run_patient

    persistent_cache()
    composed = HydraConfig.get().runtime
    work = run_cohort if config.get("cohort") else run_patient
    with only_job_in(composed.output_dir):
        return work(config, composed.output_dir, dict(composed.choices))
