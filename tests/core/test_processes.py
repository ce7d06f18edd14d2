"""Work in processes of their own: all of it is done, and one that dies takes none of the others with it."""

import os
import signal
import time

from twinjax.core.processes import Died, in_processes


def squared(number: int) -> int:
    if number == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 17:
        os._exit(3)
    return number**2


def cores(_) -> tuple[str | None, str | None]:
    return os.environ.get("NPROC"), os.environ.get("TQDM_DISABLE")


def slept(seconds: float) -> None:
    time.sleep(seconds)


def test_a_process_that_dies_is_told_and_replaced():
    found = dict(in_processes(squared, [2, 13, 3, 17, 4], 2))
    assert found == {2: 4, 13: Died(signal.SIGKILL), 3: 9, 17: Died(0), 4: 16}


def test_workers_share_the_cores(monkeypatch):
    monkeypatch.delenv("NPROC", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    assert dict(in_processes(cores, [0], 2)) == {0: ("3", "1")}
    assert "NPROC" not in os.environ and "TQDM_DISABLE" not in os.environ


def test_a_setting_of_the_user_stays(monkeypatch):
    monkeypatch.setenv("NPROC", "5")
    assert dict(in_processes(cores, [0], 1)) == {0: ("5", "1")}


def test_an_end_before_all_is_done_ends_the_processes():
    began = time.monotonic()
    running = in_processes(slept, [0.0, 600.0], 2)
    assert next(running) == (0.0, None)
    running.close()
    assert time.monotonic() - began < 300
