"""Androgen deprivation that PSA switches on and off, review by review, in every draw of the posterior."""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from twinjax.simulation import Trajectory
from twinjax.treatment import AndrogenDeprivation, Regimen
from twinjax.twin.ahead import Ahead, all_solved
from twinjax.twin.solution import quantities_of, solved


class SwitchingRule(eqx.Module):
    """What is done at a review: on where PSA is at or above `on_above`, off where it is at or below `off_below` after
    `least_on_days` of treatment, else as before.

    **Fields:** `off_below`, `on_above` (ng/mL), `least_on_days`.
    """

    off_below: Float[Array, ""]
    on_above: Float[Array, ""]
    least_on_days: Float[Array, ""]

    def __init__(self, off_below: ArrayLike, on_above: ArrayLike, least_on_days: ArrayLike):
        self.off_below, self.on_above = jnp.asarray(off_below, float), jnp.asarray(on_above, float)
        self.least_on_days = jnp.asarray(least_on_days, float)

    @classmethod
    def continuous(cls) -> "SwitchingRule":
        """Always on."""
        return cls(-np.inf, 0.0, 0.0)

    def since(self, psa: Float[Array, ""], day: Float[Array, ""], since: Float[Array, ""]) -> Float[Array, ""]:
        """The day on which the treatment began that is given from the review on `day` on; infinite for none.

        `since`, likewise before the review.
        """
        stays = (psa > self.off_below) | (day - since < self.least_on_days)
        on = jnp.where(jnp.isfinite(since), stays, psa >= self.on_above)
        return jnp.where(on, jnp.minimum(since, day), jnp.inf)


@dataclass(frozen=True, eq=False)
class SwitchedCourses:
    """What comes of a rule.

    **Fields:** `times` (T,) of the reviews, days since baseline; `psa` (draws, T) in ng/mL; `treated` (draws, T - 1),
    whether treatment is given from each review to the next; `ceiling_ng_ml`, at which control is lost.
    """

    times: Float[np.ndarray, " T"]
    psa: Float[np.ndarray, "draws T"]
    treated: Bool[np.ndarray, "draws T-1"]
    ceiling_ng_ml: float

    @property
    def lost(self) -> Bool[np.ndarray, " draws"]:
        """Whether control is lost: PSA at or above the ceiling at a review, and so again at the next."""
        return np.asarray(self._lost_at.any(axis=1))

    @property
    def days_of_control(self) -> Float[np.ndarray, " draws"]:
        """Days from the first review to the one at which control is lost; to the last where it never is."""
        days = self.times - self.times[0]
        return np.where(self.lost, days[self._lost_at.argmax(axis=1)], days[-1])

    @property
    def days_on_treatment(self) -> Float[np.ndarray, " draws"]:
        """Days of treatment while there is control."""
        before = self.times[1:] - self.times[0] <= self.days_of_control[:, None]
        return (self.treated & before) @ np.diff(self.times)

    @property
    def share_on_treatment(self) -> Float[np.ndarray, " draws"]:
        """Share of the days of control that is under treatment; 1 where there is none."""
        days = self.days_of_control
        return np.where(days > 0, self.days_on_treatment / np.maximum(days, 1e-9), 1.0)

    @property
    def _lost_at(self):
        above = self.psa >= self.ceiling_ng_ml
        return above[:, :-1] & above[:, 1:]


def switched(
    ahead: Ahead, rule: SwitchingRule, times: Float[np.ndarray, " T"], since: float, ceiling_ng_ml: float
) -> SwitchedCourses:
    """Every draw under the rule, with reviews at `times`, the first of them the decision and all past in `ahead`.

    PSA at a review is the model's, without the scatter of a measurement. `since`, when the treatment began that is
    given at the first, infinite for none; `ceiling_ng_ml`, at which control is lost. Raises `SolverError` where a solve
    fails.
    """
    psa, treated, success = _switched(ahead, rule, jnp.asarray(times, float), jnp.asarray(since, float))
    return SwitchedCourses(times, np.asarray(all_solved(psa, success)), np.asarray(treated), ceiling_ng_ml)


@eqx.filter_jit
def _switched(ahead: Ahead, rule: SwitchingRule, times, since):
    def one(z, state):
        tumor = ahead.under(ahead.tumor.regimen, z)
        at_decision = jax.tree.map(lambda leaf: leaf[None], state)
        first = quantities_of(tumor, Trajectory(times[:1], at_decision, jnp.asarray(True)))[ahead.outcome][0]

        def to_next_review(carry, days):
            state, psa, since = carry
            day, until = days
            since = rule.since(psa, day, since)
            # Longer than it is solved for, so that the last stage of the last step is under treatment too.
            lasts = jnp.where(jnp.isfinite(since), 2 * (until - day), 0.0)
            tumor = ahead.under(ahead.tumor.regimen + Regimen([AndrogenDeprivation(day, lasts)]), z)
            trajectory = solved(tumor, ahead.problem, until[None], state=state, start=day)
            psa = quantities_of(tumor, trajectory)[ahead.outcome][0]
            state = jax.tree.map(lambda leaf: leaf[0], trajectory.states)
            return (state, psa, since), (psa, jnp.isfinite(since), trajectory.success)

        start = (state, first, since)
        _, (psa, treated, success) = jax.lax.scan(to_next_review, start, (times[:-1], times[1:]))
        return jnp.concatenate([first[None], psa]), treated, success.all()

    return ahead.each(one)


def treated_since(given: Regimen, day: float) -> float:
    """The day on which the androgen deprivation began that lasts until `day`; infinite where none does."""
    doses = [
        (start, start + length)
        for treatment in given.treatments
        if isinstance(treatment, AndrogenDeprivation)
        for start, length in zip(np.asarray(treatment.times), np.asarray(treatment.durations), strict=True)
        if length > 0
    ]
    since, until = np.inf, -np.inf
    for start, stop in sorted(doses):
        since = start if start > until + 1e-6 else since
        until = max(until, stop)
    return float(since) if until >= day else float(np.inf)
