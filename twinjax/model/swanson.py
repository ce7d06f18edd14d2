"""Serum PSA of an exponentially growing prostate tumour (Swanson et al. 2001)."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from twinjax.model.model import AbstractLumpedModel

MM3_PER_CM3 = 1000.0


class SwansonState(eqx.Module):
    """**Fields:** `volume` (mm³), `psa` (ng/mL)."""

    volume: Float[Array, "..."]
    psa: Float[Array, "..."]


class SwansonPSA(AbstractLumpedModel):
    """dV/dt = rho V - kill V, dp/dt = b_h V_h + b_c V - gamma p (Swanson et al. 2001, Am J Pathol 158:2195).

    Untreated, p(t) = b_h V_h / gamma (1 - exp(-gamma t)) + b_c V_0 (exp(rho t) - exp(-gamma t)) / (rho + gamma)
    + p_0 exp(-gamma t) (`closed_form`).

    **Fields:** `growth_rate` rho (1/day; ln 2 / 365, our own choice), `clearance_rate` gamma (0.23 1/day: half-life 3
    days, Desmée et al. 2015), `benign_secretion_rate` b_h and `tumor_secretion_rate` b_c (ng/mL/day per cm³;
    gamma times 0.07 and 2 ng/mL per cm³, textbook values), `benign_volume` V_h (mm³, 40 cm³), `capacity` (mm³): the
    volume that counts as a density of 1, without effect on growth (our own choice).

    The size of the start is the volume in mm³; PSA begins in balance with it. Quantities: `volume_mm3`, `psa_ng_ml`.
    """

    growth_rate: Float[Array, ""]
    clearance_rate: Float[Array, ""]
    benign_secretion_rate: Float[Array, ""]
    tumor_secretion_rate: Float[Array, ""]
    benign_volume: Float[Array, ""]
    capacity: Float[Array, ""]

    def __init__(
        self,
        *,
        growth_rate: ArrayLike = 0.0019,
        clearance_rate: ArrayLike = 0.23,
        benign_secretion_rate: ArrayLike = 0.0161,
        tumor_secretion_rate: ArrayLike = 0.46,
        benign_volume: ArrayLike = 40e3,
        capacity: ArrayLike = 40e3,
    ):
        self.growth_rate, self.clearance_rate = jnp.asarray(growth_rate, float), jnp.asarray(clearance_rate, float)
        self.benign_secretion_rate = jnp.asarray(benign_secretion_rate, float)
        self.tumor_secretion_rate = jnp.asarray(tumor_secretion_rate, float)
        self.benign_volume, self.capacity = jnp.asarray(benign_volume, float), jnp.asarray(capacity, float)

    @property
    def size_quantity(self):
        return "volume_mm3"

    def transport(self, open_tissue):
        return None

    def vector_field(self, t, state, forcing):
        secreted = self._benign + self.tumor_secretion_rate * state.volume / MM3_PER_CM3
        return SwansonState(
            volume=(self.growth_rate - forcing.kill_rate) * state.volume,
            psa=secreted - self.clearance_rate * state.psa,
        )

    def apply_survival(self, state, fraction):
        return SwansonState(state.volume * fraction, state.psa)

    def cell_density(self, state):
        return state.volume / self.capacity

    def initial_state(self, size):
        tumor = self.tumor_secretion_rate * size / MM3_PER_CM3 / (self.growth_rate + self.clearance_rate)
        return SwansonState(jnp.asarray(size, float), self._benign / self.clearance_rate + tumor)

    def quantities(self, state):
        return {"volume_mm3": state.volume, "psa_ng_ml": state.psa}

    def closed_form(self, state0: SwansonState, t) -> SwansonState:
        """The untreated state after `t` days."""
        cleared, grown = jnp.exp(-self.clearance_rate * t), jnp.exp(self.growth_rate * t)
        tumor = self.tumor_secretion_rate * state0.volume / MM3_PER_CM3 / (self.growth_rate + self.clearance_rate)
        benign = self._benign / self.clearance_rate * (1 - cleared)
        return SwansonState(state0.volume * grown, benign + tumor * (grown - cleared) + state0.psa * cleared)

    @property
    def _benign(self):
        return self.benign_secretion_rate * self.benign_volume / MM3_PER_CM3
