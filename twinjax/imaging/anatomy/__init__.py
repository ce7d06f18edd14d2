"""What an organ is made of, as far as its images and files tell: one organ a file."""

from twinjax.imaging.anatomy.anatomy import AbstractAnatomy as AbstractAnatomy
from twinjax.imaging.anatomy.brain import BrainAnatomy as BrainAnatomy
from twinjax.imaging.anatomy.breast import BreastAnatomy as BreastAnatomy
from twinjax.imaging.anatomy.lung import LungAnatomy as LungAnatomy
from twinjax.imaging.anatomy.organ import OrganAnatomy as OrganAnatomy
