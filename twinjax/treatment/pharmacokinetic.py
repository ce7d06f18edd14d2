"""A drug by its pharmacokinetics: what the concentration in plasma kills."""

import equinox as eqx
from jaxtyping import Array, ArrayLike, Float

from twinjax.core.kills import Kills
from twinjax.pharmacokinetics import AbstractEffect, AbstractPharmacokinetics, LinearEffect
from twinjax.treatment.infusion import AbstractInfusion, checked_infusion, pharmacokinetics_of
from twinjax.treatment.treatment import AbstractContinuousTreatment


class PharmacokineticTherapy(AbstractInfusion, AbstractContinuousTreatment):
    """kill(t) = effect of C(t), where C is the concentration in plasma after all doses.

    **Fields:** `times` (days at which the doses begin), `doses` (mg), `durations` (days of infusion; `infusion_hours`
    when it is made), `pharmacokinetics`, `effect` (`LinearEffect(slope)`: slope C, or `HillEffect`), `drug` (name).

    `pharmacokinetics` is a model, or None for `conf/pharmacokinetics/<drug>.yaml`; `metabolite` the name of one that
    kills in the drug's place. `effect` is an effect, or a number: the slope (L/mg/day), so that the log kill of a
    dose is slope x AUC; its default of 0 is no effect at all, as no value holds for every drug.

    Log kills are exact for a linear model and effect; else as exact as the model's solve and `HillEffect`'s
    quadrature say.
    """

    times: Float[Array, " doses"]
    doses: Float[Array, " doses"]
    durations: Float[Array, " doses"]
    pharmacokinetics: AbstractPharmacokinetics
    effect: AbstractEffect
    drug: str = eqx.field(static=True)

    def __init__(
        self,
        times,
        doses,
        *,
        drug: str,
        infusion_hours: ArrayLike | list = 0.0,
        pharmacokinetics: AbstractPharmacokinetics | None = None,
        metabolite: str | None = None,
        effect: AbstractEffect | float = 0.0,
    ):
        given = checked_infusion(times, doses, infusion_hours, f"pharmacokinetic therapy ({drug})")
        self.times, self.doses, self.durations = given
        self.pharmacokinetics = pharmacokinetics_of(drug, pharmacokinetics, metabolite)
        self.effect = effect if isinstance(effect, AbstractEffect) else LinearEffect(effect)
        self.drug = drug

    def kill_rate(self, t):
        return self.effect.rate(self.concentration(t))

    def kills(self, t0, t1):
        return Kills(*self.effect.integrals(self.pharmacokinetics, self.dosing, t0, t1))
