"""Grids: what a solver sees of a patient."""

from twinjax.domain.anisotropic import anisotropic_diffusion as anisotropic_diffusion
from twinjax.domain.contour import signed_distance as signed_distance
from twinjax.domain.diffusion import DiffusionOperator as DiffusionOperator
from twinjax.domain.diffusion import DiffusionStep as DiffusionStep
from twinjax.domain.domain import Domain as Domain
from twinjax.domain.execution import Execution as Execution
from twinjax.domain.flux import materialise as materialise
from twinjax.domain.resample import resample as resample
from twinjax.domain.sampling import WHOLE as WHOLE
from twinjax.domain.sampling import Sampling as Sampling
from twinjax.domain.sampling import seen_on as seen_on
