"""Tumour models: one equation system a file."""

from twinjax.model.claret import ClaretInhibition as ClaretInhibition
from twinjax.model.closed_form import AbstractClosedFormModel as AbstractClosedFormModel
from twinjax.model.fisher_kpp import FisherKPP as FisherKPP
from twinjax.model.growth import GompertzGrowth as GompertzGrowth
from twinjax.model.growth import LogisticGrowth as LogisticGrowth
from twinjax.model.initial import AbstractInitialCondition as AbstractInitialCondition
from twinjax.model.initial import ContourProfile as ContourProfile
from twinjax.model.initial import DensityField as DensityField
from twinjax.model.initial import InitialSize as InitialSize
from twinjax.model.initial import PointSeed as PointSeed
from twinjax.model.lung import LungTumor as LungTumor
from twinjax.model.model import AbstractLumpedModel as AbstractLumpedModel
from twinjax.model.model import AbstractReactionDiffusionModel as AbstractReactionDiffusionModel
from twinjax.model.model import AbstractSpatialModel as AbstractSpatialModel
from twinjax.model.model import AbstractTumorModel as AbstractTumorModel
from twinjax.model.model import Forcing as Forcing
from twinjax.model.stein import SteinRegression as SteinRegression
from twinjax.model.triple_negative_breast import TripleNegativeBreast as TripleNegativeBreast
from twinjax.model.untimed import UntimedFisherKPP as UntimedFisherKPP
from twinjax.model.volume import VolumeModel as VolumeModel
