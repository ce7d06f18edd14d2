"""Organs of synthetic patients: one a file, each a function that makes a `Domain` with its maps."""

from twinjax.patient.phantom.brain import brain as brain
from twinjax.patient.phantom.breast import breast as breast
from twinjax.patient.phantom.lung import lung as lung
from twinjax.patient.phantom.pancreas import pancreas as pancreas
from twinjax.patient.phantom.prostate import prostate as prostate
from twinjax.patient.phantom.varied_brain import varied_brain as varied_brain
