"""Where a drug is: a central compartment, and up to two that exchange with it."""

from collections.abc import Mapping, Sequence

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from twinjax.core.errors import InputError
from twinjax.pharmacokinetics.units import in_base_units, only


class Compartments(eqx.Module):
    """V c' = -CL c + sum_i Q_i (c_i - c) + input,  V_i c_i' = Q_i (c - c_i).

    **Fields:** `clearance` CL (L/day), `volume` V (L), `flows` Q_i (L/day) and `volumes` V_i (L) of the peripheral
    compartments (none, one or two).
    """

    clearance: Float[Array, ""]
    volume: Float[Array, ""]
    flows: Float[Array, " peripheral"]
    volumes: Float[Array, " peripheral"]

    def __init__(self, clearance, volume, flows=(), volumes=()):
        self.clearance = jnp.asarray(clearance, float)
        self.volume = jnp.asarray(volume, float)
        self.flows = jnp.asarray(flows, float)
        self.volumes = jnp.asarray(volumes, float)
        if self.flows.shape != self.volumes.shape or self.flows.size > 2:
            raise InputError(
                f"compartments: {self.flows.size} flows and {self.volumes.size} volumes of peripheral compartments; "
                "give one of each per compartment, and two compartments at most"
            )

    def modes(self) -> tuple[Array, Array]:
        """Rates (1/day) and weights (1/L): a bolus of 1 mg leaves c(t) = sum of weight exp(-rate t).

        The exchange scaled by sqrt(V V_i) is symmetric; its eigenvalues are positive and always distinct, so that
        their derivatives are finite even where two compartments are alike.
        """
        if self.flows.size == 0:
            return jnp.atleast_1d(self.clearance / self.volume), jnp.atleast_1d(1 / self.volume)
        leaving = (self.clearance + self.flows.sum()) / self.volume
        own = jnp.concatenate([leaving[None], self.flows / self.volumes])
        exchange = -self.flows / jnp.sqrt(self.volume * self.volumes)
        matrix = jnp.diag(own).at[0, 1:].set(exchange).at[1:, 0].set(exchange)
        rates, vectors = jnp.linalg.eigh(matrix)
        return rates, vectors[0] ** 2 / self.volume


def compartments(
    where: str, parameters: Mapping[str, float], peripheral: Sequence[Mapping[str, float]] = ()
) -> Compartments:
    """Compartments from published values, the unit in each name: `clearance_l_per_hour`, `volume_l`.

    Each of `peripheral` has a `clearance` (between the compartments) and a `volume`.
    """
    central, outside = in_base_units(parameters, where), f"{where} peripheral"
    outer = [in_base_units(item, outside) for item in peripheral]
    only(central, {"clearance", "volume"}, where)
    for item in outer:
        only(item, {"clearance", "volume"}, outside)
    flows, volumes = [item["clearance"] for item in outer], [item["volume"] for item in outer]
    return Compartments(central["clearance"], central["volume"], flows, volumes)
