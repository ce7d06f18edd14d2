"""nab-paclitaxel: saturable elimination, saturable exchange in both directions."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from twinjax.pharmacokinetics.saturable import AbstractSaturablePharmacokinetics


class NabPaclitaxelPharmacokinetics(AbstractSaturablePharmacokinetics):
    """Amounts a, p, q (mg) in the central and two peripheral compartments, c = a / V, d = p / V2, e = q / V3:

    a' = -VM_EL c / (KM_EL + c) - p' - q'
    p' = VM_TR (c / (KM_TR + c) - d / (KM_TR + d))
    q' = Q (c - e)

    **Fields:** `maximum_elimination` VM_EL and `maximum_transport` VM_TR (mg/day), `elimination_constant` KM_EL and
    `transport_constant` KM_TR (mg/L), `flow` Q (L/day), `volume` V, `inner_volume` V2 and `outer_volume` V3 (L).

    Chen et al. 2014, J Clin Pharmacol 54:1097; the exchange in both directions as in the published code of QSPIO (MIT).
    """

    drug: str = eqx.field(static=True)
    volume: Float[Array, ""]
    maximum_elimination: Float[Array, ""]
    elimination_constant: Float[Array, ""]
    maximum_transport: Float[Array, ""]
    transport_constant: Float[Array, ""]
    inner_volume: Float[Array, ""]
    flow: Float[Array, ""]
    outer_volume: Float[Array, ""]
    compartments: int = eqx.field(static=True)

    def __init__(self, drug: str = "nab_paclitaxel", **published: float):
        self.drug = drug
        self.set_constants(published)
        self.compartments = 3

    def change(self, amounts):
        central, inner, outer = amounts
        c, d = central / self.volume, inner / self.inner_volume
        constant = self.transport_constant
        eliminated = self.maximum_elimination * c / (self.elimination_constant + c)
        transported = self.maximum_transport * (c / (constant + c) - d / (constant + d))
        exchanged = self.flow * (c - outer / self.outer_volume)
        return jnp.stack([-eliminated - transported - exchanged, transported, exchanged])
