"""Tumour treating fields: alternating electric fields that a worn device applies to the head."""

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float

from twinjax.core.errors import InputError
from twinjax.core.kills import Kills
from twinjax.treatment.treatment import AbstractContinuousTreatment, check_doses, later, of_doses, with_no_doses


class TumorTreatingFields(AbstractContinuousTreatment):
    """kill(t) = kappa sum_k f_k for t within [t_k, t_k + d_k): a constant rate while the device is in use.

    **Fields:** `times` t_k (day on which an interval of use begins), `durations` d_k (days), `usage` f_k (fraction of
    the day on which the device is worn, as its log gives it; 0.75 is the 18 hours that are advised), and
    `full_usage_kill_rate` kappa (1/day) of a device that is never off.

    kappa has no published value: it is 0 unless given, so that the treatment has **no effect by default**. The form is
    our own; the trial is that of Stupp et al. 2017 (JAMA 318:2306), whose patients had the device beside adjuvant
    temozolomide. Raises `InputError` for usage outside [0, 1] or a duration that is not positive.
    """

    times: Float[Array, " doses"]
    durations: Float[Array, " doses"]
    usage: Float[Array, " doses"]
    full_usage_kill_rate: Float[Array, ""]

    def __init__(self, times, durations, usage, *, full_usage_kill_rate: ArrayLike = 0.0):
        self.times, self.durations = check_doses(times, durations, "tumour treating fields")
        self.usage = jnp.broadcast_to(jnp.asarray(usage, float), self.times.shape)
        self.full_usage_kill_rate = jnp.asarray(full_usage_kill_rate, float)
        if not isinstance(self.durations, Tracer) and (np.asarray(self.durations) <= 0).any():
            raise InputError("tumour treating fields: every duration (days) must be positive")
        if not isinstance(self.usage, Tracer) and not ((np.asarray(self.usage) >= 0) & (self.usage <= 1)).all():
            raise InputError(f"tumour treating fields: usage is a fraction of the day in [0, 1], got {usage}")

    def kill_rate(self, t):
        worn = (t >= self.times) & (t < self.times + self.durations)
        return self.full_usage_kill_rate * jnp.sum(jnp.where(worn, self.usage, 0.0))

    def kills(self, t0, t1):
        begin = jnp.clip(self.times, t0, t1)
        end = jnp.clip(self.times + self.durations, t0, t1)
        return Kills(self.full_usage_kill_rate * self.usage * (end - begin), (begin + end) / 2 - t0)

    @property
    def name(self):
        return "tumor_treating_fields"

    def on(self, domain):
        return self

    def burden(self):
        return {"days_of_use": float(self.durations.sum()), "days_worn": float((self.durations * self.usage).sum())}

    def select(self, keep):
        return of_doses(self, keep, "times", "durations", "usage")

    def filled(self, count):
        return with_no_doses(self, count, "durations", "times", "usage")

    def shifted(self, days):
        return later(self, days)
