"""Chemotherapy as a kill rate that decays after each dose (K-PD)."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from twinjax.core.kills import Kills
from twinjax.treatment.decay import exposure, remaining
from twinjax.treatment.drug import AbstractDrug
from twinjax.treatment.treatment import AbstractContinuousTreatment, check_doses


class Chemotherapy(AbstractDrug, AbstractContinuousTreatment):
    """kill(t) = alpha sum_k (d_k / d_ref) exp(-beta (t - t_k)) for t >= t_k.

    **Fields:** `times` (days), `doses` (mg/m²), `sensitivity` alpha (1/day at the reference dose),
    `clearance_rate` beta (1/day), `reference_dose` (mg/m²), `drug` (name, static).

    The form is that of Jarrett et al. 2018 (Phys Med Biol 63:105015). The log kill of one reference dose is
    alpha / beta. Temozolomide's plasma half-life of 1.8 h gives beta = 9.24 1/day (Baker et al. 1999,
    Clin Cancer Res 5:309); its default alpha of 0.2 1/day (2 % log kill a dose) is our own choice.
    """

    times: Float[Array, " doses"]
    doses: Float[Array, " doses"]
    sensitivity: Float[Array, ""]
    clearance_rate: Float[Array, ""]
    reference_dose: Float[Array, ""]
    drug: str = eqx.field(static=True)

    def __init__(
        self,
        times,
        doses,
        *,
        drug: str = "temozolomide",
        sensitivity: ArrayLike = 0.2,
        clearance_rate: ArrayLike = 9.24,
        reference_dose: ArrayLike = 75.0,
    ):
        self.times, self.doses = check_doses(times, doses, f"chemotherapy ({drug})")
        self.sensitivity = jnp.asarray(sensitivity, float)
        self.clearance_rate = jnp.asarray(clearance_rate, float)
        self.reference_dose = jnp.asarray(reference_dose, float)
        self.drug = drug

    def kill_rate(self, t):
        return self.sensitivity * remaining(t, self.times, self.doses, self.clearance_rate) / self.reference_dose

    def kills(self, t0, t1):
        area, elapsed = exposure(t0, t1, self.times, self.doses, self.clearance_rate)
        return Kills(self.sensitivity / self.reference_dose * area, elapsed)

    def burden(self):
        return {"doses": self.times.size, "total_dose_mg_m2": float(self.doses.sum())}
