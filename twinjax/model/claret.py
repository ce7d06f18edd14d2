"""Tumour growth inhibition with a drug effect that wears off (Claret)."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from twinjax.core.errors import InputError
from twinjax.model.closed_form import AbstractClosedFormModel
from twinjax.model.volume import sphere_volume


class ClaretState(NamedTuple):
    """`size_mm`: sum of diameters; `sensitivity`: what is left of the drug's effect, 1 at the start of treatment."""

    size_mm: Float[Array, ""]
    sensitivity: Float[Array, ""]


class ClaretInhibition(AbstractClosedFormModel):
    """dy/dt = (k_ge - k_drug s - k(t) / 3) y, ds/dt = -lambda s: the sum of diameters y (mm) from the day of treatment.

    With s(0) = 1 and no other treatment, y = y0 exp(k_ge t - k_drug (1 - exp(-lambda t)) / lambda). The exposure to
    the trial's drug is part of k_drug. What a regimen adds kills on top, our own addition: it takes a share of the
    volume, hence a third of the log kill of a length. Form: Claret et al. 2009 (J Clin Oncol 27:4103); default values:
    first-line treatment of non-small-cell lung cancer, Claret et al. 2014.

    **Fields** (1/day): `growth_rate` k_ge, `drug_kill_rate` k_drug, `resistance_rate` lambda.
    """

    growth_rate: Float[Array, ""]
    drug_kill_rate: Float[Array, ""]
    resistance_rate: Float[Array, ""]

    def __init__(
        self,
        *,
        growth_rate: ArrayLike = 0.00107,
        drug_kill_rate: ArrayLike = 0.0103,
        resistance_rate: ArrayLike = 0.0193,
    ):
        self.growth_rate = jnp.asarray(growth_rate, float)
        self.drug_kill_rate = jnp.asarray(drug_kill_rate, float)
        self.resistance_rate = jnp.asarray(resistance_rate, float)

    @property
    def size_quantity(self):
        return "sum_of_diameters_mm"

    def transport(self, open_tissue):
        if open_tissue is not None:
            raise InputError("a resection needs a model with space; leave it out of the regimen of a Claret model")

    def vector_field(self, t, state, forcing):
        rate = self.growth_rate - self.drug_kill_rate * state.sensitivity - forcing.kill_rate / 3
        return ClaretState(rate * state.size_mm, -self.resistance_rate * state.sensitivity)

    def untreated(self, state, elapsed):
        faded = jnp.exp(-self.resistance_rate * elapsed)
        slow = jnp.abs(self.resistance_rate * elapsed) < 1e-5
        safe = jnp.where(slow, 1.0, self.resistance_rate)
        acting = jnp.where(slow, elapsed * (1 - self.resistance_rate * elapsed / 2), -jnp.expm1(-safe * elapsed) / safe)
        log_ratio = self.growth_rate * elapsed - self.drug_kill_rate * state.sensitivity * acting
        return ClaretState(state.size_mm * jnp.exp(log_ratio), state.sensitivity * faded)

    def apply_survival(self, state, fraction):
        return ClaretState(state.size_mm * jnp.cbrt(fraction), state.sensitivity)

    def cell_density(self, state):
        """Zero: this curve has no carrying capacity, and no treatment that needs one acts on it."""
        return jnp.zeros_like(state.size_mm)

    def initial_state(self, size):
        """`size`: sum of diameters, mm, on the day on which treatment starts."""
        return ClaretState(size, jnp.ones_like(size))

    def quantities(self, state):
        """Sum of diameters; and, as of one sphere, its `diameter_mm` and `volume_mm3`."""
        size = state.size_mm
        return {"sum_of_diameters_mm": size, "diameter_mm": size, "volume_mm3": sphere_volume(size)}

    @property
    def time_to_growth(self) -> Array:
        """Day of the smallest sum, ln(k_drug / k_ge) / lambda (Claret et al. 2009); 0 where it only grows."""
        ratio = jnp.maximum(self.drug_kill_rate / self.growth_rate, 1.0)
        return jnp.log(ratio) / self.resistance_rate
