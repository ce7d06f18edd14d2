"""Pancreatic cancer without space: sensitive and resistant cells, stroma, effectors, CA19-9. Our own composition."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from twinjax.core.errors import InputError
from twinjax.model.ca19_9 import CA199
from twinjax.model.model import AbstractLumpedModel
from twinjax.model.pancreatic_cells import Cells, PancreaticCells


class PancreasState(eqx.Module):
    """**Fields:** `cells`, fractions as in `Cells`; `ca19_9`, U/mL."""

    cells: Cells
    ca19_9: Float[Array, "..."]


class PancreaticTumor(AbstractLumpedModel):
    """The compartments of `PancreaticCells`, with CA19-9 shed into serum (`CA199`). The composition is our own.

    Drugs act through `Forcing.kill_rate`, scaled by delivery and resistance; radiotherapy kills all tumour cells
    alike; `stroma_depletion` and `checkpoint_blockade` act by their levels.

    **Fields:** `cells`; `ca19_9`; `carrying_capacity_mm3` (100 cm³, our own choice; 1170 mm³ in the mice of Vishwanath
    et al. 2025); and of the start `resistant_fraction` of the tumour cells and `initial_stroma`, our own choice. The
    effectors start as in tissue without a tumour and CA19-9 at rest.
    """

    cells: PancreaticCells
    ca19_9: CA199
    carrying_capacity_mm3: Float[Array, ""]
    resistant_fraction: Float[Array, ""]
    initial_stroma: Float[Array, ""]

    def __init__(
        self,
        *,
        cells: PancreaticCells | None = None,
        ca19_9: CA199 | None = None,
        carrying_capacity_mm3: ArrayLike = 1e5,
        resistant_fraction: ArrayLike = 0.01,
        initial_stroma: ArrayLike = 0.5,
    ):
        self.cells = PancreaticCells() if cells is None else cells
        self.ca19_9 = CA199() if ca19_9 is None else ca19_9
        self.carrying_capacity_mm3 = jnp.asarray(carrying_capacity_mm3, float)
        self.resistant_fraction = jnp.asarray(resistant_fraction, float)
        self.initial_stroma = jnp.asarray(initial_stroma, float)

    @property
    def size_quantity(self):
        return "volume_mm3"

    def transport(self, open_tissue):
        if open_tissue is not None:
            raise InputError("a resection needs a model with space; take model=pancreas_spatial")

    def vector_field(self, t, state, forcing):
        rates = self.cells.rates(state.cells, forcing.kill_rate, forcing.levels)
        return PancreasState(rates, self.ca19_9.rate(state.ca19_9, self._volume(state)))

    def apply_survival(self, state, fraction):
        cells = state.cells
        left = Cells(cells.sensitive * fraction, cells.resistant * fraction, cells.stroma, cells.effectors)
        return PancreasState(left, state.ca19_9)

    def cell_density(self, state):
        return state.cells.tumor

    def initial_state(self, size):
        """`size`: the volume of the tumour cells, mm³."""
        tumor = jnp.asarray(size, float) / self.carrying_capacity_mm3
        resistant = self.resistant_fraction * tumor
        cells = Cells(tumor - resistant, resistant, jnp.broadcast_to(self.initial_stroma, tumor.shape), 1 + 0 * tumor)
        return PancreasState(cells, self.ca19_9.at_rest(jnp.asarray(size, float)))

    def quantities(self, state):
        """`volume_mm3` of the tumour cells, and `ca19_9_u_ml`."""
        return {"volume_mm3": self._volume(state), "ca19_9_u_ml": state.ca19_9}

    def _volume(self, state) -> Array:
        return state.cells.tumor * self.carrying_capacity_mm3
