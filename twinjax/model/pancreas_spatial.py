"""Pancreatic cancer on a grid: the compartments of every place, which spread. Our own composition."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from twinjax.domain import DiffusionOperator, Domain
from twinjax.model.ca19_9 import CA199
from twinjax.model.model import AbstractReactionDiffusionModel, placed
from twinjax.model.pancreatic_cells import Cells, PancreaticCells

# The volume that imaging would outline (Wu et al. 2022, Cancer Res 82:3394: a quarter of the densest packing).
VISIBLE_DENSITY, VISIBLE_SOFTNESS = 0.25, 0.02


class PancreaticTissue(AbstractReactionDiffusionModel):
    """dc/dt = div(D grad c) + the rates of `PancreaticCells` at every place, zero flux at the wall of the organ.

    Sensitive and resistant cells move, at the same diffusivity; stroma and effectors stay. CA19-9 is shed by all cells
    into one serum (`CA199`). Maps of the domain: `stroma` (fraction, at the start; `initial_stroma` everywhere where
    there is no map) and `perfusion` (Ktrans relative to its mean, which brings the drugs; even where there is none).
    The composition is our own, as is that of `PancreaticCells`; no diffusivity of pancreatic tumours is published that
    we know of.

    The state is a dict: `sensitive`, `resistant`, `stroma`, `effectors` on the grid and `ca19_9`, a scalar in U/mL.

    **Fields:** `cells`, `ca19_9`, `diffusivity` D (mm²/day; the default of 0.01 is our own choice: with 0.044 1/day a
    front of 0.04 mm/day), `resistant_fraction` and `initial_stroma` of the start, `domain`.
    """

    leaves_out: ClassVar = (
        "The compartments in space are our own composition of published parts.",
        "The model sees the primary tumour only: no metastases, no pancreatitis.",
    )
    domain: Domain
    cells: PancreaticCells
    ca19_9: CA199
    diffusivity: Float[Array, ""]
    resistant_fraction: Float[Array, ""]
    initial_stroma: Float[Array, ""]

    def __init__(
        self,
        domain: Domain,
        *,
        resolution_mm: float | None = None,
        cells: PancreaticCells | None = None,
        ca19_9: CA199 | None = None,
        diffusivity: ArrayLike = 0.01,
        resistant_fraction: ArrayLike = 0.01,
        initial_stroma: ArrayLike = 0.5,
    ):
        """`resolution_mm` brings the domain to an isotropic grid of that voxel edge first."""
        self.domain = placed(domain, resolution_mm)
        self.cells = PancreaticCells() if cells is None else cells
        self.ca19_9 = CA199() if ca19_9 is None else ca19_9
        self.diffusivity = jnp.asarray(diffusivity, float)
        self.resistant_fraction = jnp.asarray(resistant_fraction, float)
        self.initial_stroma = jnp.asarray(initial_stroma, float)

    @property
    def local(self):
        return True

    def on(self, domain: Domain) -> "PancreaticTissue":
        return eqx.tree_at(lambda model: model.domain, self, domain)

    def transport(self, open_tissue):
        mask = self.domain.open_mask(open_tissue)
        return DiffusionOperator.create(mask.astype(float), mask, self.domain.spacing, scale=self.diffusivity)

    def vector_field(self, t, state, forcing):
        rates = self.cells.rates(_cells(state), forcing.kill_rate, forcing.levels, self._perfusion(state))
        moved = {name: forcing.transport(state[name]) for name in ("sensitive", "resistant")}
        shed = self.ca19_9.rate(state["ca19_9"], self._cell_volume(state))
        return {
            "sensitive": rates.sensitive + moved["sensitive"],
            "resistant": rates.resistant + moved["resistant"],
            "stroma": rates.stroma,
            "effectors": rates.effectors,
            "ca19_9": shed,
        }

    def reaction(self, density, kill_rate):
        """As if all cells were sensitive, stroma as at the start and effectors as without a tumour."""
        stroma = jnp.broadcast_to(self.initial_stroma, jnp.shape(density))
        cells = Cells(density, jnp.zeros_like(density), stroma, jnp.ones_like(density))
        rates = self.cells.rates(cells, kill_rate, {})
        return rates.sensitive + rates.resistant

    def reaction_flow(self, state, duration, kills, levels):
        # What is killed dies at one instant, the mean one: second order, as the flow on either side of it.
        drugs, fractions, instant = kills.together(duration)
        before = self._flow(state, instant, levels)
        left = self.cells.killed(_cells(before), drugs, fractions, self._perfusion(before))
        return self._flow(_state(left, before["ca19_9"]), duration - instant, levels)

    def _flow(self, state, duration, levels):
        cells = self.cells.flow(_cells(state), duration, levels)
        after = _state(cells, state["ca19_9"])
        mean = (self._cell_volume(state) + self._cell_volume(after)) / 2
        return after | {"ca19_9": self.ca19_9.flow(state["ca19_9"], duration, mean)}

    def spread(self, state, steps, duration, diffuse):
        return state | {name: diffuse(steps, state[name]) for name in ("sensitive", "resistant")}

    def reach(self, duration):
        # The front, and ahead of it four standard deviations of diffusion.
        spread = self.diffusivity * duration
        fastest = self.cells.growth_rate(jnp.ones(()))
        return 2 * jnp.sqrt(spread * fastest * duration) + 4 * jnp.sqrt(2 * spread)

    def apply_survival(self, state, fraction):
        return state | {name: state[name] * fraction for name in ("sensitive", "resistant")}

    def cell_density(self, state):
        return state["sensitive"] + state["resistant"]

    def initial_state(self, size):
        """`size`: the density of tumour cells on the grid."""
        size = jnp.asarray(size, float)
        mask = self.domain.mask
        stroma = self.domain.maps.get("stroma", jnp.where(mask, self.initial_stroma, 0.0))
        cells = Cells(
            size * (1 - self.resistant_fraction), size * self.resistant_fraction, stroma, mask.astype(size.dtype)
        )
        volume = jnp.sum(size) * self.domain.voxel_volume
        return _state(cells, self.ca19_9.at_rest(volume))

    def quantities(self, state):
        """`volume_mm3` that imaging would outline, `cell_volume_mm3` of the cells packed densely, `ca19_9_u_ml`."""
        visible = jax.nn.sigmoid((self.cell_density(state) - VISIBLE_DENSITY) / VISIBLE_SOFTNESS)
        return {
            "volume_mm3": jnp.sum(visible) * self.domain.voxel_volume,
            "cell_volume_mm3": self._cell_volume(state),
            "ca19_9_u_ml": state["ca19_9"],
        }

    def _cell_volume(self, state) -> Array:
        return jnp.sum(self.cell_density(state)) * self.domain.voxel_volume

    def _perfusion(self, state) -> Array:
        """On the grid, or in flat order as the state is."""
        perfusion = self.domain.maps.get("perfusion", jnp.ones(()))
        return perfusion.reshape(state["stroma"].shape) if perfusion.ndim else perfusion


def _cells(state) -> Cells:
    return Cells(state["sensitive"], state["resistant"], state["stroma"], state["effectors"])


def _state(cells: Cells, ca19_9) -> dict[str, Array]:
    return {
        "sensitive": cells.sensitive,
        "resistant": cells.resistant,
        "stroma": cells.stroma,
        "effectors": cells.effectors,
        "ca19_9": ca19_9,
    }
