"""Proliferating and necrotic tumour cells that share a nutrient."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from twinjax.domain import DiffusionOperator, Domain
from twinjax.model.fisher_kpp import GLIOMA_LEAVES_OUT
from twinjax.model.model import AbstractReactionDiffusionModel, placed

# Steepness of the switch to necrosis in the nutrient (1 / fraction), as in TumorGrowthToolkit.
STEEPNESS = 50.0
# How near (fraction of the tissue) to full the dead cells come before those that follow dissolve: our own choice.
FULL = 0.05
# The density at which a tumour of which only the density is known begins to starve: our own choice.
STARVED = 0.9


class ProliferatingNecrotic(AbstractReactionDiffusionModel):
    """Cells that starve become necrotic; three fields on the tissue mask, zero flux at its wall.

        dP/dt = div(D(x) grad P) + rho S P (1 - P - N) - lambda H(S) P - k(t) P
        dN/dt = lambda H(S) P (1 - exp(-(1 - N) / 0.05))
        dS/dt = D_s div(grad S) - eta S P,      H(S) = 1 / (1 + exp(50 (S - S_c)))

    P proliferating and N necrotic cells are fractions of what the tissue can hold, S the nutrient (1: healthy tissue).
    The equations are those of the two-compartment solver FK_2c of TumorGrowthToolkit
    (github.com/m1balcerak/TumorGrowthToolkit, MIT), but for the last factor of dN/dt, which is our own: dead cells fill
    the space there is, and dissolve where there is none. There, cells stop moving into full tissue instead. D(x) is as
    in `FisherKPP`; the nutrient moves alike in all tissue. With lambda = 0 and eta = 0 this is `FisherKPP`.

    Drugs and radiotherapy kill P, and what they kill is cleared. The defaults of the four constants that `FisherKPP`
    has not are our own choice within the ranges that the toolkit draws synthetic patients from (lambda 0.05 to 0.7
    1/day, S_c 0.05 to 0.7, D_s 0.05 to 4 mm²/day, eta 0.01 to 0.5 1/day); it gives no fits to patients.

    **Fields:** `diffusivity` D_w (mm²/day), `white_grey_ratio` r, `proliferation_rate` rho (1/day), `necrosis_rate`
    lambda (1/day), `nutrient_threshold` S_c, `nutrient_diffusivity` D_s (mm²/day), `nutrient_uptake` eta (1/day),
    `domain`. The state is a dict of fields on the grid: `proliferating`, `necrotic`, `nutrient`.
    """

    leaves_out: ClassVar = GLIOMA_LEAVES_OUT
    domain: Domain
    diffusivity: Float[Array, ""]
    white_grey_ratio: Float[Array, ""]
    proliferation_rate: Float[Array, ""]
    necrosis_rate: Float[Array, ""]
    nutrient_threshold: Float[Array, ""]
    nutrient_diffusivity: Float[Array, ""]
    nutrient_uptake: Float[Array, ""]

    def __init__(
        self,
        domain: Domain,
        *,
        resolution_mm: float | None = None,
        diffusivity: ArrayLike = 0.1,
        white_grey_ratio: ArrayLike = 10.0,
        proliferation_rate: ArrayLike = 0.05,
        necrosis_rate: ArrayLike = 0.1,
        nutrient_threshold: ArrayLike = 0.3,
        nutrient_diffusivity: ArrayLike = 0.5,
        nutrient_uptake: ArrayLike = 0.01,
    ):
        """`resolution_mm` brings the domain to an isotropic grid of that voxel edge first."""
        self.domain = placed(domain, resolution_mm)
        self.diffusivity = jnp.asarray(diffusivity, float)
        self.white_grey_ratio = jnp.asarray(white_grey_ratio, float)
        self.proliferation_rate = jnp.asarray(proliferation_rate, float)
        self.necrosis_rate = jnp.asarray(necrosis_rate, float)
        self.nutrient_threshold = jnp.asarray(nutrient_threshold, float)
        self.nutrient_diffusivity = jnp.asarray(nutrient_diffusivity, float)
        self.nutrient_uptake = jnp.asarray(nutrient_uptake, float)

    @property
    def local(self):
        return True

    def on(self, domain: Domain) -> "ProliferatingNecrotic":
        return eqx.tree_at(lambda model: model.domain, self, domain)

    def transport(self, open_tissue):
        mask = self.domain.open_mask(open_tissue)
        tissue = self.domain.white_matter + self.domain.grey_matter / self.white_grey_ratio
        spacing = self.domain.spacing
        return {
            "cells": DiffusionOperator.create(tissue, mask, spacing, scale=self.diffusivity),
            "nutrient": DiffusionOperator.create(
                jnp.ones(self.domain.shape), mask, spacing, scale=self.nutrient_diffusivity
            ),
        }

    def vector_field(self, t, state, forcing):
        change = self.reaction(state, forcing.kill_rate)
        cells, nutrient = forcing.transport["cells"], forcing.transport["nutrient"]
        return {
            "proliferating": change["proliferating"] + cells(state["proliferating"]),
            "necrotic": change["necrotic"],
            "nutrient": change["nutrient"] + nutrient(state["nutrient"]),
        }

    def starvation(self, nutrient: Array) -> Array:
        """H(S): the share of the necrosis rate at this nutrient."""
        return jax.nn.sigmoid(STEEPNESS * (self.nutrient_threshold - nutrient))

    def reaction(self, density, kill_rate):
        """As in `AbstractSpatialModel`; `density` and the result are dicts like the state."""
        p, n, s = density["proliferating"], density["necrotic"], density["nutrient"]
        dying = self.necrosis_rate * self.starvation(s) * p
        return {
            "proliferating": self.proliferation_rate * s * p * (1 - p - n) - dying - kill_rate * p,
            "necrotic": -dying * jnp.expm1(-(1 - n) / FULL),
            "nutrient": -self.nutrient_uptake * s * p,
        }

    def reaction_flow(self, state, duration, kills, levels):
        """Of second order: nutrient, necrosis and growth by their exact flows, one half before and one after.

        With P = w p, where w is what the kills of the interval have left at each time, p is smooth. Its equations hold
        w only where P acts on others, and there its mean over the interval takes its place. Every part keeps P and S
        positive and N below 1.
        """
        # What is left by each kill counts from then on.
        survived = jnp.exp(-jnp.cumsum(kills.log_kill))
        before = jnp.concatenate([jnp.ones(1), survived])
        later = jnp.where(duration > 0, 1 - kills.elapsed / jnp.where(duration > 0, duration, 1.0), 0.0)
        mean = 1 + jnp.sum((before[1:] - before[:-1]) * later)
        p, n, s = state["proliferating"], state["necrotic"], state["nutrient"]
        half = duration / 2
        s = self._eaten(p * mean, s, half)
        p, n = self._starved(p, n, s, half, mean)
        p = self._grown(p, n, s, duration, mean)
        p, n = self._starved(p, n, s, half, mean)
        s = self._eaten(p * mean, s, half)
        return {"proliferating": p * before[-1], "necrotic": n, "nutrient": s}

    def _eaten(self, p, s, duration):
        return s * jnp.exp(-self.nutrient_uptake * p * duration)

    def _starved(self, p, n, s, duration, mean):
        left = p * jnp.exp(-self.necrosis_rate * self.starvation(s) * duration)
        dead = mean * (p - left)
        return left, n + dead - FULL * jnp.log1p(jnp.exp(-(1 - n) / FULL) * jnp.expm1(dead / FULL))

    def _grown(self, p, n, s, duration, mean):
        # dp/dt = r p (room - mean p), logistic; its room may be nothing.
        rate = self.proliferation_rate * s
        exponent = rate * (1 - n) * duration
        near = jnp.abs(exponent) < 1e-5
        safe = jnp.where(near, 1.0, exponent)
        integral = duration * jnp.where(near, 1 + exponent / 2, jnp.expm1(safe) / safe)
        return p * jnp.exp(exponent) / (1 + rate * mean * integral * p)

    def spread(self, state, steps, duration, diffuse):
        return {
            "proliferating": diffuse(steps["cells"], state["proliferating"]),
            "necrotic": state["necrotic"],
            "nutrient": diffuse(steps["nutrient"], state["nutrient"]),
        }

    def reach(self, duration):
        spread = jnp.maximum(self.diffusivity, self.nutrient_diffusivity) * duration
        front = 2 * duration * jnp.sqrt(self.diffusivity * self.proliferation_rate)
        return front + 4 * jnp.sqrt(2 * spread)

    def apply_survival(self, state, fraction):
        return state | {"proliferating": state["proliferating"] * fraction}

    def cell_density(self, state):
        """P + N: all that displaces healthy tissue."""
        return state["proliferating"] + state["necrotic"]

    def viable_density(self, state) -> Array:
        """P, which restricts the diffusion of water; necrosis does not."""
        return state["proliferating"]

    def necrotic_density(self, state) -> Array:
        return state["necrotic"]

    def initial_state(self, size):
        """Of a density u: nutrient falls linearly, to S_c at u = 0.9; the share H(S) is necrotic. Our own choice."""
        left = 1 - (1 - self.nutrient_threshold) * size / STARVED
        nutrient = jnp.where(self.domain.mask, jnp.maximum(left, 0.0), 0.0)
        necrotic = size * self.starvation(nutrient)
        return {"proliferating": size - necrotic, "necrotic": necrotic, "nutrient": nutrient}

    def quantities(self, state):
        volume = self.domain.voxel_volume
        return {
            "cell_volume_mm3": jnp.sum(state["proliferating"]) * volume,
            "necrotic_volume_mm3": jnp.sum(state["necrotic"]) * volume,
        }
