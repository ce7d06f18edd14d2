"""Androgen deprivation: depot injections that suppress testosterone while they last."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float

from twinjax.core.errors import InputError
from twinjax.treatment.regimen import Regimen
from twinjax.treatment.treatment import AbstractModulatingTreatment, check_doses, later, of_doses, with_no_doses

ACTION = "androgen_deprivation"


class AndrogenDeprivation(AbstractModulatingTreatment):
    """level(t) = intensity sum_k [g(t - t_k) - g(t - t_k - d_k)], g(s) = 1 - exp(-s / tau) for s >= 0, 0 before.

    Each dose acts for its duration; one that overlaps the next ends where that begins, so that levels never add. With
    tau = 0 the level is the intensity on [t_k, t_k + d_k) and zero elsewhere: the kinetics of testosterone belong to
    the model. A tau above zero is for models that have none.

    **Fields:** `times` (days, ascending), `durations` (days), `intensity` in [0, 1] (1 is castration), `response_days`
    tau, `action` (static). Raises `InputError` for values outside their range.
    """

    times: Float[Array, " doses"]
    durations: Float[Array, " doses"]
    intensity: Float[Array, ""]
    response_days: Float[Array, ""]
    action: str = eqx.field(static=True)

    def __init__(self, times, durations, *, intensity: ArrayLike = 1.0, response_days: ArrayLike = 0.0):
        self.times, durations = check_doses(times, durations, "androgen deprivation")
        # In numpy where the values are known: every other number of doses would be compiled anew.
        library = jnp if isinstance(self.times, Tracer) or isinstance(durations, Tracer) else np
        gaps = library.diff(library.asarray(self.times))
        if library is np and (gaps < 0).any():
            raise InputError(f"androgen deprivation: times must be ascending, got {np.asarray(self.times).tolist()}")
        self.durations = jnp.asarray(library.minimum(durations, library.append(gaps, np.inf)))
        self.intensity = jnp.asarray(intensity, float)
        self.response_days = jnp.asarray(response_days, float)
        if not isinstance(intensity, Tracer) and not 0 <= float(np.asarray(intensity)) <= 1:
            raise InputError(f"androgen deprivation: intensity must lie in [0, 1], got {intensity}")
        if not isinstance(response_days, Tracer) and not float(np.asarray(response_days)) >= 0:
            raise InputError(f"androgen deprivation: response_days must be >= 0, got {response_days}")
        self.action = ACTION

    @classmethod
    def on_intervals(cls, starts, stops, *, dose_interval_days: float = 84.0, **properties) -> "AndrogenDeprivation":
        """On each [start, stop), in depots of at most `dose_interval_days` (leuprolide 22.5 mg lasts twelve weeks).

        What was given before a day (`Regimen.before`) then ends with the depot that was in place on it. A dose of no
        length marks each stop, so that solvers stop there too.
        """
        starts, stops = np.atleast_1d(np.asarray(starts, float)), np.atleast_1d(np.asarray(stops, float))
        if starts.shape != stops.shape or starts.size == 0 or not (stops > starts).all():
            raise InputError(f"androgen deprivation: each stop must follow its start, got {starts} and {stops}")
        if not (np.isfinite(dose_interval_days) and dose_interval_days > 0):
            raise InputError(f"androgen deprivation: dose_interval_days must be positive, got {dose_interval_days}")
        days = [np.append(np.arange(a, b, dose_interval_days), b) for a, b in zip(starts, stops, strict=True)]
        lengths = [np.minimum(dose_interval_days, b - day) for day, b in zip(days, stops, strict=True)]
        return cls(np.concatenate(days), np.concatenate(lengths), **properties)

    def level(self, t):
        begun, ended = self._response(t - self.times), self._response(t - self.times - self.durations)
        return self.intensity * jnp.sum(begun - ended)

    def mean_level(self, t0, t1):
        def integral(t):
            begun, ended = self._response_integral(t - self.times), self._response_integral(t - self._ends)
            return jnp.sum(begun - ended)

        length = t1 - t0
        mean = self.intensity * (integral(t1) - integral(t0)) / jnp.where(length > 0, length, 1.0)
        return jnp.where(length > 0, mean, self.level(t0))

    @property
    def _ends(self):
        return self.times + self.durations

    def _response(self, elapsed):
        return jnp.where(elapsed >= 0, jnp.where(self.response_days > 0, self._approach(elapsed), 1.0), 0.0)

    def _response_integral(self, elapsed):
        return jnp.maximum(elapsed, 0.0) - self.response_days * self._approach(elapsed)

    def _approach(self, elapsed):
        tau = jnp.where(self.response_days > 0, self.response_days, 1.0)
        return -jnp.expm1(-jnp.maximum(elapsed, 0.0) / tau)

    @property
    def name(self):
        return ACTION

    def on(self, domain):
        return self

    def burden(self):
        return {"doses": int((self.durations > 0).sum()), "days_on_treatment": float(self.durations.sum())}

    def select(self, keep):
        return of_doses(self, keep, "times", "durations")

    def filled(self, count):
        return with_no_doses(self, count, "durations", "times")

    def shifted(self, days):
        return later(self, days)


def androgen_deprivation_cycles(
    start_day: float,
    cycles: int,
    on_days: float,
    off_days: float = 0.0,
    *,
    dose_interval_days: float = 84.0,
    **properties,
) -> Regimen:
    """`cycles` of `on_days` on and `off_days` off; one cycle is continuous treatment of `on_days`.

    `properties` go to `AndrogenDeprivation` (`intensity`, `response_days`).
    """
    if cycles < 1:
        raise InputError(f"androgen deprivation: cycles must be at least 1, got {cycles}")
    if not (on_days > 0 and off_days >= 0):
        raise InputError(f"androgen deprivation: on_days must be positive and off_days >= 0, got {on_days}, {off_days}")
    starts = start_day + np.arange(cycles) * (on_days + off_days)
    treatment = AndrogenDeprivation.on_intervals(
        starts, starts + on_days, dose_interval_days=dose_interval_days, **properties
    )
    return Regimen([treatment])
