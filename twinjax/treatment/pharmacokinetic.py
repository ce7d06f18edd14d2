"""A drug by its pharmacokinetics: what the concentration in plasma kills."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from twinjax.core.config import load_named
from twinjax.core.errors import InputError
from twinjax.core.kills import Kills
from twinjax.pharmacokinetics import (
    AbstractEffect,
    AbstractPharmacokinetics,
    Dosing,
    LinearEffect,
    LinearPharmacokinetics,
)
from twinjax.treatment.treatment import AbstractContinuousTreatment, check_doses


class PharmacokineticTherapy(AbstractContinuousTreatment):
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
        self.times, self.doses = check_doses(times, doses, f"pharmacokinetic therapy ({drug})")
        self.durations = Dosing(self.times, self.doses, jnp.asarray(infusion_hours, float) / 24).durations
        self.pharmacokinetics = pharmacokinetics_of(drug, pharmacokinetics, metabolite)
        self.effect = effect if isinstance(effect, AbstractEffect) else LinearEffect(effect)
        self.drug = drug

    @property
    def dosing(self) -> Dosing:
        """The doses as the pharmacokinetics take them."""
        return Dosing(self.times, self.doses, self.durations)

    def concentration(self, t) -> Array:
        """In plasma, mg/L, at days `t` of any shape."""
        return self.pharmacokinetics.concentration(self.dosing, t)

    def kill_rate(self, t):
        return self.effect.rate(self.concentration(t))

    def kills(self, t0, t1):
        return Kills(*self.effect.integrals(self.pharmacokinetics, self.dosing, t0, t1))

    @property
    def name(self):
        return self.drug

    def on(self, domain):
        return self

    def burden(self):
        return {"doses": self.times.size, "total_dose_mg": float(self.doses.sum())}

    def select(self, keep):
        return self._replaced(self.times[keep], self.doses[keep], self.durations[keep])

    def shifted(self, days):
        return self._replaced(self.times + days, self.doses, self.durations)

    def _replaced(self, times, doses, durations):
        return PharmacokineticTherapy(
            times,
            doses,
            drug=self.drug,
            infusion_hours=24 * durations,
            pharmacokinetics=self.pharmacokinetics,
            effect=self.effect,
        )


def pharmacokinetics_of(
    drug: str, given: AbstractPharmacokinetics | None, metabolite: str | None = None
) -> AbstractPharmacokinetics:
    """The model given, or that of `conf/pharmacokinetics` under the drug's name; or that of its metabolite."""
    model = load_named("pharmacokinetics", drug) if given is None else given
    if not isinstance(model, AbstractPharmacokinetics):
        raise InputError(f"{drug}: pharmacokinetics must be a pharmacokinetic model, got {type(model).__name__}")
    if metabolite is None:
        return model
    if not isinstance(model, LinearPharmacokinetics):
        raise InputError(f"{drug}: metabolites are there for linear models only; remove metabolite")
    return model.metabolite(metabolite)
