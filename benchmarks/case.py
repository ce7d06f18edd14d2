"""The synthetic patients on which solvers are compared: real anatomy (ICBM152), an invented tumour and treatment."""

import jax.numpy as jnp
import numpy as np

from twinjax.domain import Domain, resample
from twinjax.imaging.template import brain_template
from twinjax.model import FisherKPP
from twinjax.treatment import Chemotherapy, Radiotherapy, Regimen

# D (mm²/day), rho (1/day), radiosensitivity alpha (1/Gy), drug sensitivity (1/day): glioblastoma, reference values.
PARAMETERS = {"diffusivity": 0.1, "proliferation_rate": 0.04, "alpha": 0.035, "sensitivity": 0.2}
SEED_POSITION_MM = (-28.0, -18.0, 26.0)
SEED_RADIUS_MM = 10.0
HORIZON_DAYS = 270.0
WHOLE_BRAIN_DAYS = 180.0


def slab() -> Domain:
    """77 x 116 x 36 voxels of 1.5 x 1.5 x 3 mm around the tumour: the size of a clinical scan's region."""
    spacing, shape = np.array([1.5, 1.5, 3.0]), (77, 116, 36)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = np.asarray(SEED_POSITION_MM) - spacing * (np.asarray(shape) - 1) / 2
    template = brain_template(1.0)
    white, grey = (
        resample(np.asarray(tissue, np.float32), template.affine, affine, shape)
        for tissue in (template.white_matter, template.grey_matter)
    )
    return Domain.from_tissue(white, grey, affine)


def whole_brain() -> Domain:
    """The whole ICBM152 brain at 1 mm: 197 x 233 x 189 voxels."""
    template = brain_template(1.0)
    return Domain.from_tissue(template.white_matter, template.grey_matter, template.affine)


def regimen(parameters) -> Regimen:
    """60 Gy in 30 fractions on weekdays from day 20 and 70 daily doses of temozolomide from the same day."""
    days = 20.0 + np.arange(42.0)
    fractions = Radiotherapy(days[np.arange(42) % 7 < 5], 2.0, alpha=parameters["alpha"])
    drug = Chemotherapy(20.0 + np.arange(70.0), 75.0, sensitivity=parameters["sensitivity"])
    return Regimen([fractions, drug])


def model(domain: Domain, parameters) -> FisherKPP:
    return FisherKPP(domain, diffusivity=parameters["diffusivity"], proliferation_rate=parameters["proliferation_rate"])


def state0(domain: Domain):
    """A ball of cells with a smooth edge."""
    distance = np.linalg.norm(np.asarray(domain.coordinates()) - np.reshape(SEED_POSITION_MM, (3, 1, 1, 1)), axis=0)
    density = 0.8 / (1 + np.exp((distance - SEED_RADIUS_MM) / 1.5))
    return jnp.asarray(np.where(np.asarray(domain.mask), density, 0.0))
