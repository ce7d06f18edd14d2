"""Paclitaxel: saturable elimination, saturable transport with first-order return."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from twinjax.pharmacokinetics.saturable import AbstractSaturablePharmacokinetics


class PaclitaxelPharmacokinetics(AbstractSaturablePharmacokinetics):
    """Amounts a, p, q (mg) in the central and two peripheral compartments, c = a / V:

    a' = -VM_EL c / (KM_EL + c) - VM_TR c / (KM_TR + c) + k21 p - Q (c - q / V3)
    p' = VM_TR c / (KM_TR + c) - k21 p
    q' = Q (c - q / V3)

    **Fields:** `maximum_elimination` VM_EL and `maximum_transport` VM_TR (mg/day), `elimination_constant` KM_EL and
    `transport_constant` KM_TR (mg/L), `return_rate` k21 (1/day), `flow` Q (L/day), `volume` V and `outer_volume`
    V3 (L).

    Crombag et al. 2019, Pharm Res 36:33, as given by Janssen et al. 2023, Clin Pharmacokinet 62:1157, table 1.
    """

    drug: str = eqx.field(static=True)
    volume: Float[Array, ""]
    maximum_elimination: Float[Array, ""]
    elimination_constant: Float[Array, ""]
    maximum_transport: Float[Array, ""]
    transport_constant: Float[Array, ""]
    return_rate: Float[Array, ""]
    flow: Float[Array, ""]
    outer_volume: Float[Array, ""]
    compartments: int = eqx.field(static=True)

    def __init__(self, drug: str = "paclitaxel", *, molar_mass_g_per_mol: float | None = None, **published: float):
        self.drug = drug
        self.set_constants(published, molar_mass_g_per_mol=molar_mass_g_per_mol)
        self.compartments = 3

    def change(self, amounts):
        central, inner, outer = amounts
        c = central / self.volume
        eliminated = self.maximum_elimination * c / (self.elimination_constant + c)
        transported = self.maximum_transport * c / (self.transport_constant + c) - self.return_rate * inner
        exchanged = self.flow * (c - outer / self.outer_volume)
        return jnp.stack([-eliminated - transported - exchanged, transported, exchanged])
