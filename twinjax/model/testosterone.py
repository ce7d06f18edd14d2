"""Serum testosterone under androgen deprivation, and what it does to the secretion of PSA."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

# 1 nmol/L of testosterone (288.4 g/mol) in ng/dL.
NG_DL_PER_NMOL_L = 28.84


class Testosterone(eqx.Module):
    """dT/dt = (1 - u) k_recovery (T_0 - T) + u k_suppression (T_c - T), u in [0, 1].

    u is the level of androgen deprivation, above 1 taken as 1.

    **Fields:** `baseline` T_0 (449 ng/dL) and `suppression_rate` (0.0164 1/h = 0.394 1/day) of Snelder et al. 2019
    (leuprorelin, n = 62); `castrate` T_c (15 ng/dL) and `recovery_rate` (0.02 1/day) are our own choice, the latter
    because testosterone takes months to come back in the trial of Bruchovsky et al. 2006 (Cancer 107:389). Snelder's
    binding of the drug to its receptor, and the flare that it makes, are left out.
    """

    baseline: Float[Array, ""]
    castrate: Float[Array, ""]
    suppression_rate: Float[Array, ""]
    recovery_rate: Float[Array, ""]

    def __init__(
        self,
        baseline: ArrayLike = 449.0,
        castrate: ArrayLike = 15.0,
        suppression_rate: ArrayLike = 0.394,
        recovery_rate: ArrayLike = 0.02,
    ):
        self.baseline, self.castrate = jnp.asarray(baseline, float), jnp.asarray(castrate, float)
        self.suppression_rate = jnp.asarray(suppression_rate, float)
        self.recovery_rate = jnp.asarray(recovery_rate, float)

    def change(self, testosterone, level) -> Array:
        """dT/dt in ng/dL per day."""
        rate, source = self._rate_and_source(level)
        return source - rate * testosterone

    def flow(self, testosterone, duration, level) -> tuple[Array, Array]:
        """T after `duration` days at a constant level, and its mean over that time: exact."""
        rate, source = self._rate_and_source(level)
        target, decay, mean = source / rate, jnp.exp(-rate * duration), mean_decay(rate * duration)
        return target + (testosterone - target) * decay, target + (testosterone - target) * mean

    def _rate_and_source(self, level):
        # Both are linear in the level, so that its mean over a step that holds a switch is right to second order.
        u = jnp.minimum(level, 1.0)
        suppression, recovery = u * self.suppression_rate, (1 - u) * self.recovery_rate
        return suppression + recovery, suppression * self.castrate + recovery * self.baseline


class SecretionResponse(eqx.Module):
    """Secretion of PSA relative to that at baseline, f(T) = (1 + E h(T)) / (1 + E h(T_0)), h = T^n / (C^n + T^n).

    Snelder et al. 2019: `maximal_effect` E 57.3, `half_effect` C 596 ng/dL, `exponent` n 2.49. At a castrate 15 ng/dL
    f is 0.0504 with T_0 = 449 ng/dL.
    """

    maximal_effect: Float[Array, ""]
    half_effect: Float[Array, ""]
    exponent: Float[Array, ""]

    def __init__(self, maximal_effect: ArrayLike = 57.3, half_effect: ArrayLike = 596.0, exponent: ArrayLike = 2.49):
        self.maximal_effect, self.half_effect = jnp.asarray(maximal_effect, float), jnp.asarray(half_effect, float)
        self.exponent = jnp.asarray(exponent, float)

    def __call__(self, testosterone, baseline) -> Array:
        """f at `testosterone` with T_0 = `baseline` (both ng/dL)."""
        return (1 + self._effect(testosterone)) / (1 + self._effect(baseline))

    def _effect(self, testosterone):
        # The derivative in the exponent holds a logarithm.
        power = (jnp.maximum(testosterone, 1e-6) / self.half_effect) ** self.exponent
        return self.maximal_effect * power / (1 + power)


def mean_decay(x: Array) -> Array:
    """(1 - exp(-x)) / x: the mean of exp(-x s) over s in [0, 1]; finite with its gradient at 0."""
    near = jnp.abs(x) < 1e-4
    safe = jnp.where(near, 1.0, x)
    return jnp.where(near, 1 - x / 2 + x**2 / 6, -jnp.expm1(-safe) / safe)


def mean_response(x: Array) -> Array:
    """(1 - mean_decay(x)) / x: the mean over s in [0, 1] of the answer to a source of 1; finite at 0."""
    near = jnp.abs(x) < 0.05
    safe = jnp.where(near, 1.0, x)
    series = 1 / 2 - x / 6 + x**2 / 24 - x**3 / 120 + x**4 / 720
    return jnp.where(near, series, (safe + jnp.expm1(-safe)) / safe**2)
