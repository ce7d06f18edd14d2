"""What all drugs have in common that act by their concentration in plasma."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from twinjax.core.config import load_named
from twinjax.core.errors import InputError
from twinjax.pharmacokinetics import AbstractPharmacokinetics, Dosing, LinearPharmacokinetics
from twinjax.treatment.drug import AbstractDrug
from twinjax.treatment.treatment import check_doses


class AbstractInfusion(AbstractDrug):
    """A drug with pharmacokinetics.

    **Fields:** `times` (days at which the doses begin), `doses` (mg), `durations` (days of infusion),
    `pharmacokinetics`, `drug` (name).
    """

    per_dose: ClassVar[tuple[str, ...]] = ("times", "doses", "durations")
    times: eqx.AbstractVar[Float[Array, " doses"]]
    doses: eqx.AbstractVar[Float[Array, " doses"]]
    durations: eqx.AbstractVar[Float[Array, " doses"]]
    pharmacokinetics: eqx.AbstractVar[AbstractPharmacokinetics]

    @property
    def dosing(self) -> Dosing:
        """The doses as the pharmacokinetics take them."""
        return Dosing(self.times, self.doses, self.durations)

    def concentration(self, t) -> Array:
        """In plasma, mg/L, at days `t` of any shape."""
        return self.pharmacokinetics.concentration(self.dosing, t)

    def burden(self):
        return {"doses": self.times.size, "total_dose_mg": float(self.doses.sum())}


def checked_infusion(times, doses, infusion_hours, what: str) -> tuple[Array, Array, Array]:
    """Times (days), doses and durations (days) as arrays; `InputError` as `check_doses` and `Dosing` say."""
    times, doses = check_doses(times, doses, what)
    return times, doses, Dosing(times, doses, jnp.asarray(infusion_hours, float) / 24).durations


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
