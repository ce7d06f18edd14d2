"""Masks: which voxels an observer marked as tumour."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import optimize

from twinjax.core.errors import InputError
from twinjax.observation.observation import AbstractObservation, voxels_per_datum

# Of the density, over which an observer begins to mark tumour; our own choice. It is raised to what the data show.
THRESHOLD_SOFTNESS = 0.05
# The largest softness that is sought: a mask that says nothing.
LARGEST_SOFTNESS = 1.0
# Closer to a datum than this, in log odds, deviance is taken from its Taylor series.
NEAR = 0.05


class AbstractMaskObservation(AbstractObservation):
    """A voxel is marked with probability p = sigmoid((density - threshold) / softness); `predict` gives its log odds.

    A datum y in [0, 1] is the part of a voxel that is marked, and has the log likelihood y ln p + (1 - y) ln(1 - p).
    Voxels within one correlation volume are marked together, so that each counts for 1 / `voxels_per_datum`: a
    composite likelihood of voxels, tempered to the number of independent data (Varin, Reid and Firth 2011, Stat Sin
    21:5, review such; the weight is our own choice). Its residuals are signed deviances.

    **Fields:** `threshold`; `softness`, how vague the boundary is; `voxels_per_datum` (static, >= 1).
    """

    threshold: eqx.AbstractVar[Float[Array, ""]]
    softness: eqx.AbstractVar[Float[Array, ""]]
    voxels_per_datum: eqx.AbstractVar[float]
    levels = ("softness",)

    def prepared(self, readings, index, domain):
        del index, domain
        if not bool(((readings.values >= 0) & (readings.values <= 1)).all()):
            raise InputError("a mask holds parts of voxels, 0 to 1")
        return readings

    def residuals(self, readings, predicted):
        return signed_deviance(readings.values, predicted) / jnp.sqrt(self.voxels_per_datum)

    def missing_curvature(self, readings, predicted):
        # In the log odds the curvature is p (1 - p), whatever was marked; the squared slope of r is (p - y)² / r².
        chance = jax.nn.sigmoid(predicted)
        squared = signed_deviance(readings.values, predicted) ** 2
        apart = squared > 1e-8
        slope = (chance - readings.values) ** 2 / jnp.where(apart, squared, 1.0)
        lacking = jnp.where(apart, jnp.maximum(chance * (1 - chance) - slope, 0.0), 0.0)
        return jnp.sqrt(lacking / self.voxels_per_datum)

    def log_normalizer(self, readings):
        entropy = jax.scipy.special.entr(readings.values) + jax.scipy.special.entr(1 - readings.values)
        return -jnp.sum(entropy) / self.voxels_per_datum

    def likeliest_levels(self, readings, predicted):
        marked = np.concatenate([np.asarray(one.values, float) for one in readings])
        above = np.concatenate([np.asarray(odds, float) for odds in predicted]) * float(self.softness)

        def cost(log_softness):
            odds = above / np.exp(log_softness)
            return float(np.sum(np.logaddexp(0, odds) - marked * odds))

        low, high = np.log(float(self.softness)), np.log(max(LARGEST_SOFTNESS, 2 * float(self.softness)))
        found = optimize.minimize_scalar(cost, bounds=(low, high), method="bounded", options={"xatol": 1e-3})
        return {"softness": float(self.softness if cost(low) <= found.fun else np.exp(found.x))}

    def effective_count(self, readings):
        return float(max(1.0, readings.values.size / self.voxels_per_datum))


class SegmentationObservation(AbstractMaskObservation):
    """A mask that shows where the density exceeds a visibility threshold.

    Thresholds: T1Gd core 0.6 to 0.8, T2-FLAIR 0.05 to 0.6 of the carrying capacity (Lipkova et al. 2019, IEEE TMI
    38:1875).
    """

    threshold: Float[Array, ""]
    softness: Float[Array, ""]
    voxels_per_datum: float = eqx.field(static=True)

    def __init__(self, domain, threshold, *, softness=THRESHOLD_SOFTNESS, correlation_length_mm=10.0):
        self.threshold, self.softness = jnp.asarray(threshold, float), jnp.asarray(softness, float)
        self.voxels_per_datum = voxels_per_datum(domain, correlation_length_mm)

    def predict(self, model, state):
        return (model.cell_density(state) - self.threshold) / self.softness


def signed_deviance(marked: Float[Array, "*n"], odds: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """r with r² / 2 = -[y ln p + (1 - y) ln(1 - p)] + [the same at p = y], y = `marked`, p = sigmoid(`odds`).

    Positive where more was marked than predicted; smooth in `odds`, through zero too.
    """
    none, all_ = marked <= 0, marked >= 1
    # Branches that are not taken must not divide by zero, nor their derivatives.
    y = jnp.where(none | all_, 0.5, marked)
    best = jnp.log(y) - jnp.log1p(-y)
    away = odds - best
    near = jnp.abs(away) < NEAR
    far = jnp.where(near, 1.0, away)
    # Half the deviance over away²: log1p(y expm1(away)) - y away, and its series in the cumulants of a Bernoulli y.
    beyond = (jax.nn.softplus(best + far) - jax.nn.softplus(best) - y * far) / far**2
    variance = y * (1 - y)
    fourth, fifth = 1 - 6 * variance, (1 - 2 * y) * (1 - 12 * variance)
    close = variance * (1 / 2 + (1 - 2 * y) * away / 6 + fourth * away**2 / 24 + fifth * away**3 / 120)
    between = -away * jnp.sqrt(2 * jnp.where(near, close, beyond))
    edge = _root_softplus(jnp.where(all_, -odds, odds))
    return jnp.where(all_, edge, jnp.where(none, -edge, between))


def _root_softplus(x):
    """√(2 ln(1 + eˣ)), with a derivative where eˣ is lost in rounding."""
    tiny = x < -12.0
    return jnp.where(
        tiny,
        jnp.sqrt(2.0) * jnp.exp(jnp.where(tiny, x, 0.0) / 2) * (1 - jnp.exp(jnp.where(tiny, x, 0.0)) / 4),
        jnp.sqrt(2 * jax.nn.softplus(jnp.where(tiny, 0.0, x))),
    )
