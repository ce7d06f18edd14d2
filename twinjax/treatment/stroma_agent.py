"""Drugs against the stroma of a tumour."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from twinjax.core.errors import InputError
from twinjax.treatment.decay import exposure, remaining
from twinjax.treatment.drug import AbstractDrug
from twinjax.treatment.regimen import Regimen
from twinjax.treatment.treatment import AbstractModulatingTreatment, check_doses


class StromaAgent(AbstractDrug, AbstractModulatingTreatment):
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
        return remaining(t, self.times, self.doses, self.clearance_rate) / self.reference_dose

    def mean_level(self, t0, t1):
        area, _ = exposure(t0, t1, self.times, self.doses, self.clearance_rate)
        span = t1 - t0
        mean = jnp.sum(area) / self.reference_dose / jnp.where(span > 0, span, 1.0)
        return jnp.where(span > 0, mean, self.level(t0))

    def burden(self):
        return {"doses": self.times.size}


def stroma_agent_course(start_day: float, doses: int, every_days: float, *, dose: float = 1.0, **properties) -> Regimen:
    """`doses` of a stroma agent, one every `every_days`; `properties` (`drug`, `clearance_rate`) go to each."""
    if doses < 1 or not every_days > 0:
        raise InputError(f"stroma agent: doses and every_days must be positive, got {doses} and {every_days}")
    return Regimen([StromaAgent(start_day + every_days * np.arange(doses), dose, **properties)])
