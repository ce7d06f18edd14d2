"""Observations: from a state to the prediction of a measurement, and the likelihood of what was measured."""

from twinjax.observation.cell_density import CellDensityObservation as CellDensityObservation
from twinjax.observation.cell_density import ViableDensityObservation as ViableDensityObservation
from twinjax.observation.correlation import CorrelatedModes as CorrelatedModes
from twinjax.observation.observation import AbstractObservation as AbstractObservation
from twinjax.observation.pet import PETObservation as PETObservation
from twinjax.observation.pet import ViablePETObservation as ViablePETObservation
from twinjax.observation.quantity import QuantityObservation as QuantityObservation
from twinjax.observation.readings import Readings as Readings
from twinjax.observation.segmentation import NecrosisObservation as NecrosisObservation
from twinjax.observation.segmentation import SegmentationObservation as SegmentationObservation
from twinjax.observation.volume import LogVolumeObservation as LogVolumeObservation
from twinjax.observation.volume import visible_volume as visible_volume
