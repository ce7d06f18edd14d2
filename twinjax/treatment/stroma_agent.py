"""Drugs against the stroma of a tumour."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from twinjax.core.errors import InputError
from twinjax.treatment.regimen import Regimen
from twinjax.treatment.treatment import AbstractModulatingTreatment, check_doses


class StromaAgent(AbstractModulatingTreatment):
    """level(t) = sum_k (d_k / d_ref) exp(-beta (t - t_k)) for t >= t_k, of the action `stroma_depletion`.

    Losartan, calcipotriol or PEGPH20, as agents that lower the barrier of stroma. That the effect decays
    exponentially from each dose, as in K-PD models (Jacqmin et al. 2007, J Pharmacokinet Pharmacodyn 34:57), and the
    default of beta (a half-life of two days) are our own choice.

    **Fields:** `times` (days), `doses` in the unit of `reference_dose` (its level is 1), `clearance_rate` beta
    (1/day), `drug` (name, static), `action` (static).
    """

    times: Float[Array, " doses"]
    doses: Float[Array, " doses"]
    clearance_rate: Float[Array, ""]
    reference_dose: Float[Array, ""]
    drug: str = eqx.field(static=True)
    action: str = eqx.field(static=True)

    def __init__(
        self,
        times,
        doses=1.0,
        *,
        drug: str = "stroma_agent",
        clearance_rate: ArrayLike = 0.35,
        reference_dose: ArrayLike = 1.0,
    ):
        self.times, self.doses = check_doses(times, doses, f"stroma agent ({drug})")
        self.clearance_rate = jnp.asarray(clearance_rate, float)
        self.reference_dose = jnp.asarray(reference_dose, float)
        self.drug, self.action = drug, "stroma_depletion"

    def level(self, t):
        elapsed = t - self.times
        # The exponent is kept finite where the dose lies ahead, or its gradient would be NaN.
        decay = jnp.exp(-self.clearance_rate * jnp.maximum(elapsed, 0.0))
        return jnp.sum(jnp.where(elapsed >= 0, self.doses * decay, 0.0)) / self.reference_dose

    def mean_level(self, t0, t1):
        begin = jnp.maximum(self.times, t0)
        length = jnp.maximum(t1 - begin, 0.0)
        left = jnp.exp(-self.clearance_rate * (begin - self.times))
        exposure = jnp.sum(self.doses * left * -jnp.expm1(-self.clearance_rate * length)) / self.clearance_rate
        span = t1 - t0
        mean = exposure / self.reference_dose / jnp.where(span > 0, span, 1.0)
        return jnp.where(span > 0, mean, self.level(t0))

    @property
    def name(self):
        return self.drug

    def on(self, domain):
        return self

    def burden(self):
        return {"doses": self.times.size}

    def select(self, keep):
        return self._replaced(self.times[keep], self.doses[keep])

    def shifted(self, days):
        return self._replaced(self.times + days, self.doses)

    def _replaced(self, times, doses):
        return StromaAgent(
            times, doses, drug=self.drug, clearance_rate=self.clearance_rate, reference_dose=self.reference_dose
        )


def stroma_agent_course(start_day: float, doses: int, every_days: float, *, dose: float = 1.0, **properties) -> Regimen:
    """`doses` of a stroma agent, one every `every_days`; `properties` (`drug`, `clearance_rate`) go to each."""
    if doses < 1 or not every_days > 0:
        raise InputError(f"stroma agent: doses and every_days must be positive, got {doses} and {every_days}")
    return Regimen([StromaAgent(start_day + every_days * np.arange(doses), dose, **properties)])
