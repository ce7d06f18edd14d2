"""`AbstractTracker`: what writes a finished run for a tracking tool."""

import abc
from pathlib import Path

from omegaconf import DictConfig

from twinjax.core.config import instantiate
from twinjax.core.errors import InputError
from twinjax.job.tracking.record import Record


class AbstractTracker(abc.ABC):
    """A tracking tool; one whose package is missing raises `MissingDependencyError` when it is made."""

    @abc.abstractmethod
    def write(self, folder: Path, record: Record) -> None:
        """Write what is told of the run in `folder`, in place of what was written of it before."""


def tracker_of(config: DictConfig) -> AbstractTracker | None:
    """The tracker of the group `tracking`; None where none is chosen."""
    described = config.get("tracking")
    if described is None:
        return None
    tracker = instantiate(described, where="tracking")
    if not isinstance(tracker, AbstractTracker):
        raise InputError("tracking must be one of conf/tracking; choose tracking=tensorboard, or leave it out")
    return tracker
