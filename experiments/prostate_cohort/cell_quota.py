"""The two-population cell quota model fitted to every patient at once, by Levenberg-Marquardt on its posterior."""

import sys
import time
from typing import NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from cohort import OFFSET, Case
from jaxtyping import Array

from twinjax.calibration import Prior
from twinjax.calibration.tumor import Tumor
from twinjax.core.config import load_named
from twinjax.model import AbstractTumorModel, InitialSize
from twinjax.simulation import simulate
from twinjax.treatment import AndrogenDeprivation, Regimen

# Deviations of the logarithms of PSA and testosterone, and the offset (nmol/L) of the latter. They hold the error of
# the model too, and are our own choice: a laboratory errs by less.
PSA_NOISE, TESTOSTERONE_NOISE, TESTOSTERONE_OFFSET = 0.4, 0.6, 0.2
# A fit has settled when so many steps lessen the cost (half the sum of squares) by less than this.
SETTLED, GAIN = 4, 0.02
TOLERANCE = diffrax.PIDController(rtol=1e-5, atol=1e-7)


class Batch(NamedTuple):
    """All cases as arrays: (cases, days) and (cases, phases), filled up with the last day and phases of no length."""

    days: Array
    log_psa: Array
    log_testosterone: Array
    fitted: Array
    starts: Array
    durations: Array

    @classmethod
    def of(cls, cases: list[Case]) -> "Batch":
        most, phases = max(c.days.size for c in cases), 2 * max(c.starts.size for c in cases)

        def filled(rows, count, last=None):
            return jnp.asarray([np.append(r, [r[-1] if last is None else last] * (count - len(r))) for r in rows])

        # A phase of no length marks each end, so that the solver stops there.
        starts = [np.sort(np.concatenate([c.starts, c.starts + c.durations])) for c in cases]
        lengths = [np.ravel([(d, 0.0) for d in c.durations]) for c in cases]
        return cls(
            filled([c.days for c in cases], most),
            filled([c.log_psa for c in cases], most),
            filled([np.log(c.testosterone + TESTOSTERONE_OFFSET) for c in cases], most),
            filled([c.fitted.astype(float) for c in cases], most, 0.0),
            filled(starts, phases),
            filled(lengths, phases, 0.0),
        )


class Fit(NamedTuple):
    """`psa` (cases, days): predicted on all days; `costs` (steps, cases); `values`: parameter to (cases,)."""

    psa: np.ndarray
    costs: np.ndarray
    values: dict[str, np.ndarray]


def fit(cases: list[Case], *, steps: int = 60, seconds: float = float("inf")) -> Fit:
    """The posterior mode of every case, from the prior median.

    Until no case gains more than `GAIN` in a step, or `steps` or `seconds` have gone by.
    """
    model, prior = (
        load_named("model", "prostate_androgen_deprivation"),
        load_named("prior", "prostate_androgen_deprivation"),
    )
    batch = Batch.of(cases)

    @eqx.filter_jit
    def expansion(z):
        def of_case(z, case):
            def along(direction):
                return jax.jvp(lambda z: _residuals(model, prior, z, case), (z,), (direction,), has_aux=True)

            return jax.vmap(along, out_axes=(None, 0, None))(jnp.eye(z.size))

        residuals, jacobian, psa = jax.vmap(of_case)(z, batch)
        return residuals, jacobian, psa

    began = time.perf_counter()
    z = np.zeros((len(cases), len(prior.names)))
    damping, costs = np.full(len(cases), 1.0), []
    cost, gradient, hessian, psa = _normal_equations(*expansion(jnp.asarray(z)))
    for _ in range(steps):
        eye = np.eye(z.shape[1])
        step = -np.linalg.solve(hessian + damping[:, None, None] * eye, gradient[..., None])[..., 0]
        step *= np.minimum(1, 1.5 / np.abs(step).max(axis=1))[:, None]
        trial = _normal_equations(*expansion(jnp.asarray(z + step)))
        better = trial[0] < cost
        z[better] += step[better]
        for old, new in zip((cost, gradient, hessian, psa), trial, strict=True):
            old[better] = new[better]
        damping = np.clip(np.where(better, damping / 3, damping * 4), 1e-6, 1e6)
        costs.append(cost.copy())
        elapsed = time.perf_counter() - began
        print(f"step {len(costs)}: sum of costs {cost.sum():.2f}, {elapsed:.0f} s", file=sys.stderr, flush=True)
        # A step that was refused gains nothing, and yet more damping may: several in a row must gain nothing.
        settled = len(costs) > SETTLED and (costs[-1 - SETTLED] - cost).max() < GAIN
        if settled or elapsed > seconds:
            break
    values = {name: np.asarray(value) for name, value in jax.vmap(prior.values)(jnp.asarray(z)).items()}
    return Fit(psa, np.asarray(costs), values)


def _residuals(model: AbstractTumorModel, prior: Prior, z, case: Batch):
    """((residuals of the fitted days and of the prior), predicted PSA on all days) of one case."""
    regimen = Regimen([AndrogenDeprivation(case.starts, case.durations)])
    tumor = Tumor(model, regimen, InitialSize(jnp.exp(case.log_psa[0]) - OFFSET), {}).with_parameters(prior, z)
    trajectory = simulate(
        tumor.model,
        tumor.regimen,
        tumor.state0(),
        case.days,
        # At these supply rates the system is not stiff.
        solver=diffrax.Tsit5(),
        stepsize_controller=TOLERANCE,
        adjoint=diffrax.ForwardMode(),
    )
    predicted = jax.vmap(tumor.model.quantities)(trajectory.states)
    psa, testosterone = predicted["psa_ng_ml"], predicted["testosterone_nmol_l"]
    of_psa = (jnp.log(jnp.maximum(psa, 0.0) + OFFSET) - case.log_psa) / PSA_NOISE
    of_testosterone = (
        jnp.log(jnp.maximum(testosterone, 0.0) + TESTOSTERONE_OFFSET) - case.log_testosterone
    ) / TESTOSTERONE_NOISE
    together = jnp.concatenate([case.fitted * of_psa, case.fitted * of_testosterone, z])
    return jnp.where(trajectory.success, together, jnp.nan), psa


def _normal_equations(residuals, jacobian, psa):
    """Cost (infinite where the solve fails), gradient and Gauss-Newton Hessian of each case, in numpy."""
    residuals, jacobian = np.asarray(residuals), np.asarray(jacobian)
    solved = np.isfinite(residuals).all(axis=1) & np.isfinite(jacobian).all(axis=(1, 2))
    cost = np.where(solved, 0.5 * np.sum(np.nan_to_num(residuals) ** 2, axis=1), np.inf)
    residuals, jacobian = np.nan_to_num(residuals), np.nan_to_num(jacobian)
    gradient = np.einsum("cpr,cr->cp", jacobian, residuals)
    hessian = np.einsum("cpr,cqr->cpq", jacobian, jacobian)
    return cost, gradient, hessian, np.array(psa)
