"""One number at an instant, with normal error on the observation's scale."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import optimize, stats

from twinjax.core.errors import InputError
from twinjax.observation.limit import limit_deviance
from twinjax.observation.observation import AbstractObservation

LARGEST_FACTOR = 100.0


class AbstractScalarObservation(AbstractObservation):
    """data = prediction + error, on the scale of `predict`.

    Of a reading below or above what a device can tell only that is known (`limit_deviance`).

    **Fields:** `noise_std` of the error.
    """

    noise_std: eqx.AbstractVar[Float[Array, ""]]
    levels = ("noise_std",)

    def residuals(self, readings, predicted):
        distance = (readings.values - predicted) / self.noise_std
        if readings.side is None:
            return distance
        return jnp.where(readings.side == 0, distance, readings.side * limit_deviance(-readings.side * distance))

    def log_normalizer(self, readings):
        count = readings.values.size if readings.side is None else jnp.sum(readings.side == 0)
        return -count * (0.5 * jnp.log(2 * jnp.pi) + jnp.log(self.noise_std))

    def sample(self, readings, predicted, key):
        if readings.side is not None:
            raise InputError("values below detection cannot be drawn: what the device would tell is not known")
        return predicted + self.noise_std * jax.random.normal(key, predicted.shape)

    def likeliest_levels(self, readings, predicted):
        error = np.concatenate([np.asarray(a.values - b, float) for a, b in zip(readings, predicted, strict=True)])
        sides = [np.zeros(one.values.size) if one.side is None else np.asarray(one.side) for one in readings]
        side, stated = np.concatenate(sides), float(self.noise_std)
        if not side.any():
            return {"noise_std": max(stated, float(np.sqrt(np.mean(error**2))))}
        read = side == 0

        def cost(log_noise):
            distance = error / np.exp(log_noise)
            normal = stats.norm.logpdf(distance[read]).sum() - read.sum() * log_noise
            return -normal - stats.norm.logcdf(-side[~read] * distance[~read]).sum()

        low = np.log(stated)
        found: Any = optimize.minimize_scalar(cost, bounds=(low, low + np.log(LARGEST_FACTOR)), method="bounded")
        return {"noise_std": stated if cost(low) <= found.fun else float(np.exp(found.x))}
