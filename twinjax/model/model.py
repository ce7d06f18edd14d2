"""What every tumour model offers to the solvers, the treatments and the observations."""

import abc
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float

from twinjax.core.kills import Kills
from twinjax.domain import DiffusionOperator, Domain


class Forcing(eqx.Module):
    """What acts on a tumour at one instant.

    **Fields:** `kill_rate` (1/day, scalar or field), `transport` (what `AbstractTumorModel.transport` made for
    the tissue that is there now).
    """

    kill_rate: Float[Array, "..."]
    transport: Any = None


class AbstractTumorModel(eqx.Module):
    """A system dy/dt = f(t, y) for a tumour; its parameters are its leaves, its state a pytree."""

    domain: eqx.AbstractVar[Domain]

    @abc.abstractmethod
    def on(self, domain: Domain) -> "AbstractTumorModel":
        """The same model on another domain."""

    @abc.abstractmethod
    def transport(self, open_tissue: Array | None) -> Any:
        """The spatial operator for the tissue that is there (1 open, 0 removed, None: all); None without space."""

    @abc.abstractmethod
    def vector_field(self, t, state, forcing: Forcing):
        """dy/dt at day `t`: reaction plus transport minus the continuous kill; a pytree like `state`."""

    @abc.abstractmethod
    def reaction(self, density: Array, kill_rate: Array) -> Array:
        """The pointwise part of the vector field (1/day): growth minus kill, free of any grid.

        The grid solvers and the residual of a physics-informed network share this line.
        """

    @abc.abstractmethod
    def apply_survival(self, state, fraction: Array):
        """The state after an impulse that lets `fraction` of the cells survive."""

    @abc.abstractmethod
    def cell_density(self, state) -> Array:
        """Tumour cells as a fraction of what the tissue can hold, on the grid."""


class AbstractReactionDiffusionModel(AbstractTumorModel):
    """A model whose reaction has an exact flow and whose transport is linear: it can be split."""

    @abc.abstractmethod
    def reaction_flow(self, state, duration, kills: Kills):
        """The exact solution of the reaction alone after `duration` days with `kills` in between."""

    @abc.abstractmethod
    def transport(self, open_tissue: Array | None) -> DiffusionOperator:
        """The diffusion operator for the tissue that is there."""

    @abc.abstractmethod
    def reach(self, duration) -> Array:
        """How far (mm) cells in number come within `duration` days: an estimate, checked after the solve."""
