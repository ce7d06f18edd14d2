"""Radiotherapy by the linear-quadratic model."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float

from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.treatment.treatment import AbstractImpulsiveTreatment, check_doses, later, of_doses, with_no_doses


class Radiotherapy(AbstractImpulsiveTreatment):
    """Fractions with surviving fraction exp(-alpha d / OER - beta d² / OER²), beta = alpha / (alpha/beta).

    **Fields:** `times` (days), `doses` (Gy per fraction), `alpha` (1/Gy), `alpha_beta_ratio` (Gy) and
    `oxygen_enhancement_ratio` (1: fully oxygenated; a scalar, or a field on the solver's grid for hypoxia).
    `dose_map` (on the grid of `affine`, (4, 4), mm), or None where the dose is even: the dose of a voxel relative to
    `doses`, in every fraction alike; outside the map nothing is given. `on(domain)` brings it to a solver's grid.

    The default alpha 0.035 1/Gy and alpha/beta 10 Gy are those of Rockne et al. 2009 (J Math Biol 58:561) for
    glioblastoma; the oxygen form is that of Wouters and Brown 1997 (Radiat Res 147:541).
    """

    times: Float[Array, " doses"]
    doses: Float[Array, " doses"]
    alpha: Float[Array, ""]
    alpha_beta_ratio: Float[Array, ""]
    oxygen_enhancement_ratio: Float[Array, "..."]
    dose_map: Float[Array, "*grid"] | None
    affine: np.ndarray | None

    def __init__(
        self,
        times,
        doses,
        *,
        alpha: ArrayLike = 0.035,
        alpha_beta_ratio: ArrayLike = 10.0,
        oxygen_enhancement_ratio: ArrayLike = 1.0,
        dose_map=None,
        affine=None,
    ):
        self.times, self.doses = check_doses(times, doses, "radiotherapy")
        self.alpha = jnp.asarray(alpha, float)
        self.alpha_beta_ratio = jnp.asarray(alpha_beta_ratio, float)
        self.oxygen_enhancement_ratio = jnp.asarray(oxygen_enhancement_ratio, float)
        self.dose_map = None if dose_map is None else _checked_map(dose_map)
        self.affine = None if affine is None else np.asarray(affine, float)

    def survival(self, index, density):
        relative = 1.0 if self.dose_map is None else self.dose_map
        return jnp.exp(-self._log_kill(self.doses[index] * relative))

    @property
    def log_kill(self):
        even = self.oxygen_enhancement_ratio.ndim == 0 and self.dose_map is None
        return self._log_kill(self.doses) if even else None

    def _log_kill(self, dose):
        effective = dose / self.oxygen_enhancement_ratio
        return self.alpha * effective * (1 + effective / self.alpha_beta_ratio)

    def open_tissue(self, t):
        return None

    @property
    def name(self):
        return "radiotherapy"

    def on(self, domain: Domain) -> "Radiotherapy":
        """The same course with its dose map, if it has one, on the grid of `domain`."""
        if self.dose_map is None:
            return self
        if self.affine is None or domain.affine is None:
            if self.dose_map.shape != domain.shape:
                raise InputError(
                    f"the dose map has shape {self.dose_map.shape}, the domain {domain.shape}; give both an affine"
                )
            return self
        dose_map = domain.from_grid(np.asarray(self.dose_map, np.float32), self.affine)
        return eqx.tree_at(lambda one: (one.dose_map, one.affine), self, (jnp.asarray(dose_map), domain.affine))

    def burden(self):
        return {
            "fractions": self.times.size,
            "total_dose_gy": float(self.doses.sum()),
            "bed_tumor_gy": float(self.biologically_effective_dose()),
            "eqd2_late_tissue_gy": float(self.equivalent_dose_2gy(3.0)),
        }

    def select(self, keep):
        return of_doses(self, keep, "times", "doses")

    def filled(self, count):
        return with_no_doses(self, count, "doses", "times")

    def shifted(self, days):
        return later(self, days)

    def biologically_effective_dose(self, alpha_beta_ratio: ArrayLike | None = None) -> Array:
        """BED = sum d (1 + d / (alpha/beta)) in Gy (Fowler 1989, Br J Radiol 62:679).

        `alpha_beta_ratio` (Gy) defaults to the tumour's own; give 3 for late-reacting normal tissue.
        """
        ratio = self.alpha_beta_ratio if alpha_beta_ratio is None else alpha_beta_ratio
        return jnp.sum(self.doses * (1 + self.doses / ratio))

    def equivalent_dose_2gy(self, alpha_beta_ratio: ArrayLike | None = None) -> Array:
        """EQD2 = BED / (1 + 2 / (alpha/beta)) in Gy."""
        ratio = self.alpha_beta_ratio if alpha_beta_ratio is None else alpha_beta_ratio
        return self.biologically_effective_dose(ratio) / (1 + 2 / ratio)


def _checked_map(dose_map) -> Array:
    dose_map = jnp.asarray(dose_map, float)
    if not isinstance(dose_map, Tracer):
        array = np.asarray(dose_map)
        if not np.isfinite(array).all() or (array < 0).any():
            raise InputError("radiotherapy: every voxel of dose_map must be a finite number >= 0, relative to the dose")
    return dose_map
