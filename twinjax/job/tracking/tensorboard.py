"""Runs in TensorBoard: an event file in the folder of every run; `tensorboard --logdir outputs` shows them all."""

import importlib.util
import io
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from matplotlib.image import imread

from twinjax.core.errors import MissingDependencyError
from twinjax.job.tracking.record import Record
from twinjax.job.tracking.tracker import AbstractTracker

log = logging.getLogger("twinjax")

# Of the name that the writer gives, with the second and the name of the machine, a later run would not take the place.
EVENTS = "events.out.tfevents.twinjax"
LONGEST_TAG = 80


@dataclass(frozen=True)
class TensorBoardTracker(AbstractTracker):
    """Writes `events.out.tfevents.twinjax`: settings and numbers for the tab HParams, numbers and curves as scalars,
    texts and figures.

    Raises `MissingDependencyError` where tensorboardX, which writes it, is not installed.
    """

    def __post_init__(self):
        if importlib.util.find_spec("tensorboardX") is None:
            raise MissingDependencyError("tracking=tensorboard needs tensorboardX: pip install 'twinjax[tracking]'")

    def write(self, folder: Path, record: Record) -> None:
        """The file appears whole or not at all."""
        from tensorboardX import SummaryWriter
        from tensorboardX.summary import hparams

        with TemporaryDirectory(dir=folder, prefix=".tracking") as unfinished:
            with SummaryWriter(unfinished) as writer:
                # TensorBoard takes the columns of all runs from the first that has an experiment, so none has one:
                # then it gathers them from what every run says of itself.
                _, settings, end = hparams(dict(record.settings), {})
                assert writer.file_writer is not None
                writer.file_writer.add_summary(settings)
                for kind, numbers in record.numbers.items():
                    for name, number in numbers.items():
                        writer.add_scalar(_tag(kind, name), number, 0)
                for stage, losses in record.curves.items():
                    for step, loss in enumerate(losses, 1):
                        writer.add_scalar(_tag("training", stage), loss, step)
                for title, text in record.texts.items():
                    writer.add_text(title, text, 0)
                for number, (caption, png) in enumerate(record.figures, 1):
                    picture = np.round(255 * imread(io.BytesIO(png), format="png")).astype(np.uint8)
                    writer.add_image(_tag("figures", f"{number} {caption}"), picture, 0, dataformats="HWC")
                writer.file_writer.add_summary(end)
            (written,) = Path(unfinished).iterdir()
            os.replace(written, folder / EVENTS)
            log.info("  to see it beside others: tensorboard --logdir %s", folder.parent)


def _tag(kind: str, name: str) -> str:
    """TensorBoard's name of a number: others than these signs are not allowed in it."""
    plain = re.sub(r"[^-.A-Za-z0-9_]+", "_", name.replace("%", "percent")).strip("_.")
    return f"{kind}/{plain}"[:LONGEST_TAG]
