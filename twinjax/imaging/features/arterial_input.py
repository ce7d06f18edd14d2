"""Contrast agent in the blood, and from the signal of a spoiled gradient echo to its concentration."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from twinjax.core.errors import InputError

# Table 1 of Parker et al. 2006: mM min, min, min; then mM, 1/min, 1/min, min.
PARKER_BOLUSES = ((0.809, 0.17046, 0.0563), (0.330, 0.365, 0.132))
PARKER_WASHOUT = {"amplitude": 1.050, "decay": 0.1685, "steepness": 38.078, "centre": 0.483}


def parker_plasma(times_min: ArrayLike, *, arrival_min: float = 0.0, haematocrit: float = 0.42) -> Float[Array, " t"]:
    """Concentration in plasma (mM) of the population-averaged arterial input of Parker et al. 2006.

    Magn Reson Med 56:993: two Gaussians and an exponential times a sigmoid, fitted to the arteries of patients at
    0.1 mmol/kg; that is whole blood, and plasma is 1 / (1 - `haematocrit`) of it. 0 before `arrival_min`.

    **Arguments:** `times_min` (t,) in min; `arrival_min`, when the agent comes into the artery; `haematocrit` in
    [0, 1). Peaks within 3 s: sample it every second or finer.
    """
    times = jnp.asarray(times_min) - arrival_min
    blood = sum(
        area / (width * np.sqrt(2 * np.pi)) * jnp.exp(-jnp.square((times - centre) / width) / 2)
        for area, centre, width in PARKER_BOLUSES
    )
    w = PARKER_WASHOUT
    sigmoid = 1 / (1 + jnp.exp(-w["steepness"] * (times - w["centre"])))
    blood = blood + w["amplitude"] * jnp.exp(-w["decay"] * times) * sigmoid
    return jnp.where(times >= 0, blood, 0.0) / (1 - haematocrit)


def concentration_from_signal(
    signal: np.ndarray,
    *,
    baseline_images: int,
    flip_angle_degrees: float,
    repetition_time_ms: float,
    t10_ms: float | np.ndarray,
    relaxivity: float,
) -> np.ndarray:
    """Concentration (mM) of contrast agent, (..., t), from the signal of a spoiled gradient echo.

    S = M0 sin(a) (1 - E) / (1 - cos(a) E) with E = exp(-TR R1) in the steady state, and R1 = 1 / T10 + relaxivity C;
    M0 comes from the mean of the images before the agent, T2* is left out. NaN where the signal is above what any
    concentration gives, or was 0 before.

    **Arguments:** `signal` (..., t); `baseline_images`, how many come before the agent; `t10_ms`, T1 before it, one
    number or (...); `relaxivity` in 1/(mM s), for gadolinium chelates 3 to 5 at clinical field strengths. Raises
    `InputError` for values outside their range.
    """
    signal = np.asarray(signal, float)
    if not 1 <= baseline_images < signal.shape[-1]:
        raise InputError(f"baseline_images must lie between 1 and {signal.shape[-1] - 1}, got {baseline_images}")
    if not (0 < flip_angle_degrees < 180 and repetition_time_ms > 0 and relaxivity > 0 and np.min(t10_ms) > 0):
        raise InputError("flip angle (0 to 180 degrees), repetition time, T10 (ms) and relaxivity must be positive")
    before = signal[..., :baseline_images].mean(axis=-1, keepdims=True)
    rate = 1 / (np.broadcast_to(t10_ms, signal.shape[:-1])[..., None] / 1000)
    seconds, cosine = repetition_time_ms / 1000, np.cos(np.deg2rad(flip_angle_degrees))
    decay = np.exp(-seconds * rate)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = signal / before * (1 - decay) / (1 - cosine * decay)
        remaining = (1 - relative) / (1 - cosine * relative)
        found = (-np.log(remaining) / seconds - rate) / relaxivity
    return np.where((before > 0) & (relative < 1), found, np.nan)
