"""What every calibration method offers."""

import abc

import equinox as eqx
from jaxtyping import PRNGKeyArray

from twinjax.calibration.posterior import Posterior
from twinjax.calibration.problem import InverseProblem


class AbstractCalibrator(eqx.Module):
    """Turns an inverse problem into a posterior."""

    @abc.abstractmethod
    def fit(self, problem: InverseProblem, *, key: PRNGKeyArray) -> Posterior:
        """Calibrate. A method that has not converged says so in `Posterior.diagnostics`, and never raises for it."""
