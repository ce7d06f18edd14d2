"""The kinds of treatment: a kill rate over time, a survival at an instant, or the level of another action."""

import abc

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from twinjax.core.errors import InputError
from twinjax.core.kills import Kills
from twinjax.domain import Domain


class AbstractTreatment(eqx.Module):
    """Anything with `times` in days since baseline."""

    times: eqx.AbstractVar[Float[Array, " doses"]]

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """What clinicians call it: a modality, or the drug."""

    @abc.abstractmethod
    def select(self, keep: np.ndarray) -> "AbstractTreatment":
        """The same treatment with only the doses where `keep` (bool, one per dose) is True."""

    @abc.abstractmethod
    def filled(self, count: int) -> "AbstractTreatment":
        """The same treatment with `count` doses or more: those beyond its own, at the time of the last, are nothing.

        What it does stays the same; its `burden` may not. Not for traced values.
        """

    @abc.abstractmethod
    def shifted(self, days: float) -> "AbstractTreatment":
        """The same treatment, `days` later."""

    @abc.abstractmethod
    def on(self, domain: Domain) -> "AbstractTreatment":
        """The same treatment with its maps, if it has any, on the grid of `domain`."""

    @abc.abstractmethod
    def burden(self) -> dict[str, float]:
        """What the patient bears, for tables: sums with the unit in the key (`total_dose_gy`)."""


class AbstractKillingTreatment(AbstractTreatment):
    """A treatment that removes cells."""

    @abc.abstractmethod
    def kills(self, t0, t1) -> Kills:
        """What each dose kills within [t0, t1), exactly, at the mean instant of those deaths.

        Sampling a pulse of hours with steps of a day makes a whole solve first-order in time; this does not. Only
        for treatments that kill the same fraction everywhere.
        """


class AbstractContinuousTreatment(AbstractKillingTreatment):
    """A drug: it removes cells at `kill_rate(t)` (1/day)."""

    @abc.abstractmethod
    def kill_rate(self, t) -> Array:
        """Instantaneous kill rate (1/day) at day `t`; zero before the first dose."""

    def exposure(self, t0, t1) -> Array:
        """The exact integral of `kill_rate` over [t0, t1] (dimensionless log kill)."""
        return jnp.sum(self.kills(t0, t1).log_kill)


class AbstractModulatingTreatment(AbstractTreatment):
    """A treatment that acts otherwise than by killing: it sets the level of an `action` that models know by name.

    Such as `androgen_deprivation`, `checkpoint_blockade` or `stroma_depletion`; a model without that action ignores it.
    """

    action: eqx.AbstractVar[str]

    @abc.abstractmethod
    def level(self, t) -> Array:
        """The level of the action at day `t`, >= 0; zero before the first dose."""

    @abc.abstractmethod
    def mean_level(self, t0, t1) -> Array:
        """The mean level over [t0, t1]."""


class AbstractImpulsiveTreatment(AbstractKillingTreatment):
    """A radiotherapy fraction or an operation: at `times[index]` the state is multiplied by a survival."""

    @abc.abstractmethod
    def survival(self, index, density: Array) -> Array:
        """Surviving fraction of the `index`-th impulse, broadcastable to `density` (the state just before)."""

    @property
    @abc.abstractmethod
    def log_kill(self) -> Float[Array, " doses"] | None:
        """Minus the logarithm of each survival where it is one number for the whole tumour; None where it is not."""

    def kills(self, t0, t1):
        assert self.log_kill is not None
        within = (self.times >= t0) & (self.times < t1)
        return Kills(jnp.where(within, self.log_kill, 0.0), jnp.clip(self.times - t0, 0.0, t1 - t0))

    @abc.abstractmethod
    def open_tissue(self, t) -> Array | None:
        """1 where tissue is left at day `t`, 0 where it was removed; None if this treatment removes none."""


def check_doses(times, doses, what: str) -> tuple[Array, Array]:
    """Times and doses as arrays; `InputError` where they are not finite, negative or of different length.

    Traced values pass through unchecked, so that a gradient can be taken in them.
    """
    times, doses = jnp.atleast_1d(jnp.asarray(times, float)), jnp.atleast_1d(jnp.asarray(doses, float))
    doses = jnp.broadcast_to(doses, times.shape) if doses.size == 1 else doses
    if times.ndim != 1 or times.shape != doses.shape:
        raise InputError(f"{what}: {times.size} times but {doses.size} doses; give one dose per time")
    for name, values in (("time (day)", times), ("dose", doses)):
        if not isinstance(values, Tracer):
            array = np.asarray(values)
            if not np.isfinite(array).all() or (array < 0).any():
                raise InputError(f"{what}: every {name} must be a finite number >= 0, got {array.tolist()}")
    return times, doses


def of_doses(treatment, keep: np.ndarray, *per_dose: str):
    """The treatment with only the doses where `keep` is True; `per_dose` names its arrays with one entry a dose."""
    # In numpy where the values are known: every other number of doses would be compiled anew.
    values = [getattr(treatment, name) for name in per_dose]
    kept = [value[keep] if isinstance(value, Tracer) else jnp.asarray(np.asarray(value)[keep]) for value in values]
    return eqx.tree_at(lambda one: [getattr(one, name) for name in per_dose], treatment, kept)


def with_no_doses(treatment, count: int, amount: str, *others: str):
    """The treatment with `count` doses: after its own such of no `amount`, like the last in what `others` name."""
    more = count - treatment.times.size
    if more <= 0 or not treatment.times.size:
        return treatment
    longer = [jnp.asarray(np.pad(np.asarray(getattr(treatment, name)), (0, more), mode="edge")) for name in others]
    amounts = jnp.asarray(np.pad(np.asarray(getattr(treatment, amount)), (0, more)))
    return eqx.tree_at(lambda one: [getattr(one, n) for n in (amount, *others)], treatment, [amounts, *longer])


def later(treatment, days):
    """The treatment with its `times` later by `days`; `InputError` where that is before day 0."""
    times, _ = check_doses(treatment.times + days, 0.0, treatment.name)
    return eqx.tree_at(lambda one: one.times, treatment, times)
