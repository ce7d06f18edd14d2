"""PSA as the sum of a part that treatment shrinks and a part that it does not (Zou et al. 2020)."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from twinjax.model.model import AbstractLumpedModel

ACTION = "androgen_deprivation"


class BiphasicState(eqx.Module):
    """**Fields:** `sensitive`, `resistant`: PSA (ng/mL) that each part makes."""

    sensitive: Float[Array, "..."]
    resistant: Float[Array, "..."]


class BiphasicPSA(AbstractLumpedModel):
    """dS/dt = ((1 - u) g_s - u d_s) S, dR/dt = g_r R, PSA = S + R, with u the level of androgen deprivation.

    Under continuous treatment PSA / PSA_0 = R exp(g_r t) + (1 - R) exp(-d_s t), the form of Zou et al. 2020
    (n = 264); the switch between growth and decline of the sensitive part off treatment is our own extension to
    intermittent treatment. With `resistant_fraction` 0 it is the switching exponential: growth at one rate without
    treatment, decline at another with it.

    **Fields:** `decline_rate` d_s (0.0378 1/day), `sensitive_growth_rate` g_s (0.00196 1/day), `resistant_growth_rate`
    g_r (6.54e-4 1/day), `resistant_fraction` R (0.0194) of PSA at the start, all of Zou et al. 2020; `capacity`
    (ng/mL), the PSA that counts as a density of 1, without effect on growth (our own choice).

    The size of the start is PSA in ng/mL. Quantities: `psa_ng_ml`.
    """

    decline_rate: Float[Array, ""]
    sensitive_growth_rate: Float[Array, ""]
    resistant_growth_rate: Float[Array, ""]
    resistant_fraction: Float[Array, ""]
    capacity: Float[Array, ""]

    def __init__(
        self,
        *,
        decline_rate: ArrayLike = 0.0378,
        sensitive_growth_rate: ArrayLike = 0.00196,
        resistant_growth_rate: ArrayLike = 6.54e-4,
        resistant_fraction: ArrayLike = 0.0194,
        capacity: ArrayLike = 100.0,
    ):
        self.decline_rate = jnp.asarray(decline_rate, float)
        self.sensitive_growth_rate = jnp.asarray(sensitive_growth_rate, float)
        self.resistant_growth_rate = jnp.asarray(resistant_growth_rate, float)
        self.resistant_fraction, self.capacity = jnp.asarray(resistant_fraction, float), jnp.asarray(capacity, float)

    @property
    def size_quantity(self):
        return "psa_ng_ml"

    def transport(self, open_tissue):
        return None

    def vector_field(self, t, state, forcing):
        u = jnp.minimum(forcing.level(ACTION), 1.0)
        switched = (1 - u) * self.sensitive_growth_rate - u * self.decline_rate
        return BiphasicState(
            sensitive=(switched - forcing.kill_rate) * state.sensitive,
            resistant=(self.resistant_growth_rate - forcing.kill_rate) * state.resistant,
        )

    def apply_survival(self, state, fraction):
        return BiphasicState(state.sensitive * fraction, state.resistant * fraction)

    def cell_density(self, state):
        return (state.sensitive + state.resistant) / self.capacity

    def initial_state(self, size):
        return BiphasicState((1 - self.resistant_fraction) * size, self.resistant_fraction * size)

    def quantities(self, state):
        return {"psa_ng_ml": state.sensitive + state.resistant}

    @property
    def nadir(self) -> tuple[Array, Array]:
        """Day and depth (relative to the start) of the lowest PSA under continuous treatment."""
        fraction = self.resistant_fraction
        falling, rising = (1 - fraction) * self.decline_rate, fraction * self.resistant_growth_rate
        day = jnp.log(falling / rising) / (self.decline_rate + self.resistant_growth_rate)
        depth = fraction * jnp.exp(self.resistant_growth_rate * day)
        return day, depth + (1 - fraction) * jnp.exp(-self.decline_rate * day)
