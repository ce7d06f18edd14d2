"""Pharmacokinetics: from doses of a drug to its concentration in plasma."""

from twinjax.pharmacokinetics.compartments import Compartments as Compartments
from twinjax.pharmacokinetics.dosing import BODY_SURFACE_AREA_M2 as BODY_SURFACE_AREA_M2
from twinjax.pharmacokinetics.dosing import Dosing as Dosing
from twinjax.pharmacokinetics.dosing import body_surface_dose as body_surface_dose
from twinjax.pharmacokinetics.dosing import calvert_dose as calvert_dose
from twinjax.pharmacokinetics.effect import AbstractEffect as AbstractEffect
from twinjax.pharmacokinetics.effect import HillEffect as HillEffect
from twinjax.pharmacokinetics.effect import LinearEffect as LinearEffect
from twinjax.pharmacokinetics.linear import Absorption as Absorption
from twinjax.pharmacokinetics.linear import LinearPharmacokinetics as LinearPharmacokinetics
from twinjax.pharmacokinetics.linear import linear_pharmacokinetics as linear_pharmacokinetics
from twinjax.pharmacokinetics.nab_paclitaxel import NabPaclitaxelPharmacokinetics as NabPaclitaxelPharmacokinetics
from twinjax.pharmacokinetics.paclitaxel import PaclitaxelPharmacokinetics as PaclitaxelPharmacokinetics
from twinjax.pharmacokinetics.pharmacokinetics import AbstractPharmacokinetics as AbstractPharmacokinetics
