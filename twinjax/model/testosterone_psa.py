"""Serum PSA that follows testosterone under a GnRH agonist (Snelder et al. 2019)."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from twinjax.model.model import AbstractLumpedModel
from twinjax.model.testosterone import SecretionResponse, Testosterone

ACTION = "androgen_deprivation"


class TestosteronePSAState(eqx.Module):
    """**Fields:** `burden`, the PSA (ng/mL) that the cells would keep up at the baseline; `testosterone` (ng/dL), `psa`
    (ng/mL).
    """

    burden: Float[Array, "..."]
    testosterone: Float[Array, "..."]
    psa: Float[Array, "..."]


class TestosteronePSA(AbstractLumpedModel):
    """dP/dt = k_out (B f(T) - P), dB/dt = (g - kill) B, with testosterone T of `Testosterone`.

    The turnover of PSA and its dependence f on testosterone (`SecretionResponse`) are those of Snelder et al. 2019
    (leuprorelin, n = 62). That testosterone falls to a castrate level as treatment is on, instead of by the binding of
    leuprorelin to its receptor, and that the secreting cells B may grow and be killed, are our own simplification and
    extension.

    **Fields:** `testosterone`, `secretion_response`; `turnover_rate` k_out (0.00241 1/h = 0.0578 1/day); `growth_rate`
    g (1/day, 0: none in the published model); `capacity` (ng/mL), the PSA that counts as a density of 1, without
    effect on growth (our own choice).

    The size of the start is PSA in ng/mL at the baseline's testosterone (9.73 in Snelder et al.). Quantities:
    `psa_ng_ml`, `testosterone_ng_dl`.
    """

    testosterone: Testosterone
    secretion_response: SecretionResponse
    turnover_rate: Float[Array, ""]
    growth_rate: Float[Array, ""]
    capacity: Float[Array, ""]

    def __init__(
        self,
        *,
        testosterone: Testosterone | None = None,
        secretion_response: SecretionResponse | None = None,
        turnover_rate: ArrayLike = 0.0578,
        growth_rate: ArrayLike = 0.0,
        capacity: ArrayLike = 100.0,
    ):
        self.testosterone = testosterone or Testosterone()
        self.secretion_response = secretion_response or SecretionResponse()
        self.turnover_rate, self.growth_rate = jnp.asarray(turnover_rate, float), jnp.asarray(growth_rate, float)
        self.capacity = jnp.asarray(capacity, float)

    @property
    def size_quantity(self):
        return "psa_ng_ml"

    def transport(self, open_tissue):
        return None

    def vector_field(self, t, state, forcing):
        secreted = state.burden * self.secretion_response(state.testosterone, self.testosterone.baseline)
        return TestosteronePSAState(
            burden=(self.growth_rate - forcing.kill_rate) * state.burden,
            testosterone=self.testosterone.change(state.testosterone, forcing.level(ACTION)),
            psa=self.turnover_rate * (secreted - state.psa),
        )

    def apply_survival(self, state, fraction):
        return eqx.tree_at(lambda s: s.burden, state, state.burden * fraction)

    def cell_density(self, state):
        return state.burden / self.capacity

    def initial_state(self, size):
        return TestosteronePSAState(jnp.asarray(size, float), self.testosterone.baseline, jnp.asarray(size, float))

    def quantities(self, state):
        return {"psa_ng_ml": state.psa, "testosterone_ng_dl": state.testosterone}
