"""Tumour growth inhibition as the sum of a decaying and a growing part (Stein)."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from twinjax.core.errors import InputError
from twinjax.model.closed_form import AbstractClosedFormModel
from twinjax.model.volume import sphere_volume

DAYS_PER_WEEK = 7.0


class SteinState(NamedTuple):
    """Lengths in mm whose sum, `decaying` + `growing` - `base`, is the sum of diameters; all equal at the start."""

    decaying: Float[Array, ""]
    growing: Float[Array, ""]
    base: Float[Array, ""]


class SteinRegression(AbstractClosedFormModel):
    """y = B (exp(-k_s t) + exp(k_g t) - 1): the sum of diameters (mm) from the day of treatment.

    Here as the system that it solves: three lengths, all B at the start, of which one decays, one grows and one stays.
    What a regimen adds kills on top, our own addition: it takes a share of the volume, hence a third of the log kill of
    each length. Form: Stein et al. 2011 (Clin Cancer Res 17:907); default
    values: pembrolizumab in non-small-cell lung cancer, Struemper et al. 2025.

    **Fields:** `shrinkage_rate_per_week` k_s, `growth_rate_per_week` k_g (the unit of the publications).
    """

    shrinkage_rate_per_week: Float[Array, ""]
    growth_rate_per_week: Float[Array, ""]

    def __init__(self, *, shrinkage_rate_per_week: ArrayLike = 0.017, growth_rate_per_week: ArrayLike = 0.00651):
        self.shrinkage_rate_per_week = jnp.asarray(shrinkage_rate_per_week, float)
        self.growth_rate_per_week = jnp.asarray(growth_rate_per_week, float)

    @property
    def size_quantity(self):
        return "sum_of_diameters_mm"

    def transport(self, open_tissue):
        if open_tissue is not None:
            raise InputError("a resection needs a model with space; leave it out of the regimen of a Stein model")

    def vector_field(self, t, state, forcing):
        kill = forcing.kill_rate / 3
        return SteinState(
            -(self.shrinkage_rate_per_week / DAYS_PER_WEEK + kill) * state.decaying,
            (self.growth_rate_per_week / DAYS_PER_WEEK - kill) * state.growing,
            -kill * state.base,
        )

    def untreated(self, state, elapsed):
        weeks = elapsed / DAYS_PER_WEEK
        return SteinState(
            state.decaying * jnp.exp(-self.shrinkage_rate_per_week * weeks),
            state.growing * jnp.exp(self.growth_rate_per_week * weeks),
            state.base,
        )

    def apply_survival(self, state, fraction):
        return SteinState(*(part * jnp.cbrt(fraction) for part in state))

    def cell_density(self, state):
        """Zero: this curve has no carrying capacity, and no treatment that needs one acts on it."""
        return jnp.zeros_like(state.base)

    def initial_state(self, size):
        """`size`: sum of diameters B, mm, on the day on which treatment starts."""
        return SteinState(size, size, size)

    def quantities(self, state):
        """Sum of diameters; and, as of one sphere, its `diameter_mm` and `volume_mm3`."""
        size = state.decaying + state.growing - state.base
        return {"sum_of_diameters_mm": size, "diameter_mm": size, "volume_mm3": sphere_volume(size)}

    @property
    def nadir_week(self) -> Array:
        """Week of the smallest sum, ln(k_s / k_g) / (k_s + k_g); 0 where it only grows."""
        ratio = jnp.maximum(self.shrinkage_rate_per_week / self.growth_rate_per_week, 1.0)
        return jnp.log(ratio) / (self.shrinkage_rate_per_week + self.growth_rate_per_week)
