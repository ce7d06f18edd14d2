"""What every tumour model offers to the solvers, the treatments and the observations."""

import abc
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from twinjax.core.errors import InputError
from twinjax.core.kills import Kills
from twinjax.domain import DiffusionOperator, Domain


class Forcing(eqx.Module):
    """What acts on a tumour at one instant.

    **Fields:** `kill_rate` (1/day, scalar or field), `transport` (what `AbstractTumorModel.transport` made for
    the tissue that is there now), `levels` (action to its level: `Regimen.levels`).
    """

    kill_rate: Float[Array, "..."]
    transport: Any = None
    levels: Mapping[str, Array] = eqx.field(default_factory=dict)

    def level(self, action: str) -> Array:
        """The level of an action; zero where no treatment has it."""
        return self.levels.get(action, jnp.zeros(()))


class AbstractTumorModel(eqx.Module):
    """A system dy/dt = f(t, y) for a tumour; its parameters are its leaves, its state a pytree.

    `leaves_out` tells readers of a report, in sentences, what the model does not see.
    """

    leaves_out: ClassVar[tuple[str, ...]] = ()

    @abc.abstractmethod
    def transport(self, open_tissue: Array | None) -> Any:
        """The spatial operators for the tissue that is there (1 open, 0 removed, None: all); None without space."""

    @abc.abstractmethod
    def vector_field(self, t, state, forcing: Forcing):
        """dy/dt at day `t`: reaction plus transport minus the continuous kill; a pytree like `state`."""

    @abc.abstractmethod
    def apply_survival(self, state, fraction: Array):
        """The state after an impulse that lets `fraction` of the cells survive."""

    @abc.abstractmethod
    def cell_density(self, state) -> Array:
        """Tumour cells as a fraction of what the tissue can hold: on the grid, or one number without space."""

    @abc.abstractmethod
    def initial_state(self, size: Array) -> Any:
        """The state of a tumour of which the size alone is known.

        `size` is a cell density on the grid, or without space one number in the unit that the model states.
        """

    @abc.abstractmethod
    def quantities(self, state) -> dict[str, Array]:
        """What a laboratory or a ruler measures of the state: scalars, with the unit in the name (`psa_ng_ml`)."""


class AbstractLumpedModel(AbstractTumorModel):
    """A model without space: ordinary differential equations."""

    @property
    @abc.abstractmethod
    def size_quantity(self) -> str:
        """The measured quantity (a key of `quantities`) that `initial_state` takes as the size."""


class AbstractSpatialModel(AbstractTumorModel):
    """A model on a grid.

    `takes_fields` names the parameters that may be an array on the grid instead of a number.
    """

    takes_fields: ClassVar[tuple[str, ...]] = ()
    domain: eqx.AbstractVar[Domain]

    @property
    @abc.abstractmethod
    def local(self) -> bool:
        """Whether the tissue near the tumour is all that matters, so that a box around it may be solved alone."""

    @abc.abstractmethod
    def on(self, domain: Domain) -> "AbstractSpatialModel":
        """The same model on another domain."""

    @abc.abstractmethod
    def reaction(self, density: Array, kill_rate: Array) -> Array:
        """The pointwise part of the vector field (1/day): growth minus kill, free of any grid.

        The grid solvers and the residual of a physics-informed network share this line.
        """


class AbstractReactionDiffusionModel(AbstractSpatialModel):
    """A model that can be split into a pointwise reaction with a flow of its own, and transport.

    Within a splitting solver fields of the state are in flat order.
    """

    @abc.abstractmethod
    def reaction_flow(self, state, duration, kills: Kills, levels: Mapping[str, Array]):
        """The reaction alone after `duration` days with `kills` in between: exact, or of second order at least.

        `levels`: action to its mean over that time; an action that no treatment has is missing.
        """

    @abc.abstractmethod
    def transport(self, open_tissue: Array | None) -> DiffusionOperator | dict[str, DiffusionOperator]:
        """The diffusion operators for the tissue that is there."""

    @abc.abstractmethod
    def spread(self, state, steps, duration, diffuse: Callable[[Any, Array], Array]):
        """The state after `duration` days of transport alone.

        `steps` are the operators of `transport` times the duration (`DiffusionOperator.over`), alike in every step;
        `diffuse(step, field)` moves one field by one of them.
        """

    @abc.abstractmethod
    def reach(self, duration) -> Array:
        """How far (mm) cells in number come within `duration` days: an estimate, checked after the solve."""


def require_on_grid(model: AbstractSpatialModel, domain: Domain) -> None:
    """`InputError` where a parameter that is a field is not on the grid of the domain."""
    for name in model.takes_fields:
        shape = jnp.shape(getattr(model, name))
        if shape not in ((), domain.shape):
            raise InputError(
                f"{name} has shape {shape}, the domain {domain.shape}; give one number, or a field on the grid of the "
                "domain"
            )


def placed(domain: Domain, resolution_mm: float | None) -> Domain:
    """The domain, on an isotropic grid of `resolution_mm` unless that is None; `InputError` for what is no domain."""
    if not isinstance(domain, Domain):
        raise InputError(f"domain must be a twinjax Domain, got {type(domain).__name__}; see Domain.from_tissue")
    return domain if resolution_mm is None else domain.resampled(resolution_mm)
