"""Training a proliferating fraction through the solver, from serum PSA and a follow-up of the tumour's density."""

import logging
from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, ArrayLike, Float

from twinjax.core.errors import InputError
from twinjax.model.neural_fraction import trained_part
from twinjax.model.prostate import Prostate
from twinjax.simulation import simulate
from twinjax.treatment import Regimen

log = logging.getLogger("twinjax")

# The length L of the smoothness, mm.
CENTIMETRE = 10.0


class PSASeries(NamedTuple):
    """**Fields:** `days` since baseline, ascending, and serum PSA (`values`, ng/mL) on them."""

    days: Sequence[float]
    values: Sequence[float]


class DensityFollowUp(NamedTuple):
    """**Fields:** the `day` of a scan, and the tumour's `density` on the grid of the model that it showed."""

    day: float
    density: ArrayLike


class TrainedFraction(NamedTuple):
    """**Fields:** `model` with the trained fraction; `losses` (steps,) of Adam and then of L-BFGS."""

    model: Prostate
    losses: Float[np.ndarray, " steps"]


class FractionTraining(eqx.Module):
    """Adam, then L-BFGS, on what the solver's reverse gradient says.

    loss = w_I mean (c - c_seen)² / mean c_seen² + w_P mean (log PSA - log PSA_seen)² + w_S mean |L grad phi|²
    + w_R mean (phi - mean phi)²

    over the gland; the terms in phi, at the days of the scans, keep it smooth (L = 1 cm) and even where the data say
    nothing. The form is our own, after the data that Camacho-Gomez et al. 2025 (npj Digit Med, s41746-025-01890-x)
    train on.

    **Fields:** `adam_steps` with `learning_rate`, `lbfgs_steps`; the weights `density_weight` w_I, `psa_weight` w_P,
    `smoothness_weight` w_S and `evenness_weight` w_R; `max_step` (days) of the solver.
    """

    adam_steps: int = 5000
    learning_rate: float = 1e-3
    lbfgs_steps: int = 200
    density_weight: float = 1.0
    psa_weight: float = 1.0
    smoothness_weight: float = 1e-4
    evenness_weight: float = 1e-4
    max_step: float = 10.0

    def __check_init__(self):
        if self.adam_steps < 0 or self.lbfgs_steps < 0 or self.adam_steps + self.lbfgs_steps < 1:
            raise InputError("FractionTraining: adam_steps and lbfgs_steps must be >= 0, and one of them positive")

    def fit(
        self,
        model: Prostate,
        regimen: Regimen,
        density: Array,
        psa: PSASeries,
        follow_ups: Sequence[DensityFollowUp] = (),
    ) -> TrainedFraction:
        """Train `model.proliferating_fraction`, a network or a `ConstantFraction`; the rest of `model` is kept.

        `density`: (grid) the tumour at day 0. Raises `InputError` where the data do not fit each other.
        """
        days, data = _checked(model, psa, follow_ups)
        moving, still = eqx.partition(model.proliferating_fraction, trained_part(model.proliferating_fraction))
        problem = (still, model, regimen, jnp.asarray(density, float), days, data)

        @eqx.filter_jit
        def value_and_gradient(moving, problem):
            return eqx.filter_value_and_grad(self._loss)(moving, problem)

        losses = []
        adam = optax.adam(self.learning_rate)
        state = adam.init(moving)
        for _ in range(self.adam_steps):
            loss, gradient = value_and_gradient(moving, problem)
            losses.append(float(loss))
            updates, state = adam.update(gradient, state, moving)
            moving = eqx.apply_updates(moving, updates)
        moving, later = self._lbfgs(moving, problem)
        losses += later
        log.info("  trained for %d steps, loss %.3g to %.3g", len(losses), losses[0], losses[-1])
        trained = eqx.combine(moving, still)
        return TrainedFraction(eqx.tree_at(lambda m: m.proliferating_fraction, model, trained), np.asarray(losses))

    def _lbfgs(self, moving, problem):
        if not self.lbfgs_steps:
            return moving, []
        lbfgs = optax.lbfgs()

        @eqx.filter_jit
        def step(moving, state, problem):
            def value(moving):
                return self._loss(moving, problem)

            loss, gradient = optax.value_and_grad_from_state(value)(moving, state=state)
            updates, state = lbfgs.update(gradient, state, moving, value=loss, grad=gradient, value_fn=value)
            return optax.apply_updates(moving, updates), state, loss

        state, losses = lbfgs.init(moving), []
        for _ in range(self.lbfgs_steps):
            moving, state, loss = step(moving, state, problem)
            losses.append(float(jnp.asarray(loss)))
        return moving, losses

    def _loss(self, moving, problem):
        still, model, regimen, density, days, (psa_index, log_psa, scans) = problem
        model = eqx.tree_at(lambda m: m.proliferating_fraction, model, eqx.combine(moving, still))
        states = simulate(model, regimen, model.initial_state(density), days, max_step=self.max_step).states
        predicted = jnp.log(jnp.maximum(states.serum_psa[psa_index], 1e-6))
        loss = self.psa_weight * jnp.mean((predicted - log_psa) ** 2)
        for index, seen in scans:
            misfit = jnp.sum((states.density[index] - seen) ** 2) / jnp.sum(seen**2)
            loss += self.density_weight * misfit
            fraction = model.proliferating_fraction(model.domain, states.density[index], states.day[index])
            if fraction.ndim:
                loss += self._roughness(fraction.reshape(model.domain.shape), model.domain)
        return loss

    def _roughness(self, fraction, domain):
        mask = domain.mask
        mean = jnp.sum(jnp.where(mask, fraction, 0.0)) / jnp.sum(mask)
        loss = self.evenness_weight * jnp.sum(jnp.where(mask, fraction - mean, 0.0) ** 2) / jnp.sum(mask)
        for axis, spacing in enumerate(domain.spacing):
            if domain.shape[axis] < 2:
                continue
            both = jnp.diff(mask.astype(int), axis=axis) == 0
            both &= jax.lax.slice_in_dim(mask, 1, None, axis=axis)
            slope = jnp.where(both, jnp.diff(fraction, axis=axis) * CENTIMETRE / spacing, 0.0)
            loss += self.smoothness_weight * jnp.sum(slope**2) / jnp.sum(mask)
        return loss


def _checked(model: Prostate, psa: PSASeries, follow_ups: Sequence[DensityFollowUp]):
    """All days with data, and what was seen on them: indices into the days and values."""
    psa_days, values = np.asarray(psa.days, float), np.asarray(psa.values, float)
    if psa_days.shape != values.shape or psa_days.size == 0 or not (values > 0).all():
        raise InputError("psa: give one positive value (ng/mL) per day, at least one")
    days = np.unique(np.concatenate([psa_days, [float(scan.day) for scan in follow_ups]]))
    scans = []
    for scan in follow_ups:
        seen = jnp.asarray(scan.density, float)
        if seen.shape != model.domain.shape or not bool(jnp.any(seen > 0)):
            raise InputError(
                f"the density of day {scan.day:g} must have the shape {model.domain.shape} of the grid and a tumour in "
                f"it, got shape {seen.shape}"
            )
        scans.append((int(np.searchsorted(days, scan.day)), seen))
    return days, (np.searchsorted(days, psa_days), jnp.log(jnp.asarray(values, float)), scans)
