"""Chemotherapy as a kill rate that decays after each dose (K-PD)."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from twinjax.core.kills import Kills
from twinjax.treatment.treatment import AbstractContinuousTreatment, check_doses


class Chemotherapy(AbstractContinuousTreatment):
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
        elapsed = t - self.times
        # The exponent is kept finite where the dose lies ahead, or its gradient would be NaN.
        decay = jnp.exp(-self.clearance_rate * jnp.maximum(elapsed, 0.0))
        return self.sensitivity * jnp.sum(jnp.where(elapsed >= 0, self.doses * decay, 0.0)) / self.reference_dose

    def kills(self, t0, t1):
        begin = jnp.maximum(self.times, t0)
        length = jnp.maximum(t1 - begin, 0.0)
        cleared = self.clearance_rate * length
        left = jnp.exp(-self.clearance_rate * (begin - self.times))
        per_dose = self.sensitivity / self.clearance_rate / self.reference_dose
        log_kill = per_dose * self.doses * left * -jnp.expm1(-cleared)
        return Kills(log_kill, jnp.clip(begin - t0, 0.0, t1 - t0) + length * _mean_of_decay(cleared))

    @property
    def name(self):
        return self.drug

    def on(self, domain):
        return self

    def burden(self):
        return {"doses": self.times.size, "total_dose_mg_m2": float(self.doses.sum())}

    def select(self, keep):
        return self._replaced(self.times[keep], self.doses[keep])

    def shifted(self, days):
        return self._replaced(self.times + days, self.doses)

    def _replaced(self, times, doses):
        return Chemotherapy(
            times,
            doses,
            drug=self.drug,
            sensitivity=self.sensitivity,
            clearance_rate=self.clearance_rate,
            reference_dose=self.reference_dose,
        )


def _mean_of_decay(x):
    """1 / x - 1 / (exp(x) - 1): the mean of s in [0, 1] weighted by exp(-x s)."""
    near = x < 0.05
    safe = jnp.where(near, 1.0, x)
    # exp(-x) / (1 - exp(-x)) cannot overflow.
    return jnp.where(near, 0.5 - x / 12 + x**3 / 720, 1 / safe + jnp.exp(-safe) / jnp.expm1(-safe))
