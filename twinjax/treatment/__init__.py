"""Treatments: what removes tumour cells, and when."""

from twinjax.treatment.checkpoint_blockade import CheckpointBlockade as CheckpointBlockade
from twinjax.treatment.chemotherapy import Chemotherapy as Chemotherapy
from twinjax.treatment.pharmacokinetic import PharmacokineticTherapy as PharmacokineticTherapy
from twinjax.treatment.proliferation_saturation import SaturatedRadiotherapy as SaturatedRadiotherapy
from twinjax.treatment.proliferation_saturation import with_proliferation_saturation as with_proliferation_saturation
from twinjax.treatment.protocol import checkpoint_blockade_cycles as checkpoint_blockade_cycles
from twinjax.treatment.protocol import chemotherapy_cycles as chemotherapy_cycles
from twinjax.treatment.protocol import pharmacokinetic_cycles as pharmacokinetic_cycles
from twinjax.treatment.protocol import protocol as protocol
from twinjax.treatment.protocol import radiotherapy_course as radiotherapy_course
from twinjax.treatment.radiotherapy import Radiotherapy as Radiotherapy
from twinjax.treatment.regimen import Regimen as Regimen
from twinjax.treatment.resection import Resection as Resection
from twinjax.treatment.treatment import AbstractContinuousTreatment as AbstractContinuousTreatment
from twinjax.treatment.treatment import AbstractImpulsiveTreatment as AbstractImpulsiveTreatment
from twinjax.treatment.treatment import AbstractKillingTreatment as AbstractKillingTreatment
from twinjax.treatment.treatment import AbstractModulatingTreatment as AbstractModulatingTreatment
from twinjax.treatment.treatment import AbstractTreatment as AbstractTreatment
