"""Differentiable, physics-informed, patient-specific cancer digital twins in JAX."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twinjax.calibration import BayesianCalibration as BayesianCalibration
    from twinjax.calibration import ParameterEstimator as ParameterEstimator
    from twinjax.domain import Domain as Domain
    from twinjax.imaging import ImagingPipeline as ImagingPipeline
    from twinjax.imaging import Scan as Scan
    from twinjax.model import FisherKPP as FisherKPP
    from twinjax.patient import PatientData as PatientData
    from twinjax.patient import Visit as Visit
    from twinjax.simulation import simulate as simulate
    from twinjax.treatment import Regimen as Regimen
    from twinjax.twin import DigitalTwin as DigitalTwin

    ReactionDiffusionModel = FisherKPP

__version__ = "0.1.0"

# Name to (module, name there). Loaded at first use: JAX, diffrax and NumPyro together take seconds to import.
_LAZY = {
    "BayesianCalibration": ("twinjax.calibration", "BayesianCalibration"),
    "DigitalTwin": ("twinjax.twin", "DigitalTwin"),
    "Domain": ("twinjax.domain", "Domain"),
    "FisherKPP": ("twinjax.model", "FisherKPP"),
    "ImagingPipeline": ("twinjax.imaging", "ImagingPipeline"),
    "ParameterEstimator": ("twinjax.calibration", "ParameterEstimator"),
    "PatientData": ("twinjax.patient", "PatientData"),
    "ReactionDiffusionModel": ("twinjax.model", "FisherKPP"),
    "Regimen": ("twinjax.treatment", "Regimen"),
    "Scan": ("twinjax.imaging", "Scan"),
    "Visit": ("twinjax.patient", "Visit"),
    "simulate": ("twinjax.simulation", "simulate"),
}
__all__ = list(_LAZY)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str):
    if name not in _LAZY:
        raise AttributeError(f"module 'twinjax' has no attribute '{name}'")
    module, attribute = _LAZY[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
