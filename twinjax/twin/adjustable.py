"""What of a plan may change: the decision variables of its treatments."""

from collections.abc import Mapping
from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from twinjax.core.config import load_named
from twinjax.core.errors import InputError
from twinjax.treatment import AbstractTreatment, Regimen
from twinjax.treatment.regimen import require_regimen

# Of the largest dose: less is no dose.
SMALLEST_SHARE = 1e-3
TOTAL_DOSE = "total_dose"


@dataclass(frozen=True)
class Adjustable:
    """How far the doses of a treatment may change; doses in the unit of the treatment (Gy, mg/m², mg).

    **Fields:**

    - `largest_dose`: of one fraction, or of one dose of a drug.
    - `normal_alpha_beta_ratio`: Gy, of the normal tissue that bears the fractions; 3 is that of late-reacting tissue
      (Fowler 1989, Br J Radiol 62:679). Radiotherapy needs it: the BED there stays below that of the standard.
    - `total_dose`: what all doses may sum up to; None: of a drug the sum of the standard, of radiotherapy no bound.
    - `together_days`: the doses of every so many days are one variable (7: one a week); None: each is its own.
    - `move_days`: how far a dose may move from its day, either way.
    - `least_interval_days`: from one dose to the next.
    """

    largest_dose: float
    normal_alpha_beta_ratio: float | None = None
    total_dose: float | None = None
    together_days: float | None = None
    move_days: float = 0.0
    least_interval_days: float = 0.0

    def __post_init__(self):
        for name in ("largest_dose", "normal_alpha_beta_ratio", "total_dose", "together_days"):
            value = getattr(self, name)
            if not ((value is None and name != "largest_dose") or is_number(value, above=0)):
                raise InputError(f"adjust: {name} must be a positive number, got {value}")
        for name in ("move_days", "least_interval_days"):
            value = getattr(self, name)
            if not is_not_negative(value):
                raise InputError(f"adjust: {name} must be a number of days >= 0, got {value}")


class PlanVariables(eqx.Module):
    """A regimen as a function of a vector x: of each treatment doses, as shares of the largest, then shifts in time, as
    shares of `move_days`.

    **Fields:** `regimen`, all that is given, in days since baseline: from its treatment `first` on the plan, before it
    the past; `decision_day`, before which nothing moves; `parts`, which entries of x are whose.
    """

    regimen: Regimen
    first: int = eqx.field(static=True)
    decision_day: float = eqx.field(static=True)
    parts: tuple["Part", ...]

    def __init__(self, regimen: Regimen, adjust: Mapping[str, Adjustable], *, first: int, decision_day: float):
        """`adjust`: name of a treatment to what may change of it, and of all others of that name in the plan.

        Raises `InputError` for a name that the plan does not have, or limits that the plan itself breaks.
        """
        self.regimen, self.first, self.decision_day = regimen, first, float(decision_day)
        there, parts = regimen.treatments[first:], []
        if not adjust:
            raise InputError("adjust: name at least one treatment that may change")
        if unknown := set(adjust) - {treatment.name for treatment in there}:
            known = ", ".join(dict.fromkeys(t.name for t in there)) or "no treatment"
            raise InputError(f"adjust: the standard plan has {known}, not {', '.join(sorted(unknown))}")
        for index, treatment in enumerate(there, first):
            if treatment.name in adjust:
                start = parts[-1].stop if parts else 0
                parts.append(_part(treatment, index, adjust[treatment.name], start, self.decision_day))
        self.parts = tuple(parts)

    @property
    def size(self) -> int:
        return self.parts[-1].stop

    @property
    def limits(self) -> dict[str, Adjustable]:
        """Name of each treatment that may change to its limits."""
        return {part.name: part.limits for part in self.parts}

    @property
    def bounds(self) -> list[tuple[float, float]]:
        """The least and the largest value of every entry of x."""
        return [pair for part in self.parts for pair in part.bounds(self.decision_day)]

    def standard(self) -> Float[np.ndarray, " size"]:
        """x of the standard plan; where doses are one variable, of their mean."""
        return np.concatenate([part.standard for part in self.parts])

    def dose_entries(self, name: str) -> Int[np.ndarray, " doses"]:
        """Which entries of x are doses of the treatments of that name."""
        return np.concatenate([np.arange(p.start, p.start + p.count) for p in self.parts if p.name == name])

    def doses_and_times(self, x: Float[Array, " size"], name: str) -> tuple[Array, Array]:
        """All doses of the treatments of that name, and their days."""
        doses, times = zip(*(part.doses_and_times(x) for part in self.parts if part.name == name), strict=True)
        return jnp.concatenate(doses), jnp.concatenate(times)

    def at(self, x: Float[Array, " size"]) -> Regimen:
        """The past and the plan of x."""
        regimen = self.regimen
        for part in self.parts:
            where = lambda r, i=part.index: (r.treatments[i].doses, r.treatments[i].times)  # noqa: E731
            regimen = eqx.tree_at(where, regimen, part.doses_and_times(x))
        return regimen

    def plan(self, x: Float[np.ndarray, " size"] | None = None) -> Regimen:
        """What is given from the decision on, whose day is 0; None for the standard. Doses of nothing are left out."""
        regimen = self.regimen if x is None else self.at(jnp.asarray(x))
        kept, limits = [], self.limits
        for treatment in regimen.treatments[self.first :]:
            if treatment.name in limits:
                given = np.asarray(treatment.doses) > SMALLEST_SHARE * limits[treatment.name].largest_dose  # pyright: ignore
                if not given.any():
                    continue
                treatment = treatment.select(given)
            kept.append(treatment)
        return Regimen(kept).shifted(-self.decision_day)


class Part(eqx.Module):
    """One treatment's entries of x: `count` doses from `start` on, then as many shifts where doses may move.

    **Fields:** `index`, of the treatment in the regimen; `unit`, of its doses, as the end of a name (`"_gy"`); `group`,
    `times` and `doses` (n,) of each dose its variable, and its day and size in the standard plan.
    """

    name: str = eqx.field(static=True)
    unit: str = eqx.field(static=True)
    index: int = eqx.field(static=True)
    start: int = eqx.field(static=True)
    count: int = eqx.field(static=True)
    limits: Adjustable = eqx.field(static=True)
    group: Int[np.ndarray, " n"]
    times: Float[np.ndarray, " n"]
    doses: Float[np.ndarray, " n"]

    @property
    def stop(self) -> int:
        return self.start + self.count * (2 if self.limits.move_days else 1)

    @property
    def standard(self) -> np.ndarray:
        means = np.bincount(self.group, self.doses) / np.bincount(self.group)
        return np.append(means / self.limits.largest_dose, np.zeros(self.stop - self.start - self.count))

    def bounds(self, decision_day: float) -> list[tuple[float, float]]:
        doses, move = [(0.0, 1.0)] * self.count, self.limits.move_days
        if not move:
            return doses
        ahead = [self.times[self.group == g].min() - decision_day for g in range(self.count)]
        return doses + [(max(-1.0, -float(days) / move), 1.0) for days in ahead]

    def doses_and_times(self, x) -> tuple[Array, Array]:
        own, count = x[self.start : self.stop], self.count
        doses, times = self.limits.largest_dose * own[:count][self.group], jnp.asarray(self.times)
        return doses, times + self.limits.move_days * own[count:][self.group] if self.limits.move_days else times


def _part(treatment: AbstractTreatment, index: int, limits: Adjustable, start: int, decision_day: float) -> Part:
    name = treatment.name
    if not hasattr(treatment, "doses"):
        raise InputError(f"adjust: {name} has no doses that could change; leave it out")
    times, doses = (np.asarray(values, float) for values in (treatment.times, treatment.doses))  # pyright: ignore
    if times.min() < decision_day:
        raise InputError(f"adjust: {name} has doses before the decision (day {decision_day:g}); count its days from it")
    if (name == "radiotherapy") != (limits.normal_alpha_beta_ratio is not None):
        raise InputError(
            f"adjust: {name}: normal_alpha_beta_ratio is for radiotherapy, which needs it (3 for late-reacting tissue)"
        )
    shortest = float(np.diff(np.sort(times)).min(initial=np.inf))
    if shortest < limits.least_interval_days - 1e-9:
        raise InputError(
            f"adjust: {name} is given {shortest:g} days apart in the standard plan; lower least_interval_days"
        )
    if doses.max() > limits.largest_dose:
        raise InputError(f"adjust: {name} has a dose of {doses.max():g} in the standard plan; raise largest_dose to it")
    every = limits.together_days
    group = np.arange(times.size) if every is None else np.floor((times - times[0]) / every + 1e-9).astype(int)
    group = np.unique(group, return_inverse=True)[1]
    return Part(name, dose_unit(treatment), index, start, int(group.max()) + 1, limits, group, times, doses)


def dose_unit(treatment: AbstractTreatment) -> str:
    """The unit of a treatment's doses as the end of a name: `"_gy"`, `"_mg_m2"`, `"_mg"`; `""` where it has none."""
    sums = [key for key in treatment.burden() if key.startswith(TOTAL_DOSE)]
    return sums[0].removeprefix(TOTAL_DOSE) if sums else ""


def named_regimen(standard: str | Regimen) -> Regimen:
    """A standard of care: a name of conf/treatment, or the regimen itself."""
    return load_named("treatment", standard) if isinstance(standard, str) else require_regimen(standard)


def is_number(value, *, above: float) -> bool:
    """Whether it is finite and larger than `above`."""
    return isinstance(value, int | float) and bool(np.isfinite(value)) and value > above


def is_not_negative(value) -> bool:
    """Whether it is finite and not negative."""
    return value == 0 or is_number(value, above=0)
