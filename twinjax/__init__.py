"""Differentiable, physics-informed, patient-specific cancer digital twins in JAX."""

from twinjax.calibration import BayesianCalibration as BayesianCalibration
from twinjax.calibration import ParameterEstimator as ParameterEstimator
from twinjax.domain import Domain as Domain
from twinjax.imaging import ImagingPipeline as ImagingPipeline
from twinjax.imaging import Scan as Scan
from twinjax.model import FisherKPP as FisherKPP
from twinjax.model import FisherKPP as ReactionDiffusionModel  # noqa: F401
from twinjax.patient import PatientData as PatientData
from twinjax.patient import Visit as Visit
from twinjax.simulate import simulate as simulate
from twinjax.treatment import Regimen as Regimen
from twinjax.twin import DigitalTwin as DigitalTwin

__version__ = "0.1.0"
