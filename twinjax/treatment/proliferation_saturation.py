"""Radiotherapy that reaches only the proliferating part of a tumour."""

import jax.numpy as jnp

from twinjax.treatment.radiotherapy import Radiotherapy
from twinjax.treatment.regimen import Regimen
from twinjax.treatment.treatment import AbstractImpulsiveTreatment


class SaturatedRadiotherapy(AbstractImpulsiveTreatment):
    """V+ = V - (1 - S) (1 - V / K) V, where S is the survival of `course` and V / K the proliferation saturation.

    Prokopiou et al. 2015 (Radiat Oncol 10:159): cells that a crowded tumour keeps from dividing are spared. V / K is
    `cell_density` of the model: of the whole tumour without space, of each voxel on a grid (the latter is our own
    reading).

    **Fields:** `course`, the fractions with their linear-quadratic survival.
    """

    course: Radiotherapy

    def __init__(self, course: Radiotherapy):
        self.course = course

    @property
    def times(self):
        return self.course.times

    @property
    def doses(self):
        """Gy per fraction."""
        return self.course.doses

    @property
    def alpha(self):
        """1/Gy."""
        return self.course.alpha

    @property
    def alpha_beta_ratio(self):
        """Gy."""
        return self.course.alpha_beta_ratio

    def survival(self, index, density):
        proliferating = 1 - jnp.clip(density, 0.0, 1.0)
        return 1 - (1 - self.course.survival(index, density)) * proliferating

    @property
    def log_kill(self):
        return None

    def open_tissue(self, t):
        return None

    @property
    def name(self):
        return self.course.name

    def on(self, domain):
        return SaturatedRadiotherapy(self.course.on(domain))

    def burden(self):
        return self.course.burden()

    def select(self, keep):
        return SaturatedRadiotherapy(self.course.select(keep))

    def filled(self, count):
        return SaturatedRadiotherapy(self.course.filled(count))

    def shifted(self, days):
        return SaturatedRadiotherapy(self.course.shifted(days))


def with_proliferation_saturation(regimen: Regimen) -> Regimen:
    """The regimen with every radiotherapy of it as `SaturatedRadiotherapy`; for configs."""
    return Regimen(
        SaturatedRadiotherapy(treatment) if isinstance(treatment, Radiotherapy) else treatment
        for treatment in regimen.treatments
    )
