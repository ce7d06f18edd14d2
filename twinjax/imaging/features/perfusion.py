"""Perfusion from dynamic contrast-enhanced MRI: the extended Tofts model, fitted voxel by voxel."""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from twinjax.core.errors import InputError
from twinjax.core.products import product

# The largest Ktrans (1/min) that is looked for; ve and vp are fractions.
LARGEST = np.array([5.0, 1.0, 1.0])
START = np.array([0.1, 0.25, 0.03])
CHUNK = 512


@dataclass(frozen=True)
class PerfusionMaps:
    """What `fit_perfusion` found, NaN where nothing was fitted.

    **Fields:** `values` and `standard_deviations`, maps (...) by name: `"ktrans"` (1/min), `"ve"`, `"vp"` (fractions)
    and `"kep"` = Ktrans / ve (1/min); `initial_area`, by seconds after the arrival, (...) in mM min; `noise`, the
    standard deviation (mM) of the residuals; `r_squared`, the share of the variance that the model explains.
    """

    values: dict[str, np.ndarray]
    standard_deviations: dict[str, np.ndarray]
    initial_area: dict[int, np.ndarray]
    noise: np.ndarray
    r_squared: np.ndarray


def tofts_concentration(
    parameters: Float[ArrayLike, "3"],
    times_min: Float[ArrayLike, " t"],
    plasma_times_min: Float[ArrayLike, " k"],
    plasma: Float[ArrayLike, " k"],
) -> Float[Array, " t"]:
    """Concentration (mM) in tissue: the extended Tofts model (Tofts et al. 1999, J Magn Reson Imaging 10:223).

    C(t) = vp Cp(t) + Ktrans ∫ Cp(s) exp(-kep (t - s)) ds with kep = Ktrans / ve. The integral is exact for a `plasma`
    that is linear between its knots, and for any kep; before the first knot the plasma held no agent.

    **Arguments:** `parameters` (Ktrans in 1/min, ve, vp); `times_min` (t,), `plasma_times_min` (k,), ascending, and
    `plasma` (k,) in mM, held at its end values outside the knots. Differentiable in `parameters` and `plasma`; times
    are concrete arrays.
    """
    ktrans, ve, vp = jnp.asarray(parameters)
    curve = _Curve.through(times_min, plasma_times_min, plasma)
    return vp * curve.plasma[curve.at] + ktrans * _convolved(ktrans / ve, curve)


def fit_perfusion(
    concentration: ArrayLike,
    times_min: ArrayLike,
    plasma_times_min: ArrayLike,
    plasma: ArrayLike,
    *,
    arrival_min: float = 0.0,
    initial_seconds: tuple[int, ...] = (60, 90),
    max_steps: int = 60,
) -> PerfusionMaps:
    """Fit the extended Tofts model to every voxel by Levenberg-Marquardt, many voxels at a time.

    Least squares in concentration. The bounds, 0 to 5 / min for Ktrans and 0 to 1 for ve and vp, are kept by logistic
    transforms. Standard deviations are those of the Gauss-Newton Hessian in the parameters themselves,
    noise² (JᵀJ)⁻¹ with the noise from the residuals; they hold where the residuals are independent, and tell
    nothing of errors of the arterial input, T10 or the agent's arrival, which are common to all voxels. They are
    large, up to infinity, where the data say nothing, such as ve without leakage.

    **Arguments:**

    - `concentration`: (..., t) in mM, NaN in a series where it is not to be fitted.
    - `times_min`: (t,) ascending, min. `plasma_times_min`, `plasma`: (k,) as of `tofts_concentration`.
    - `arrival_min`: when the agent comes, from where the initial areas are counted for `initial_seconds` (s); an area
      that outlasts the series is NaN.

    Raises `InputError` for shapes that do not match, times that do not ascend, or fewer than five of them.
    """
    concentration = np.asarray(concentration, float)
    times, knots, plasma = (np.asarray(x, float) for x in (times_min, plasma_times_min, plasma))
    if times.shape != concentration.shape[-1:] or len(times) < 5 or not (np.diff(times) > 0).all():
        raise InputError("times_min must ascend, with one time for each of at least five images")
    if knots.shape != plasma.shape or len(knots) < 2 or not (np.diff(knots) > 0).all() or not np.any(plasma > 0):
        raise InputError("plasma_times_min must ascend, with one concentration in plasma for each and one above 0")
    if times[0] < knots[0] or times[-1] > knots[-1]:
        raise InputError(f"the plasma curve must cover the images, {times[0]:g} to {times[-1]:g} min")
    shape = concentration.shape[:-1]
    series = concentration.reshape(-1, len(times))
    fitted = np.isfinite(series).all(axis=1)
    data = series[fitted]
    found = [np.zeros((0, 10))]
    curve = _Curve.through(times, knots, plasma)
    # Chunks of one shape are compiled once.
    size = min(CHUNK, max(len(data), 1))
    for start in range(0, len(data), size):
        chunk = data[start : start + size]
        padded = np.pad(chunk, ((0, size - len(chunk)), (0, 0)), mode="edge")
        found.append(np.asarray(_fit_chunk(padded, curve, max_steps))[: len(chunk)])
    columns = np.full((10, len(series)), np.nan)
    columns[:, fitted] = np.concatenate(found).T
    columns = columns.reshape(10, *shape)
    names = ("ktrans", "ve", "vp", "kep")
    return PerfusionMaps(
        values=dict(zip(names, columns[:4], strict=True)),
        standard_deviations=dict(zip(names, columns[4:8], strict=True)),
        initial_area={s: initial_area(concentration, times, s, arrival_min=arrival_min) for s in initial_seconds},
        noise=columns[8],
        r_squared=columns[9],
    )


def initial_area(
    concentration: ArrayLike, times_min: ArrayLike, seconds: float, *, arrival_min: float = 0.0
) -> np.ndarray:
    """Area (mM min) under `concentration` (..., t) in the `seconds` after the arrival, linear between the images.

    NaN (...) where the series ends sooner. It needs no model and no arterial input.
    """
    times = np.asarray(times_min, float)
    end = arrival_min + seconds / 60
    if arrival_min < times[0] or end > times[-1]:
        return np.full(np.shape(concentration)[:-1], np.nan)
    grid = np.unique(np.concatenate([times[(times > arrival_min) & (times < end)], [arrival_min, end]]))
    index = np.clip(np.searchsorted(times, grid, side="right") - 1, 0, len(times) - 2)
    part = (grid - times[index]) / (times[index + 1] - times[index])
    values = np.asarray(concentration, float)
    return np.asarray(np.trapezoid(values[..., index] * (1 - part) + values[..., index + 1] * part, grid, axis=-1))


class _Curve(NamedTuple):
    """The plasma between knots at which every image lies: intervals start at `plasma` (n,) and rise by `rises`.

    `widths` are the lengths that occur, `kind` which one an interval has, `at` the knots of the images.
    """

    plasma: Array
    rises: Array
    widths: Array
    kind: np.ndarray
    at: np.ndarray

    @classmethod
    def through(cls, times, knots, plasma) -> "_Curve":
        merged = np.union1d(times, knots)
        # Intervals that are equal but for rounding share their exponentials.
        widths = np.diff(merged)
        _, first, kind = np.unique(widths.round(12), return_index=True, return_inverse=True)
        values = jnp.interp(merged, jnp.asarray(knots), jnp.asarray(plasma))
        return cls(values, jnp.diff(values), jnp.asarray(widths[first]), kind, np.searchsorted(merged, times))


def _convolved(kep, curve: _Curve):
    """∫ Cp(s) exp(-kep (t - s)) ds (mM min) at the images.

    Over an interval of width h, with x = kep h, a = (1 - exp(-x)) / x and b = (1 - a) / x, the integral I becomes
    exp(-x) I + h (a start + b rise).
    """
    x = kep * curve.widths
    small = x < 0.5
    # b = sum (-x)^n / (n + 2)!: the quotients lose all digits as x goes to 0.
    series = jnp.zeros_like(x)
    for n in range(13, 1, -1):
        series = (1 - x * series) / n
    large = jnp.where(small, 1.0, x)
    b = jnp.where(small, series, (1 - (1 - jnp.exp(-large)) / large) / large)
    a = 1 - x * b
    decay, gain = 1 - x * a, curve.widths[curve.kind]
    gain = gain * (a[curve.kind] * curve.plasma[:-1] + b[curve.kind] * curve.rises)

    def step(integral, interval):
        integral = interval[0] * integral + interval[1]
        return integral, integral

    first = jnp.zeros_like(gain[0])
    integrals = jax.lax.scan(step, first, (decay[curve.kind], gain))[1]
    return jnp.concatenate([first[None], integrals])[curve.at]


@partial(jax.jit, static_argnames="max_steps")
def _fit_chunk(series, curve: _Curve, max_steps: int):
    """(voxels, 10): Ktrans, ve, vp, kep, their standard deviations, noise, r²."""
    return jax.vmap(lambda data: _fit_one(data, curve, max_steps))(series)


def _fit_one(data, curve: _Curve, max_steps: int):
    """One voxel. Optimistix takes six times as long: it cannot know that only kep needs the integral's derivative."""
    tiny, tolerance = jnp.finfo(data.dtype).tiny, jnp.finfo(data.dtype).eps ** 0.5

    def model(parameters):
        """The concentration and its (t, 3) Jacobian; only kep needs a derivative of the integral."""
        ktrans, ve, vp = parameters
        kep = ktrans / ve
        integral, slope = jax.jvp(lambda rate: _convolved(rate, curve), (kep,), (jnp.ones_like(kep),))
        plasma = curve.plasma[curve.at]
        columns = [integral + kep * slope, -(kep**2) * slope, plasma]
        return vp * plasma + ktrans * integral, jnp.stack(columns, axis=1)

    def linearised(free):
        """Half the squared misfit's Hessian and gradient, and the misfit, in the free parameters."""
        fraction = jax.nn.sigmoid(free)
        value, jacobian = model(LARGEST * fraction)
        jacobian = jacobian * (LARGEST * fraction * (1 - fraction))
        return product(jacobian.T, jacobian), product(jacobian.T, value - data), jnp.sum(jnp.square(value - data))

    def step(state):
        free, (hessian, gradient, loss), damping, count, _ = state
        # Marquardt's scaling; the floor is for a parameter that the data do not see.
        scale = jnp.maximum(jnp.diagonal(hessian), 1e-8 * jnp.trace(hessian) + tiny)
        change = -jnp.linalg.solve(hessian + damping * jnp.diag(scale), gradient)
        trial = free + jnp.clip(change, -2.0, 2.0)
        new = linearised(trial)
        better = new[2] < loss
        small = better & (loss - new[2] < tolerance**2 * loss)
        done = (jnp.max(jnp.abs(change)) < tolerance) | (damping > 1e8) | small
        free, *kept = (jnp.where(better, a, b) for a, b in zip((trial, *new), (free, *state[1]), strict=True))
        return free, tuple(kept), jnp.where(better, damping / 5, damping * 4), count + 1, done

    start = jnp.asarray(START, data.dtype)
    free = jnp.log(start / (LARGEST - start)).astype(data.dtype)
    state = (free, linearised(free), jnp.asarray(1e-2, data.dtype), 0, jnp.asarray(False))
    free, (_, _, loss), *_ = jax.lax.while_loop(lambda s: ~s[4] & (s[3] < max_steps), step, state)
    found = LARGEST * jax.nn.sigmoid(free)
    _, jacobian = model(found)
    variance = loss / (len(data) - 3)
    covariance = variance * jnp.linalg.inv(product(jacobian.T, jacobian))
    kep = found[0] / found[1]
    to_kep = jnp.stack([1 / found[1], -kep / found[1], jnp.zeros_like(kep)])
    variances = jnp.append(jnp.diagonal(covariance), product(product(to_kep, covariance), to_kep))
    # Rounding makes a singular matrix's inverse negative or NaN.
    spread = jnp.where(variances >= 0, jnp.sqrt(jnp.maximum(variances, 0)), jnp.inf)
    r_squared = 1 - loss / jnp.sum(jnp.square(data - data.mean()))
    return jnp.concatenate([found, kep[None], spread, jnp.sqrt(variance)[None], r_squared[None]])
