"""Reaction-diffusion of tumour cells in lung tissue, with checkpoint blockade."""

from collections.abc import Mapping
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from twinjax.domain import DiffusionOperator, Domain
from twinjax.model.density import AbstractDensityModel
from twinjax.model.growth import AbstractGrowth, growth_law
from twinjax.model.model import placed, require_on_grid


class LungTumor(AbstractDensityModel):
    """du/dt = div(D grad u) + rho u (1 - u / K) - (k(t) + delta b(t)) u in the lung, zero flux at its wall.

    The pleura, as the edge of the domain's mask, is a hard wall; within it D is the same everywhere. k is the kill
    rate of drugs and b the level of the action `checkpoint_blockade`; radiotherapy is an impulse. No diffusivity of
    lung tumours is published that we know of: the defaults are our own derivation, from a volume doubling time of 150
    days at a diameter of 30 mm, hence a radius that grows by 30 ln 2 / (6 · 150) = 0.023 mm/day = 2 sqrt(D rho), at
    rho = 0.02 1/day. The checkpoint term is our own too.

    **Fields:** `diffusivity` D (mm²/day), `proliferation_rate` rho (1/day), each also as a field on the grid,
    `carrying_capacity` K (fraction of the
    densest packing, 1), `checkpoint_kill_rate` delta (1/day at full blockade), `growth` (logistic or Gompertz),
    `domain`. The state is the cell density u on the grid, in [0, K].
    """

    leaves_out: ClassVar = (
        "The model knows no breathing, no collapsed lung and no scar: what a scan shows of them counts as tumour.",
    )
    takes_fields: ClassVar = ("diffusivity", "proliferation_rate")
    domain: Domain
    diffusivity: Float[Array, "..."]
    proliferation_rate: Float[Array, "..."]
    carrying_capacity: Float[Array, ""]
    checkpoint_kill_rate: Float[Array, ""]
    growth: AbstractGrowth

    def __init__(
        self,
        domain: Domain,
        *,
        resolution_mm: float | None = None,
        diffusivity: ArrayLike = 0.0066,
        proliferation_rate: ArrayLike = 0.02,
        carrying_capacity: ArrayLike = 1.0,
        checkpoint_kill_rate: ArrayLike = 0.0,
        growth: str | AbstractGrowth = "logistic",
    ):
        """`resolution_mm` brings the domain to an isotropic grid of that voxel edge first."""
        self.domain = placed(domain, resolution_mm)
        self.diffusivity = jnp.asarray(diffusivity, float)
        self.proliferation_rate = jnp.asarray(proliferation_rate, float)
        self.carrying_capacity = jnp.asarray(carrying_capacity, float)
        self.checkpoint_kill_rate = jnp.asarray(checkpoint_kill_rate, float)
        self.growth = growth_law(growth)
        require_on_grid(self, self.domain)

    def on(self, domain: Domain) -> "LungTumor":
        require_on_grid(self, domain)
        return eqx.tree_at(lambda model: model.domain, self, domain)

    def transport(self, open_tissue):
        mask = self.domain.open_mask(open_tissue)
        return DiffusionOperator.create(mask.astype(float), mask, self.domain.spacing, scale=self.diffusivity)

    def vector_field(self, t, state, forcing):
        blockade = self.checkpoint_kill_rate * forcing.level("checkpoint_blockade")
        return self.reaction(state, forcing.kill_rate + blockade) + forcing.transport(state)

    def reaction(self, density, kill_rate):
        return self.growth.growth(density, self.proliferation_rate, self.carrying_capacity) - kill_rate * density

    def reaction_flow(self, state, duration, kills, levels: Mapping[str, Array]):
        # The level counts with its mean: second order, as the splitting is.
        log_kill = self.checkpoint_kill_rate * levels.get("checkpoint_blockade", jnp.zeros(())) * duration
        return self.growth.flow(state, duration, self._rate(state), self.carrying_capacity, log_kill, kills)

    def _rate(self, state):
        """The rate of proliferation, in the order of the state."""
        rate = self.proliferation_rate
        return rate.reshape(state.shape) if rate.ndim else rate

    def spread(self, state, steps, duration, diffuse):
        return diffuse(steps, state)
