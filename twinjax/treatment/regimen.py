"""`Regimen`: all treatments of a patient on one time axis."""

import math
from collections.abc import Iterable

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from twinjax.core.bucket import bucket
from twinjax.core.errors import InputError
from twinjax.core.kills import Kills
from twinjax.domain import Domain
from twinjax.treatment.treatment import (
    AbstractContinuousTreatment,
    AbstractImpulsiveTreatment,
    AbstractKillingTreatment,
    AbstractModulatingTreatment,
    AbstractTreatment,
)


class Regimen(eqx.Module):
    """All treatments together; `Regimen()` is no treatment.

    Several of one kind are allowed (concomitant and adjuvant temozolomide, say): their kill rates add.
    """

    treatments: tuple[AbstractTreatment, ...]

    def __init__(self, treatments: Iterable[AbstractTreatment] = ()):
        self.treatments = tuple(treatments)

    def __add__(self, other: "Regimen") -> "Regimen":
        return Regimen(self.treatments + other.treatments)

    @property
    def continuous(self) -> tuple[AbstractContinuousTreatment, ...]:
        return tuple(t for t in self.treatments if isinstance(t, AbstractContinuousTreatment))

    @property
    def impulsive(self) -> tuple[AbstractImpulsiveTreatment, ...]:
        return tuple(t for t in self.treatments if isinstance(t, AbstractImpulsiveTreatment))

    @property
    def modulating(self) -> tuple[AbstractModulatingTreatment, ...]:
        return tuple(t for t in self.treatments if isinstance(t, AbstractModulatingTreatment))

    def levels(self, t) -> dict[str, Array]:
        """Action to its level at day `t`, the sum over the treatments that have it."""
        return _summed_levels(self.modulating, lambda treatment: treatment.level(t))

    def mean_levels(self, t0, t1) -> dict[str, Array]:
        """Action to the mean of its level over [t0, t1]."""
        return _summed_levels(self.modulating, lambda treatment: treatment.mean_level(t0, t1))

    def kill_rate(self, t):
        """Sum of the kill rates (1/day) of the continuous treatments at day `t`."""
        return sum((treatment.kill_rate(t) for treatment in self.continuous), jnp.zeros(()))

    def exposure(self, t0, t1):
        """Exact integral of `kill_rate` over [t0, t1]."""
        return sum((treatment.exposure(t0, t1) for treatment in self.continuous), jnp.zeros(()))

    @property
    def uniform(self) -> "Regimen":
        """The treatments that kill the same fraction everywhere: all drugs, and fractions in even oxygen."""
        return Regimen(t for t in self.treatments if isinstance(t, AbstractKillingTreatment) and not _is_local(t))

    @property
    def local(self) -> tuple[AbstractImpulsiveTreatment, ...]:
        """The impulses that differ from place to place: operations, and fractions in hypoxic tissue."""
        return tuple(t for t in self.impulsive if _is_local(t))

    def kills(self, t0, t1) -> Kills:
        """All kills within [t0, t1) of a regimen that is `uniform`, in the order of the doses."""
        killing = [treatment for treatment in self.treatments if isinstance(treatment, AbstractKillingTreatment)]
        together = sum((_labelled_kills(treatment, t0, t1) for treatment in killing), Kills.none())
        if len(killing) < 2:
            return together
        return together.in_order(jnp.argsort(jnp.concatenate([t.times for t in killing])))

    def open_tissue(self, t):
        """1 where tissue is there at day `t`, 0 in the cavities made before or at `t`; None without surgery."""
        masks = [mask for treatment in self.impulsive if (mask := treatment.open_tissue(t)) is not None]
        return math.prod(masks[1:], start=masks[0]) if masks else None

    def before(self, day: float) -> "Regimen":
        """Only what was given before `day`."""
        return self._where(lambda times: times < day)

    def after(self, day: float) -> "Regimen":
        """Only what is given on `day` or later."""
        return self._where(lambda times: times >= day)

    def shifted(self, days: float) -> "Regimen":
        """Everything `days` later."""
        return Regimen(treatment.shifted(days) for treatment in self.treatments)

    def filled(self) -> "Regimen":
        """The same regimen, every number of doses rounded up (`bucket`) by doses of nothing; not for its `burden`."""
        return Regimen(treatment.filled(bucket(treatment.times.size)) for treatment in self.treatments)

    def on(self, domain: Domain) -> "Regimen":
        """The regimen with its spatial maps on the grid of `domain`."""
        return Regimen(treatment.on(domain) for treatment in self.treatments)

    def burden(self) -> list[dict]:
        """One row per treatment: what the patient bears, with first and last day."""
        return [
            {"treatment": treatment.name}
            | treatment.burden()
            | {"first_day": float(treatment.times.min()), "last_day": float(treatment.times.max())}
            for treatment in self.treatments
        ]

    def _where(self, condition) -> "Regimen":
        kept = []
        for treatment in self.treatments:
            keep = np.asarray(condition(np.asarray(treatment.times)))
            if keep.any():
                kept.append(treatment.select(keep))
        return Regimen(kept)


def _summed_levels(treatments, level_of) -> dict[str, Array]:
    levels: dict[str, Array] = {}
    for treatment in treatments:
        before = levels.get(treatment.action, jnp.zeros(()))
        levels[treatment.action] = before + level_of(treatment)
    return levels


def _labelled_kills(treatment: AbstractKillingTreatment, t0, t1) -> Kills:
    kills = treatment.kills(t0, t1)
    return kills.of_drugs() if isinstance(treatment, AbstractContinuousTreatment) else kills


def _is_local(treatment: AbstractTreatment) -> bool:
    return isinstance(treatment, AbstractImpulsiveTreatment) and treatment.log_kill is None


def require_regimen(value: "Regimen | Iterable[AbstractTreatment] | None") -> Regimen:
    """`value` as a Regimen: None is no treatment, a list of treatments is taken as it is."""
    if isinstance(value, Regimen):
        return value
    treatments = [] if value is None else list(value)
    wrong = [type(t).__name__ for t in treatments if not isinstance(t, AbstractTreatment)]
    if wrong:
        raise InputError(f"expected a Regimen or a list of treatments, got {', '.join(wrong)}")
    return Regimen(treatments)
