"""Low-grade glioma: proliferating, quiescent and damaged tissue, as a mean diameter (Mazzocco et al. 2015)."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from twinjax.core.errors import InputError
from twinjax.model.model import AbstractLumpedModel

DAYS_PER_MONTH = 365.25 / 12


class MazzoccoState(eqx.Module):
    """**Fields:** `proliferating` P, `quiescent` Q and `damaged` Q_p tissue, each as a diameter in mm."""

    proliferating: Float[Array, "..."]
    quiescent: Float[Array, "..."]
    damaged: Float[Array, "..."]


class Mazzocco(AbstractLumpedModel):
    """With P* = P + Q + Q_p (mm) and the kill rate k(t) of the drug:

        dP/dt   = lambda P (1 - P* / K) + k_QpP Q_p - k_PQ P - exp(-res (t - t_0)) k P     for t > t_0
        dQ/dt   = k_PQ P - k Q
        dQ_p/dt = k Q - k_QpP Q_p - delta Q_p

    Mazzocco et al. 2015 (CPT Pharmacometrics Syst Pharmacol 4:728), 77 patients on temozolomide. Their k is gamma KDE C
    with dC/dt = -KDE C and a unit dose each month: `Chemotherapy` with `sensitivity` gamma KDE and `clearance_rate`
    KDE; gamma 0.254 (0.143 with mutated TP53), KDE 8.3 per month. Values of the paper are stated per month; a month is
    taken as 30.4375 days. Impulses act on P alone and Q turns Q_p, as the drug does.

    **Fields:** per day: `proliferation_rate` lambda, `quiescence_rate` k_PQ, `repair_rate` k_QpP,
    `elimination_rate` delta, `resistance_rate` res; `carrying_capacity_mm` K; `resistance_onset_day` t_0, the first
    dose; `proliferating_fraction` of the start (P 1.72 and Q 32.1 mm).
    """

    proliferation_rate: Float[Array, ""]
    quiescence_rate: Float[Array, ""]
    repair_rate: Float[Array, ""]
    elimination_rate: Float[Array, ""]
    resistance_rate: Float[Array, ""]
    carrying_capacity_mm: Float[Array, ""]
    resistance_onset_day: Float[Array, ""]
    proliferating_fraction: Float[Array, ""]

    def __init__(
        self,
        *,
        proliferation_rate: ArrayLike = 0.143 / DAYS_PER_MONTH,
        quiescence_rate: ArrayLike = 0.0429 / DAYS_PER_MONTH,
        repair_rate: ArrayLike = 0.00947 / DAYS_PER_MONTH,
        elimination_rate: ArrayLike = 0.0188 / DAYS_PER_MONTH,
        resistance_rate: ArrayLike = 0.1 / DAYS_PER_MONTH,
        carrying_capacity_mm: ArrayLike = 100.0,
        resistance_onset_day: ArrayLike = 0.0,
        proliferating_fraction: ArrayLike = 1.72 / (1.72 + 32.1),
    ):
        self.proliferation_rate = jnp.asarray(proliferation_rate, float)
        self.quiescence_rate = jnp.asarray(quiescence_rate, float)
        self.repair_rate = jnp.asarray(repair_rate, float)
        self.elimination_rate = jnp.asarray(elimination_rate, float)
        self.resistance_rate = jnp.asarray(resistance_rate, float)
        self.carrying_capacity_mm = jnp.asarray(carrying_capacity_mm, float)
        self.resistance_onset_day = jnp.asarray(resistance_onset_day, float)
        self.proliferating_fraction = jnp.asarray(proliferating_fraction, float)

    @property
    def size_quantity(self):
        return "diameter_mm"

    def transport(self, open_tissue):
        if open_tissue is not None:
            raise InputError("a resection needs a model with space; leave it out of the regimen of this model")

    def vector_field(self, t, state, forcing):
        p, q, damaged = state.proliferating, state.quiescent, state.damaged
        diameter = p + q + damaged
        sensitive = jnp.exp(-self.resistance_rate * jnp.maximum(t - self.resistance_onset_day, 0.0))
        growth = self.proliferation_rate * p * (1 - diameter / self.carrying_capacity_mm)
        return MazzoccoState(
            growth + self.repair_rate * damaged - self.quiescence_rate * p - sensitive * forcing.kill_rate * p,
            self.quiescence_rate * p - forcing.kill_rate * q,
            forcing.kill_rate * q - (self.repair_rate + self.elimination_rate) * damaged,
        )

    def apply_survival(self, state, fraction):
        damaged = state.damaged + (1 - fraction) * state.quiescent
        return MazzoccoState(state.proliferating * fraction, state.quiescent * fraction, damaged)

    def cell_density(self, state):
        return self._diameter(state) / self.carrying_capacity_mm

    def initial_state(self, size):
        """`size`: mean tumour diameter, mm."""
        proliferating = self.proliferating_fraction * jnp.asarray(size, float)
        return MazzoccoState(proliferating, size - proliferating, jnp.zeros_like(proliferating))

    def quantities(self, state):
        """`diameter_mm`: mean tumour diameter."""
        return {"diameter_mm": self._diameter(state)}

    def _diameter(self, state) -> Array:
        return state.proliferating + state.quiescent + state.damaged
