"""Linear pharmacokinetics: one to three compartments, absorption, a metabolite; everything in closed form."""

from collections.abc import Mapping, Sequence

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from twinjax.core.errors import InputError
from twinjax.core.products import product
from twinjax.pharmacokinetics.compartments import Compartments, compartments
from twinjax.pharmacokinetics.pharmacokinetics import AbstractPharmacokinetics
from twinjax.pharmacokinetics.response import AbstractResponse, OneStage, TwoStages
from twinjax.pharmacokinetics.units import in_base_units, only


class Absorption(eqx.Module):
    """Parallel first-order routes into the central compartment (swallowed, under the skin, from a depot).

    **Fields:** `rates` (1/day) and `fractions` of the dose (bioavailability) of each route.
    """

    rates: Float[Array, " routes"]
    fractions: Float[Array, " routes"]

    def feeding(self) -> tuple[Array, Array]:
        """Rates (1/day), and what each sends on at first, per mg of dose (mg/day)."""
        return self.rates, self.fractions * self.rates


class Formation(eqx.Module):
    """A metabolite is formed from an intravenous `parent` at `clearance` (L/day) times the parent's concentration."""

    parent: Compartments
    clearance: Float[Array, ""]

    def feeding(self) -> tuple[Array, Array]:
        """Rates (1/day), and what each sends on at first, per mg of dose (mg/day)."""
        rates, weights = self.parent.modes()
        return rates, self.clearance * weights


class Metabolite(eqx.Module):
    """Its own compartments, and the clearance (L/day) by which the parent turns into it.

    `formation_clearance` None is the parent's whole clearance: volumes and clearance are then apparent ones, divided
    by the fraction that is converted. Amounts are masses of parent: no molar masses enter.
    """

    disposition: Compartments
    formation_clearance: Float[Array, ""] | None


class LinearPharmacokinetics(AbstractPharmacokinetics):
    """Superposition of the exact response to each dose.

    **Fields:** `drug`, `disposition` (compartments), `source` (None for an intravenous drug, else `Absorption` or, for
    a metabolite, `Formation`), `metabolites` by name.

    Concentrations and exposures hold to rounding at any time and for any infusion length, in jit, vmap and both modes
    of differentiation, in all parameters, doses and dose times.
    """

    drug: str = eqx.field(static=True)
    disposition: Compartments
    source: Absorption | Formation | None = None
    metabolites: dict[str, Metabolite] = eqx.field(default_factory=dict)

    def metabolite(self, name: str) -> "LinearPharmacokinetics":
        """The pharmacokinetics of a metabolite, for doses of the parent."""
        if name not in self.metabolites:
            known = ", ".join(sorted(self.metabolites)) or "none"
            raise InputError(f"{self.drug} has no metabolite '{name}'; known: {known}")
        if self.source is not None:
            raise InputError(f"{self.drug}: metabolites are there for intravenous drugs only")
        found = self.metabolites[name]
        clearance = self.disposition.clearance if found.formation_clearance is None else found.formation_clearance
        return LinearPharmacokinetics(name, found.disposition, Formation(self.disposition, clearance))

    def half_lives(self) -> Array:
        """ln 2 / rate (days) of each mode of the compartments, shortest first."""
        return jnp.log(2.0) / self.disposition.modes()[0][::-1]

    def concentration(self, dosing, times):
        weights, response = self._response()
        elapsed = (jnp.asarray(times)[..., None] - dosing.times)[..., None]
        amounts = product(response.value(elapsed, dosing.durations[:, None]), weights)
        return product(amounts, dosing.amounts)

    def moments(self, dosing, start, stop):
        weights, response = self._response()
        # In days since the dose began; before it there is nothing.
        begin = jnp.maximum(start - dosing.times, 0.0)
        end = jnp.maximum(stop - dosing.times, begin)
        total, weighted = response.moments(begin[:, None], end[:, None], dosing.durations[:, None])
        total, weighted = product(total, weights), product(weighted, weights)
        some = total > 0
        mean = jnp.where(some, weighted, 0.0) / jnp.where(some, total, 1.0)
        since_start = jnp.clip(dosing.times - start, 0.0, stop - start)
        return dosing.amounts * total, jnp.clip(since_start + mean, 0.0, stop - start)

    def _response(self) -> tuple[Array, AbstractResponse]:
        """Weights (1/L) and responses of all modes, or of all pairs of modes, in one flat axis."""
        rates, weights = self.disposition.modes()
        if self.source is None:
            return weights, OneStage(rates)
        feeding, sent = self.source.feeding()
        pairs = jnp.repeat(feeding, rates.size), jnp.tile(rates, feeding.size)
        return jnp.outer(sent, weights).ravel(), TwoStages(*pairs)


def linear_pharmacokinetics(
    drug: str,
    *,
    peripheral: Sequence[Mapping[str, float]] = (),
    absorption: Sequence[Mapping[str, float]] = (),
    metabolites: Mapping[str, Mapping] | None = None,
    **parameters: float,
) -> LinearPharmacokinetics:
    """A linear model from published values, the unit in each name (`twinjax.pharmacokinetics.units`).

    - `clearance_l_per_hour` (or `_per_day`, `_per_minute`) and `volume_l` of the central compartment;
    - `peripheral`: of each further compartment `clearance_...` (between the two) and `volume_l`;
    - `absorption`: of each route `rate_per_hour` and `fraction` (default 1); none for an intravenous drug;
    - `metabolites`: name to the same keys, with `formation_clearance_...` where it is known (else all of the parent
      is taken to turn into it).
    """
    disposition = compartments(drug, parameters, peripheral)
    found = {name: _metabolite(f"{drug}, {name}", values) for name, values in (metabolites or {}).items()}
    source = _absorption(drug, absorption) if absorption else None
    if source is not None and found:
        raise InputError(f"{drug}: metabolites are there for intravenous drugs only; remove absorption or metabolites")
    return LinearPharmacokinetics(drug, disposition, source, found)


def _absorption(drug: str, routes: Sequence[Mapping[str, float]]) -> Absorption:
    where, rates, fractions = f"{drug} absorption", [], []
    for route in routes:
        fraction = route.get("fraction", 1.0)
        if not 0 < fraction <= 1:
            raise InputError(f"{where}: fraction must lie above 0 and not above 1, got {fraction}")
        parameters = in_base_units({key: value for key, value in route.items() if key != "fraction"}, where)
        only(parameters, {"rate"}, where)
        rates.append(parameters["rate"])
        fractions.append(fraction)
    return Absorption(jnp.asarray(rates, float), jnp.asarray(fractions, float))


def _metabolite(where: str, values: Mapping) -> Metabolite:
    values = dict(values)
    peripheral = values.pop("peripheral", ())
    formation = {key: values.pop(key) for key in list(values) if key.startswith("formation_")}
    clearance = None
    if formation:
        only(converted := in_base_units(formation, where), {"formation_clearance"}, where)
        clearance = jnp.asarray(converted["formation_clearance"], float)
    return Metabolite(compartments(where, values, peripheral), clearance)
