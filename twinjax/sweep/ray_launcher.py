"""`hydra/launcher=ray`: the jobs of a sweep as tasks of Ray, on this machine or on a cluster.

It drives Ray itself: hydra-ray-launcher 1.2.2 asks for boto3, for clusters at Amazon's alone, and that for
python-dateutil below 3.
"""

import atexit
import functools
import logging
import os
import pickle
import socket
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from hydra.core.utils import JobReturn, JobRuntime, JobStatus, configure_log, filter_overrides, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from twinjax.core.count import check_counts
from twinjax.core.errors import InputError, MissingDependencyError, TwinjaxError
from twinjax.core.processes import cores, environment

log = logging.getLogger("twinjax")

# Of Ray's store of what tasks hand to each other, the least that it takes: here it holds settings and numbers.
STORE_BYTES = 80 * 2**20


class RayLauncher(Launcher):
    """Runs each job as a task of Ray that has `cores_per_job` cores, as many threads, and `gpus_per_job` GPUs.

    `address` "local" is a cluster of this machine with `cores` cores that ends with the command; others are those
    of Ray. A job that fails stops no other, nor does one whose process dies. Results come in the order of the jobs.

    On a cluster every machine has twinjax, and the folder in which the command runs under the same path.

    Raises `InputError` for settings with which no job could start, and `MissingDependencyError` without Ray.
    """

    # By which Hydra finds it again (`twinjax.sweep.offer`).
    __module__ = "hydra_plugins.twinjax"

    hydra_context: HydraContext
    task_function: TaskFunction
    config: DictConfig

    def __init__(self, address: Any, cores: Any, cores_per_job: Any, gpus_per_job: Any, **unknown: Any):
        self.address, self.cores = address, cores
        self.cores_per_job, self.gpus_per_job, self.unknown = cores_per_job, gpus_per_job, unknown

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        self._check()
        # Read when Ray is imported. A cluster of one machine then listens to it alone, as on other systems, not to all
        # networks; and one that does not answer is asked once, in place of 20 times for some 40 seconds.
        name, value = (
            ("ENABLE_WINDOWS_OR_OSX_CLUSTER", "0") if self.address == "local" else ("NUM_REDIS_GET_RETRIES", "1")
        )
        os.environ.setdefault(f"RAY_{name}", value)
        try:
            import ray  # pyright: ignore
        except ImportError as error:
            raise MissingDependencyError("hydra/launcher=ray needs Ray: pip install 'twinjax[sweep]'") from error
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        Path(self.config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
        numbers = range(initial_job_idx, initial_job_idx + len(job_overrides))
        configs = [self._composed(*one) for one in zip(numbers, job_overrides, strict=True)]
        try:
            # A search launches several times: its jobs find the processes with what these have compiled.
            if not ray.is_initialized():
                self._connect(ray)
            self._check_room(ray)
            room = ray.cluster_resources().get("CPU", 0)
            log.info(
                "Ray (%s): %g cores; jobs: %d, cores of each: %d", self.address, room, len(configs), self.cores_per_job
            )
            # A job that died has written a part of its folder, and would most likely die again.
            task = ray.remote(_job).options(
                num_cpus=self.cores_per_job, num_gpus=self.gpus_per_job, max_retries=0, name="twinjax"
            )
            jobs = [task.remote(os.getcwd(), self.hydra_context, one, self.task_function) for one in configs]
            return _results(ray, jobs, job_overrides)
        except BaseException:
            # Not at the end of the process alone: jobs of a cluster, too, end here.
            ray.shutdown(wait_for_processes=True)
            raise

    def _check(self) -> None:
        if self.unknown:
            name, known = next(iter(self.unknown)), "address, cores, cores_per_job and gpus_per_job"
            raise InputError(f"hydra.launcher.{name}: no such key; hydra/launcher=ray has {known}")
        if not isinstance(self.address, str) or not self.address:
            raise InputError(
                f"hydra.launcher.address must be local, auto or the address of a cluster, got {self.address}"
            )
        check_counts(self, "cores_per_job", prefix="hydra.launcher.")
        if not isinstance(self.gpus_per_job, int) or self.gpus_per_job < 0:
            raise InputError(
                f"hydra.launcher.gpus_per_job must be a whole number of at least 0, got {self.gpus_per_job}"
            )
        if self.cores is None and self.address != "local":
            return
        if self.address != "local":
            raise InputError(f"hydra.launcher.cores is for a local cluster; {self.address} has its own: leave it out")
        here = cores()
        if self.cores is not None:
            check_counts(self, "cores", prefix="hydra.launcher.")
        if (self.cores or here) > here:
            raise InputError(f"hydra.launcher.cores={self.cores}: here are {here}")
        if self.cores_per_job > (self.cores or here):
            raise InputError(
                f"hydra.launcher.cores_per_job={self.cores_per_job}: the local cluster has {self.cores or here}"
            )

    def _composed(self, number: int, overrides: Sequence[str]) -> DictConfig:
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id, config.hydra.job.num = str(number), number
        return config

    def _connect(self, ray: ModuleType) -> None:
        local: dict[str, Any] = {
            "num_cpus": self.cores or cores(),
            "object_store_memory": STORE_BYTES,
            "include_dashboard": False,
        }
        try:
            ray.init(
                address=self.address,
                # Read when a process starts, before it imports what the job needs.
                runtime_env={"env_vars": environment(self.cores_per_job)},
                # What a job says stands in the log of its folder.
                log_to_driver=False,
                logging_level=logging.ERROR,
                **(local if self.address == "local" else {}),
            )
        except (ImportError, OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            # Ray gives its reason at the end of a cause that begins with a traceback.
            cause = str(error.__cause__ or "is it one of a cluster that runs?").strip().splitlines()[-1]
            raise InputError(f"hydra.launcher.address={self.address}: {_first_line(error)}: {cause}") from error
        # Ray's own does not wait for its processes to end.
        atexit.register(functools.partial(ray.shutdown, wait_for_processes=True))

    def _check_room(self, ray: ModuleType) -> None:
        """`InputError` where a job would wait for ever."""
        machines = [machine["Resources"] for machine in ray.nodes() if machine["Alive"]]
        for key, kind in (("cores_per_job", "CPU"), ("gpus_per_job", "GPU")):
            most = max((machine.get(kind, 0) for machine in machines), default=0)
            if getattr(self, key) > most:
                raise InputError(
                    f"hydra.launcher.{key}={getattr(self, key)}: no machine of the cluster has more than {most:g}"
                )


def _results(ray: ModuleType, jobs: list[Any], job_overrides: Sequence[Sequence[str]]) -> list[JobReturn]:
    """What came of each job, in their order; a line in the log for each that ends."""
    found: dict[Any, JobReturn] = {}
    waiting = jobs
    while waiting:
        (job,), waiting = ray.wait(waiting)
        overrides = job_overrides[jobs.index(job)]
        try:
            found[job] = ray.get(job)
        except ray.exceptions.RayError as error:
            found[job] = JobReturn(overrides=overrides, status=JobStatus.FAILED)
            # Of its own making is that of a process that ended, as the system does to it for want of memory.
            found[job].return_value = getattr(error, "cause", None) or TwinjaxError(
                f"Ray: {_first_line(error)} For want of memory? A larger hydra.launcher.cores_per_job runs fewer jobs "
                "at once."
            )
        complaint = found[job]._return_value if found[job].status == JobStatus.FAILED else None
        end = "done" if complaint is None else _first_line(complaint)
        log.info("job %d of %d: %s: %s", len(found), len(jobs), " ".join(filter_overrides(overrides)), end)
    return [found[job] for job in jobs]


def _job(folder: str, context: HydraContext, config: DictConfig, task: TaskFunction) -> JobReturn:
    """One job, in a process of Ray's."""
    try:
        os.chdir(folder)
    except OSError as error:
        raise InputError(
            f"hydra/launcher=ray: {socket.gethostname()} has no folder '{folder}'; start the command in one that all "
            "machines of the cluster share"
        ) from error
    setup_globals()
    JobRuntime.instance().set("name", config.hydra.job.name)
    found = run_job(
        task_function=task,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
        hydra_context=context,
    )
    if found.status == JobStatus.FAILED:
        found.return_value = _portable(found._return_value)
    return found


def _portable(error: Exception) -> Exception:
    """The error as the process of the command can have it: with its traceback as a note, which else stays here."""
    note = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    # Of a class that is no module's, or whose arguments are not those that it hands on.
    except (pickle.PickleError, AttributeError, TypeError):
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(note)
    return error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
