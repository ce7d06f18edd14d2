"""`hydra/sweeper=optuna`: a sweep whose next job follows from what the jobs before it found.

It drives Optuna itself: hydra-optuna-sweeper 1.3.0 wants Optuna below 3, whose database does not work with SQLAlchemy
2, and rests on parts that Optuna 6 takes away.
"""

import csv
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from twinjax.core.errors import InputError, MissingDependencyError
from twinjax.core.folder import only_job_in

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, Trial

log = logging.getLogger("twinjax")

# Of a study, in the folder of the sweep: what is known of it, from which it goes on, and what it found.
JOURNAL, TRIALS, BEST = "optuna.log", "trials.csv", "best.yaml"
# Marks of a study, and of a trial whose job failed: one without it was interrupted.
SETTINGS, COMPLAINT = "settings", "complaint"


class OptunaSweeper(Sweeper):
    """Tries `n_trials` values of the swept keys for the least (or largest) `objective`, `n_jobs` at a time.

    The next values are proposed by the tree-structured Parzen estimator (Bergstra et al. 2011, NeurIPS 24) from those
    of before. Keys take `a,b`, `choice(a,b)`, `range(1,9)`, `interval(0,1)`, `int(interval(1,9))` and
    `tag(log,interval(1,9))`. The objective is a metric or a diagnostic of the job, by its name in `results.json`. A job
    that fails stops no other. The same command with the same `hydra.sweep.dir` goes on.

    Files in that folder: those of every job in a folder of its own, `trials.csv`, `best.yaml`, and the study,
    `optuna.log`. Raises `InputError` for settings with which no job is worth its time, the first error of a job when
    all are through, and `MissingDependencyError` without Optuna.
    """

    # By which Hydra finds it again (`twinjax.sweep.offer`).
    __module__ = "hydra_plugins.twinjax"

    hydra_context: HydraContext
    config: DictConfig
    launcher: Launcher

    def __init__(self, objective: str | None, direction: Any, n_trials: Any, n_jobs: Any, seed: int):
        self.objective, self.direction, self.n_trials = objective or "", direction, n_trials
        self.n_jobs, self.seed = n_jobs, seed

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        try:
            import optuna
        except ImportError as error:
            raise MissingDependencyError("hydra/sweeper=optuna needs Optuna: pip install 'twinjax[sweep]'") from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides(arguments)
        space = {one.get_key_element(): _distribution(one) for one in overrides if one.is_sweep_override()}
        fixed = sorted(one.input_line or "" for one in overrides if not one.is_sweep_override())
        self._check(space)
        folder = Path(self.config.hydra.sweep.dir)
        with only_job_in(folder):
            study = self._study(folder, space, fixed)
            complaint = None
            while (left := self.n_trials - len(_told(study))) > 0:
                error = self._batch(study, min(left, self.n_jobs), space, fixed)
                complaint = complaint or error
                _write(folder, study, self.objective)
            if any(trial.value is not None for trial in _told(study)):
                log.info("best: %s = %g with %s", self.objective, study.best_value, _shown(study.best_params))
        if complaint is not None:
            raise complaint

    def _check(self, space: Mapping[str, "BaseDistribution"]) -> None:
        if not self.objective:
            raise InputError(
                "hydra.sweeper.objective: name what is sought, a metric or a diagnostic of results.json, such as "
                "hydra.sweeper.objective='median error of volume_mm3'"
            )
        if self.direction not in ("minimize", "maximize"):
            raise InputError(f"hydra.sweeper.direction must be minimize or maximize, got {self.direction}")
        for name, value in (("n_trials", self.n_trials), ("n_jobs", self.n_jobs)):
            if not isinstance(value, int) or value < 1:
                raise InputError(f"hydra.sweeper.{name} must be a whole number >= 1, got {value}")
        if not space:
            raise InputError(
                "hydra/sweeper=optuna: no key has several values; give it some, such as "
                "'calibrator.draws=int(interval(200,2000))'"
            )

    def _study(self, folder: Path, space: Mapping[str, "BaseDistribution"], fixed: Sequence[str]) -> "Study":
        """The study of the folder: a new one, or that of the same settings with its interrupted trials put aside."""
        import optuna
        from optuna.storages.journal import JournalFileBackend

        storage = optuna.storages.JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
        study = optuna.create_study(
            study_name="twinjax", storage=storage, direction=self.direction, load_if_exists=True
        )
        asked = [self.objective, self.direction, *fixed, *(f"{key} {values!r}" for key, values in space.items())]
        before = study.user_attrs.get(SETTINGS, asked)
        if before != asked:
            changed = [*(one for one in asked if one not in before), *(one for one in before if one not in asked)]
            raise InputError(
                f"'{folder}' holds a study of other settings ({changed[0]}); name another folder with "
                "hydra.sweep.dir=..., or delete it"
            )
        study.set_user_attr(SETTINGS, asked)
        for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        return study

    def _batch(
        self, study: "Study", count: int, space: Mapping[str, "BaseDistribution"], fixed: Sequence[str]
    ) -> Exception | None:
        """Run `count` trials at once, each set of values once; returns the first error of a job."""
        done = len(_told(study))
        trials = [self._asked(study, done + i, space) for i in range(count)]
        values = {_key(trial): trial.value for trial in study.trials if trial.value is not None}
        todo = {_key(trial): trial for trial in trials if _key(trial) not in values}
        jobs = [[*fixed, *(f"{key}={value}" for key, value in trial.params.items())] for trial in todo.values()]
        self.validate_batch_is_legal(jobs)
        first, complaints, names = None, {}, {}
        for key, job in zip(todo, self.launcher.launch(jobs, initial_job_idx=done) if jobs else [], strict=True):
            try:
                found = job.return_value
            # Whatever is wrong with one job, the others go on.
            except Exception as error:
                first, complaints[key] = first or error, str(error)
            else:
                values[key], names = found.get(self.objective), names | found
        if names and all(value is None for value in values.values()):
            raise InputError(f"hydra.sweeper.objective: no '{self.objective}'; the jobs found {', '.join(names)}")
        for trial in trials:
            self._tell(study, trial, values.get(_key(trial)), complaints.get(_key(trial)))
        return first

    def _asked(self, study: "Study", number: int, space: Mapping[str, "BaseDistribution"]) -> "Trial":
        """The next trial; its chance follows from its number, so that a study that goes on ends as one that ran on."""
        import optuna

        seed = int(np.random.SeedSequence((self.seed, number)).generate_state(1)[0])
        study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=self.n_jobs > 1)
        return study.ask(dict(space))

    def _tell(self, study: "Study", trial: "Trial", value: float | None, complaint: str | None) -> None:
        from optuna.trial import TrialState

        if complaint is None and (value is None or not math.isfinite(value)):
            complaint = f"no number for {self.objective}"
        if complaint is not None:
            trial.set_user_attr(COMPLAINT, complaint)
            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, value)
        found = complaint or f"{self.objective} = {value:g}"
        log.info("trial %d of %d: %s: %s", len(_told(study)), self.n_trials, _shown(trial.params), found)


def _distribution(override: Override) -> "BaseDistribution":
    """Optuna's words for the values that Hydra's grammar gives a key."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    values: Any = override.value()
    try:
        if isinstance(values, IntervalSweep):
            low, high, more = values.start, values.end, {"log": "log" in values.tags}
        elif isinstance(values, RangeSweep) and not values.shuffle:
            numbers = list(values.range())
            low, high, more = min(numbers), max(numbers), {"step": abs(values.step)}
        else:
            return CategoricalDistribution(list(override.sweep_string_iterator()))
        whole = all(isinstance(number, int) for number in (low, high, more.get("step", 1)))
        kind: Any = IntDistribution if whole else FloatDistribution
        return kind(low, high, **more)
    except ValueError as error:
        raise InputError(f"{override.input_line}: {error}") from error


def _key(trial: "Trial | FrozenTrial") -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(trial.params.items()))


def _shown(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in values.items())


def _told(study: "Study") -> list["FrozenTrial"]:
    """Trials that came to an end."""
    return [trial for trial in study.trials if trial.value is not None or COMPLAINT in trial.user_attrs]


def _write(folder: Path, study: "Study", objective: str) -> None:
    """`trials.csv` in the order of the trials, and `best.yaml`."""
    told = _told(study)
    names = sorted({name for trial in told for name in trial.params})
    rows = [
        [*(trial.params.get(name) for name in names), trial.value, trial.user_attrs.get(COMPLAINT)] for trial in told
    ]
    with open(folder / TRIALS, "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([[*names, objective, COMPLAINT], *rows])
    if good := [trial for trial in told if trial.value is not None]:
        best = study.best_trial
        found = {"objective": objective, "value": best.value, "parameters": best.params, "trials": len(good)}
        OmegaConf.save(OmegaConf.create(found), folder / BEST)
