"""Observations: from a state to the prediction of a measurement, and its noise."""

from twinjax.observation.necrosis import NecrosisObservation as NecrosisObservation
from twinjax.observation.necrosis import ViableDensityObservation as ViableDensityObservation
from twinjax.observation.necrosis import ViablePETObservation as ViablePETObservation
from twinjax.observation.observation import AbstractObservation as AbstractObservation
from twinjax.observation.observation import CellDensityObservation as CellDensityObservation
from twinjax.observation.observation import LogVolumeObservation as LogVolumeObservation
from twinjax.observation.observation import PETObservation as PETObservation
from twinjax.observation.observation import SegmentationObservation as SegmentationObservation
from twinjax.observation.observation import visible_volume as visible_volume
from twinjax.observation.quantity import QuantityObservation as QuantityObservation
