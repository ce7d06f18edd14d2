"""What every calibration method offers."""

import abc
import dataclasses
from pathlib import Path

import equinox as eqx
from jaxtyping import PRNGKeyArray

from twinjax.calibration.posterior import Posterior
from twinjax.calibration.problem import InverseProblem


class AbstractCalibrator(eqx.Module):
    """Turns an inverse problem into a posterior."""

    @abc.abstractmethod
    def fit(self, problem: InverseProblem, *, key: PRNGKeyArray) -> Posterior:
        """Calibrate. A method that has not converged says so in `Posterior.diagnostics`, and never raises for it.

        A method with a field `checkpoint` (a folder, or None) keeps in it how far it has come, and the same fit goes on
        from there after an interruption, to the same result.
        """


def in_folder(calibrator: AbstractCalibrator, folder: Path) -> AbstractCalibrator:
    """The same calibrator, whose `checkpoint`, if it has one and it is relative, lies in `folder`."""
    checkpoint = getattr(calibrator, "checkpoint", None)
    return calibrator if checkpoint is None else dataclasses.replace(calibrator, checkpoint=str(folder / checkpoint))
