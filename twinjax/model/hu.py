"""Tumour, stellate cells, effectors and two kinds of cytokine in pancreatic cancer (Hu et al. 2019)."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from twinjax.core.errors import InputError
from twinjax.model.model import AbstractLumpedModel

# Units of the state: the variables of the paper span ten decades.
TUMOR, STELLATE, EFFECTOR, CYTOKINE = 1e9, 1e6, 1e7, 1e9
# Tumour cells of 1e-6 mm³ each, at a packing of 0.75.
CELLS_PER_MM3 = 7.5e5


class HuState(eqx.Module):
    """**Fields:** `tumor` (1e9 cells), `stellate` (1e6 cells), `effectors` (1e7 cells), `promoting` and `inhibiting`
    cytokines (1e9 pg).
    """

    tumor: Float[Array, "..."]
    stellate: Float[Array, "..."]
    effectors: Float[Array, "..."]
    promoting: Float[Array, "..."]
    inhibiting: Float[Array, "..."]


class HuImmune(AbstractLumpedModel):
    """With tumour cells x, stellate cells y, effectors z, tumour-promoting w and -inhibiting cytokines v:

        dx/dt = (r_1 + beta_1 y) x (1 - b_1 x) - delta_1 x z / (m_1 + w) - kill x
        dy/dt = (r_2 + beta_2 w / (k_2 + w)) y (1 - b_2 y) - mu_2 y
        dz/dt = r_3 + beta_3 z v / ((k_3 + v) (m_3 + w)) - mu_3 z
        dw/dt = 0.1 + r_4 x y / (m_4 + v) - mu_4 w
        dv/dt = beta_5 x z / (k_5 + x) - mu_5 v

    Hu et al. 2019, as BIOMD0000000792, whose values are the defaults; the kill is that of the regimen. The published
    start is y = 5.6e6, z = 1.9e8 cells, w = 5e4, v = 9.4 pg at x = 1e9 cells, which is 1333 mm³ at 7.5e5 cells per mm³
    (our own conversion). At other sizes the others start alike.

    **Fields:** in days, cells and pg: `growth_rate` r_1, `stellate_support` beta_1, `inverse_capacity` b_1,
    `kill_constant` delta_1, `kill_half` m_1, and so on as in the equations. The state is `HuState`.
    """

    growth_rate: Float[Array, ""]
    stellate_support: Float[Array, ""]
    inverse_capacity: Float[Array, ""]
    kill_constant: Float[Array, ""]
    kill_half: Float[Array, ""]
    stellate_growth_rate: Float[Array, ""]
    stellate_activation: Float[Array, ""]
    activation_half: Float[Array, ""]
    stellate_inverse_capacity: Float[Array, ""]
    stellate_death_rate: Float[Array, ""]
    effector_inflow: Float[Array, ""]
    effector_recruitment: Float[Array, ""]
    recruitment_half: Float[Array, ""]
    suppression_half: Float[Array, ""]
    effector_death_rate: Float[Array, ""]
    promoting_inflow: Float[Array, ""]
    promoting_secretion: Float[Array, ""]
    secretion_half: Float[Array, ""]
    inhibiting_secretion: Float[Array, ""]
    inhibiting_half: Float[Array, ""]
    cytokine_decay_rate: Float[Array, ""]

    def __init__(
        self,
        *,
        growth_rate: ArrayLike = 0.0195,
        stellate_support: ArrayLike = 1.7857e-12,
        inverse_capacity: ArrayLike = 1.02e-11,
        kill_constant: ArrayLike = 0.96,
        kill_half: ArrayLike = 1e9,
        stellate_growth_rate: ArrayLike = 0.00195,
        stellate_activation: ArrayLike = 0.125,
        activation_half: ArrayLike = 5.6e10,
        stellate_inverse_capacity: ArrayLike = 1.7857e-9,
        stellate_death_rate: ArrayLike = 0.015,
        effector_inflow: ArrayLike = 3500.0,
        effector_recruitment: ArrayLike = 124.5,
        recruitment_half: ArrayLike = 2e10,
        suppression_half: ArrayLike = 1e6,
        effector_death_rate: ArrayLike = 0.02,
        promoting_inflow: ArrayLike = 0.1,
        promoting_secretion: ArrayLike = 12500.0,
        secretion_half: ArrayLike = 8.9e10,
        inhibiting_secretion: ArrayLike = 7.3,
        inhibiting_half: ArrayLike = 1e6,
        cytokine_decay_rate: ArrayLike = 0.034,
    ):
        self.growth_rate = jnp.asarray(growth_rate, float)
        self.stellate_support = jnp.asarray(stellate_support, float)
        self.inverse_capacity = jnp.asarray(inverse_capacity, float)
        self.kill_constant = jnp.asarray(kill_constant, float)
        self.kill_half = jnp.asarray(kill_half, float)
        self.stellate_growth_rate = jnp.asarray(stellate_growth_rate, float)
        self.stellate_activation = jnp.asarray(stellate_activation, float)
        self.activation_half = jnp.asarray(activation_half, float)
        self.stellate_inverse_capacity = jnp.asarray(stellate_inverse_capacity, float)
        self.stellate_death_rate = jnp.asarray(stellate_death_rate, float)
        self.effector_inflow = jnp.asarray(effector_inflow, float)
        self.effector_recruitment = jnp.asarray(effector_recruitment, float)
        self.recruitment_half = jnp.asarray(recruitment_half, float)
        self.suppression_half = jnp.asarray(suppression_half, float)
        self.effector_death_rate = jnp.asarray(effector_death_rate, float)
        self.promoting_inflow = jnp.asarray(promoting_inflow, float)
        self.promoting_secretion = jnp.asarray(promoting_secretion, float)
        self.secretion_half = jnp.asarray(secretion_half, float)
        self.inhibiting_secretion = jnp.asarray(inhibiting_secretion, float)
        self.inhibiting_half = jnp.asarray(inhibiting_half, float)
        self.cytokine_decay_rate = jnp.asarray(cytokine_decay_rate, float)

    @property
    def size_quantity(self):
        return "volume_mm3"

    def transport(self, open_tissue):
        if open_tissue is not None:
            raise InputError("a resection needs a model with space; leave it out of the regimen of this model")

    def vector_field(self, t, state, forcing):
        x, y, z = state.tumor * TUMOR, state.stellate * STELLATE, state.effectors * EFFECTOR
        w, v = state.promoting * CYTOKINE, state.inhibiting * CYTOKINE
        growth = (self.growth_rate + self.stellate_support * y) * x * (1 - self.inverse_capacity * x)
        immune = self.kill_constant * x * z / (self.kill_half + w)
        activation = self.stellate_growth_rate + self.stellate_activation * w / (self.activation_half + w)
        stellate = activation * y * (1 - self.stellate_inverse_capacity * y) - self.stellate_death_rate * y
        recruited = self.effector_recruitment * (v / (self.recruitment_half + v)) * (z / (self.suppression_half + w))
        effectors = self.effector_inflow + recruited - self.effector_death_rate * z
        secreted = self.promoting_inflow + self.promoting_secretion * (y / (self.secretion_half + v)) * x
        inhibiting = self.inhibiting_secretion * (x / (self.inhibiting_half + x)) * z
        return HuState(
            (growth - immune - forcing.kill_rate * x) / TUMOR,
            stellate / STELLATE,
            effectors / EFFECTOR,
            (secreted - self.cytokine_decay_rate * w) / CYTOKINE,
            (inhibiting - self.cytokine_decay_rate * v) / CYTOKINE,
        )

    def apply_survival(self, state, fraction):
        return eqx.tree_at(lambda s: s.tumor, state, state.tumor * fraction)

    def cell_density(self, state):
        return state.tumor * TUMOR * self.inverse_capacity

    def initial_state(self, size):
        """`size`: the tumour's volume, mm³."""
        tumor = jnp.asarray(size, float) * CELLS_PER_MM3 / TUMOR
        others = (5.6e6 / STELLATE, 1.9e8 / EFFECTOR, 5e4 / CYTOKINE, 9.4 / CYTOKINE)
        return HuState(tumor, *(jnp.full_like(tumor, value) for value in others))

    def quantities(self, state):
        """`volume_mm3` of the tumour cells."""
        return {"volume_mm3": state.tumor * TUMOR / CELLS_PER_MM3}
