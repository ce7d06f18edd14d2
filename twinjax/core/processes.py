"""Work in processes of their own, each of which may die without the others."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple, TypeVar

Task = TypeVar("Task")

# What says how many threads a process may start. XLA takes NPROC for the number of cores.
THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
    "NPROC",
)


class Died(NamedTuple):
    """The process of a task ended before the task: `signal` that ended it, 0 where it ended by itself."""

    signal: int


class _Worker(NamedTuple):
    process: Any
    connection: Connection


def in_processes(work: Callable[[Task], Any], tasks: Sequence[Task], workers: int) -> Iterator[tuple[Task, Any]]:
    """Every task with the result of `work(task)`, in the order in which they end; `Died` in place of a result.

    `workers` processes share the cores of the machine and take one task after the other. `work` and the tasks are
    pickled. The processes end with this one, however it ends.
    """
    # A forked process hangs in JAX.
    context = multiprocessing.get_context("spawn")
    waiting, busy, started = deque(tasks), {}, []

    def start() -> _Worker:
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, work), daemon=True)
        process.start()
        started.append(process)
        # Its end alone then closes the connection.
        theirs.close()
        return _Worker(process, ours)

    def give(worker: _Worker) -> None:
        task = waiting.popleft()
        worker.connection.send(task)
        busy[worker.connection] = (worker, task)

    with _shared_cores(workers):
        try:
            for _ in range(min(workers, len(tasks))):
                give(start())
            while busy:
                for connection in wait(list(busy)):
                    worker, task = busy.pop(connection)
                    try:
                        result = worker.connection.recv()
                    except (EOFError, ConnectionError):
                        worker.process.join()
                        result = Died(max(0, -(worker.process.exitcode or 0)))
                        worker = start() if waiting else worker
                    if waiting:
                        give(worker)
                    yield task, result
        finally:
            for process in started:
                process.kill()


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def environment(threads: int) -> dict[str, str]:
    """What one of several processes reads when it starts: how many threads are its own. A setting of the user stays."""
    # Progress is that of all of them.
    return {name: os.environ.get(name, str(threads)) for name in THREADS} | {"TQDM_DISABLE": "1"}


@contextmanager
def _shared_cores(workers: int) -> Iterator[None]:
    wanted = environment(max(1, cores() // workers))
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _serve(connection: Connection, work: Callable) -> None:
    """One task after the other."""
    # Ctrl+C ends the parent, which ends this.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        connection.send(work(task))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
