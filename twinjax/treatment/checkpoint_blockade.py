"""Antibodies against PD-1 or PD-L1: the fraction of the target that they hold."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from twinjax.pharmacokinetics import AbstractPharmacokinetics, HillEffect
from twinjax.treatment.infusion import AbstractInfusion, checked_infusion, pharmacokinetics_of
from twinjax.treatment.treatment import AbstractModulatingTreatment


class CheckpointBlockade(AbstractInfusion, AbstractModulatingTreatment):
    """level(t) = C / (C + EC50): the occupancy of the checkpoint by the antibody at its concentration in plasma.

    **Fields:** `times` (days), `doses` (mg), `durations` (days of infusion; `infusion_hours` when it is made),
    `pharmacokinetics` (None when it is made: `conf/pharmacokinetics/<drug>.yaml`), `half_concentration` EC50 (mg/L),
    `drug`, `action` ("checkpoint_blockade"; static).

    The default EC50 of 1 mg/L is our own choice: troughs in practice lie at tens of mg/L and saturate the target.
    """

    times: Float[Array, " doses"]
    doses: Float[Array, " doses"]
    durations: Float[Array, " doses"]
    pharmacokinetics: AbstractPharmacokinetics
    half_concentration: Float[Array, ""]
    drug: str = eqx.field(static=True)
    action: str = eqx.field(static=True)

    def __init__(
        self,
        times,
        doses,
        *,
        drug: str,
        infusion_hours: ArrayLike | list = 0.5,
        pharmacokinetics: AbstractPharmacokinetics | None = None,
        half_concentration: ArrayLike = 1.0,
    ):
        given = checked_infusion(times, doses, infusion_hours, f"checkpoint blockade ({drug})")
        self.times, self.doses, self.durations = given
        self.pharmacokinetics = pharmacokinetics_of(drug, pharmacokinetics)
        self.half_concentration = jnp.asarray(half_concentration, float)
        self.drug = drug
        self.action = "checkpoint_blockade"

    @property
    def occupancy(self) -> HillEffect:
        """Concentration (mg/L) to the fraction of the checkpoint that is held."""
        return HillEffect(1.0, self.half_concentration)

    def level(self, t):
        return self.occupancy.rate(self.concentration(t))

    def mean_level(self, t0, t1):
        held, _ = self.occupancy.integrals(self.pharmacokinetics, self.dosing, t0, t1)
        some = t1 > t0
        return jnp.where(some, held.sum() / jnp.where(some, t1 - t0, 1.0), self.level(t0))
