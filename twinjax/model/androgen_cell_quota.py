"""Two populations of prostate cancer cells that live on androgen: the cell quota model of androgen deprivation."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from twinjax.model.model import AbstractLumpedModel

ACTION = "androgen_deprivation"
# Below this quota (nmol/L) and burden divisions are cut off; both are far below what is measured.
SMALLEST = 1e-6


class CellQuotaState(eqx.Module):
    """**Fields:** `sensitive` X, `resistant` Y (cell volume, arbitrary unit), `quota` Q (nmol/L), `psa` P (ng/mL)."""

    sensitive: Float[Array, "..."]
    resistant: Float[Array, "..."]
    quota: Float[Array, "..."]
    psa: Float[Array, "..."]


class AndrogenCellQuota(AbstractLumpedModel):
    """Cells divide while their androgen quota Q exceeds a minimum, which is lower for resistant cells.

        X' = (m_x(Q) - d_1 R_1 / (Q + R_1) - delta_1 X - c_1 K_1 / (Q + K_1) - kill) X + c_2 Q / (Q + K_2) Y
        Y' = (m_y(Q) - d_2 R_2 / (Q + R_2) - delta_2 Y - c_2 Q / (Q + K_2) - kill) Y + c_1 K_1 / (Q + K_1) X
        Q' = (g_1 (1 - u) + g_2) (Q_m - Q) - (m_x X + m_y Y) Q / (X + Y)
        P' = b Q + sigma (X + Y) Q - epsilon P,    m_i(Q) = m max(1 - q_i / Q, 0)

    with u in [0, 1] the level of androgen deprivation (Baez and Kuang 2016, Appl Sci 6:352; Phan et al. 2019, whose
    public code gives the bounds below). The quota stands for serum testosterone, as there.

    **Fields:** `growth_rate` m (1/day; 0.01 to 0.1), `sensitive_quota` q_1, `resistant_quota` q_2 (nmol/L; up to 0.5
    above, and 0.1 below, the lowest testosterone of the patient), `sensitive_death_rate` d_1 (0.002 to 0.09 1/day),
    `resistant_death_rate` d_2 (to 0.001), `sensitive_half_death` R_1, `resistant_half_death` R_2 (0 to 3 nmol/L),
    `sensitive_crowding` delta_1, `resistant_crowding` delta_2 (1e-6 to 9e-5 per day and unit), `to_resistant_rate` c_1,
    `to_sensitive_rate` c_2 (1e-5 to 1e-4 1/day), `to_resistant_quota` K_1, `to_sensitive_quota` K_2 (0 to 1 nmol/L),
    `supply_rate` g_1 (20 1/day in the source: testosterone comes back at once, and the system is stiff),
    `residual_supply_rate` g_2 (0 to 0.001 1/day), `largest_quota` Q_m (nmol/L, near the baseline's testosterone),
    `baseline_secretion_rate` b (0 to 0.0025), `tumor_secretion_rate` sigma (0 to 1), `psa_clearance_rate` epsilon (0.01
    to 1 1/day); `initial_resistant_fraction` of the cells. The defaults lie within these bounds and are our own choice.

    The size of the start is PSA (ng/mL), in balance with the cells at the largest quota: X + Y = (epsilon P / Q_m - b)
    / sigma, which is our own choice (the source fits X and Y, 90 to 110 in all). Density is relative to m / delta_1,
    where crowding alone stops growth. Quantities: `psa_ng_ml`, `testosterone_nmol_l`. With a supply
    rate of 1/day or more it is stiff: solve with `diffrax.Kvaerno5`.
    """

    growth_rate: Float[Array, ""]
    sensitive_quota: Float[Array, ""]
    resistant_quota: Float[Array, ""]
    sensitive_death_rate: Float[Array, ""]
    resistant_death_rate: Float[Array, ""]
    sensitive_half_death: Float[Array, ""]
    resistant_half_death: Float[Array, ""]
    sensitive_crowding: Float[Array, ""]
    resistant_crowding: Float[Array, ""]
    to_resistant_rate: Float[Array, ""]
    to_sensitive_rate: Float[Array, ""]
    to_resistant_quota: Float[Array, ""]
    to_sensitive_quota: Float[Array, ""]
    supply_rate: Float[Array, ""]
    residual_supply_rate: Float[Array, ""]
    largest_quota: Float[Array, ""]
    baseline_secretion_rate: Float[Array, ""]
    tumor_secretion_rate: Float[Array, ""]
    psa_clearance_rate: Float[Array, ""]
    initial_resistant_fraction: Float[Array, ""]

    def __init__(
        self,
        *,
        growth_rate: ArrayLike = 0.025,
        sensitive_quota: ArrayLike = 0.5,
        resistant_quota: ArrayLike = 0.1,
        sensitive_death_rate: ArrayLike = 0.05,
        resistant_death_rate: ArrayLike = 0.0005,
        sensitive_half_death: ArrayLike = 1.5,
        resistant_half_death: ArrayLike = 1.5,
        sensitive_crowding: ArrayLike = 9e-5,
        resistant_crowding: ArrayLike = 9e-5,
        to_resistant_rate: ArrayLike = 5e-5,
        to_sensitive_rate: ArrayLike = 5e-5,
        to_resistant_quota: ArrayLike = 0.5,
        to_sensitive_quota: ArrayLike = 0.5,
        supply_rate: ArrayLike = 20.0,
        residual_supply_rate: ArrayLike = 5e-4,
        largest_quota: ArrayLike = 13.0,
        baseline_secretion_rate: ArrayLike = 1e-3,
        tumor_secretion_rate: ArrayLike = 1.2e-3,
        psa_clearance_rate: ArrayLike = 0.1,
        initial_resistant_fraction: ArrayLike = 0.01,
    ):
        self.growth_rate = jnp.asarray(growth_rate, float)
        self.sensitive_quota, self.resistant_quota = (
            jnp.asarray(sensitive_quota, float),
            jnp.asarray(resistant_quota, float),
        )
        self.sensitive_death_rate = jnp.asarray(sensitive_death_rate, float)
        self.resistant_death_rate = jnp.asarray(resistant_death_rate, float)
        self.sensitive_half_death = jnp.asarray(sensitive_half_death, float)
        self.resistant_half_death = jnp.asarray(resistant_half_death, float)
        self.sensitive_crowding = jnp.asarray(sensitive_crowding, float)
        self.resistant_crowding = jnp.asarray(resistant_crowding, float)
        self.to_resistant_rate = jnp.asarray(to_resistant_rate, float)
        self.to_sensitive_rate = jnp.asarray(to_sensitive_rate, float)
        self.to_resistant_quota = jnp.asarray(to_resistant_quota, float)
        self.to_sensitive_quota = jnp.asarray(to_sensitive_quota, float)
        self.supply_rate = jnp.asarray(supply_rate, float)
        self.residual_supply_rate = jnp.asarray(residual_supply_rate, float)
        self.largest_quota = jnp.asarray(largest_quota, float)
        self.baseline_secretion_rate = jnp.asarray(baseline_secretion_rate, float)
        self.tumor_secretion_rate = jnp.asarray(tumor_secretion_rate, float)
        self.psa_clearance_rate = jnp.asarray(psa_clearance_rate, float)
        self.initial_resistant_fraction = jnp.asarray(initial_resistant_fraction, float)

    @property
    def size_quantity(self):
        return "psa_ng_ml"

    def transport(self, open_tissue):
        return None

    def vector_field(self, t, state, forcing):
        x, y, q = state.sensitive, state.resistant, jnp.maximum(state.quota, SMALLEST)
        u = jnp.minimum(forcing.level(ACTION), 1.0)
        growth_x = self.growth_rate * jnp.maximum(1 - self.sensitive_quota / q, 0.0)
        growth_y = self.growth_rate * jnp.maximum(1 - self.resistant_quota / q, 0.0)
        death_x = self.sensitive_death_rate * self.sensitive_half_death / (q + self.sensitive_half_death)
        death_y = self.resistant_death_rate * self.resistant_half_death / (q + self.resistant_half_death)
        to_y = self.to_resistant_rate * self.to_resistant_quota / (q + self.to_resistant_quota)
        to_x = self.to_sensitive_rate * q / (q + self.to_sensitive_quota)
        cells = x + y
        uptake = (growth_x * x + growth_y * y) * q / jnp.maximum(cells, SMALLEST)
        supply = self.supply_rate * (1 - u) + self.residual_supply_rate
        leave_x = death_x + self.sensitive_crowding * x + to_y + forcing.kill_rate
        leave_y = death_y + self.resistant_crowding * y + to_x + forcing.kill_rate
        secreted = (self.baseline_secretion_rate + self.tumor_secretion_rate * cells) * q
        return CellQuotaState(
            sensitive=(growth_x - leave_x) * x + to_x * y,
            resistant=(growth_y - leave_y) * y + to_y * x,
            quota=supply * (self.largest_quota - q) - uptake,
            psa=secreted - self.psa_clearance_rate * state.psa,
        )

    def apply_survival(self, state, fraction):
        survivors = state.sensitive * fraction, state.resistant * fraction
        return eqx.tree_at(lambda s: (s.sensitive, s.resistant), state, survivors)

    def cell_density(self, state):
        return (state.sensitive + state.resistant) * self.sensitive_crowding / self.growth_rate

    def initial_state(self, size):
        secreted_per_quota = self.psa_clearance_rate * size / self.largest_quota
        cells = jnp.maximum(secreted_per_quota - self.baseline_secretion_rate, 0.0) / self.tumor_secretion_rate
        resistant = self.initial_resistant_fraction * cells
        return CellQuotaState(cells - resistant, resistant, self.largest_quota, jnp.asarray(size, float))

    def quantities(self, state):
        return {"psa_ng_ml": state.psa, "testosterone_nmol_l": state.quota}
