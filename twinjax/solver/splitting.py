"""Strang splitting of reaction and diffusion as a diffrax solver."""

import abc
from typing import ClassVar

import diffrax
import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from twinjax.core.errors import InputError
from twinjax.domain import Execution
from twinjax.solver.equal_steps import AbstractEqualSteps
from twinjax.solver.runge_kutta_legendre import stable_duration


class AbstractSplitSystem(eqx.Module):
    """dy/dt = reaction + transport, where the reaction alone has an exact flow.

    It travels to `StrangSplitting` as the `args` of `diffrax.diffeqsolve`.
    """

    @abc.abstractmethod
    def reaction_flow(self, t0, t1, y):
        """The exact solution of the reaction alone from `t0` to `t1`."""

    def reaction_across(self, t0, t1, t2, y):
        """The flow from `t0` to `t1` and then that to `t2`; to be replaced where one flow serves both."""
        return self.reaction_flow(t1, t2, self.reaction_flow(t0, t1, y))

    @abc.abstractmethod
    def transport(self, y, stages: int):
        """y after a step of transport alone, by `stages` explicit stages; steps are alike throughout the solve."""

    @abc.abstractmethod
    def vector_field(self, t, y):
        """The whole right-hand side, for solvers that do not split."""


class StrangSplitting(diffrax.AbstractSolver):
    """Half a step of reaction, a step of diffusion, half a step of reaction (Strang 1968, SINUM 5:506).

    The reaction (growth, and every dose at its instant) is solved exactly, the diffusion by `stages` stages of RKL2.
    Second order in the step and stable up to `stable_step`; `twinjax.simulation` keeps the step below that bound. The
    `args` of the solve must be an `AbstractSplitSystem`.

    `devices`: over how many the grid is split; `kernel`: by what diffusion is computed (`Execution`, which raises
    `InputError` for what there is not). `twinjax.simulation` heeds both.
    """

    stages: int = eqx.field(static=True, default=2)
    devices: int = eqx.field(static=True, default=1)
    kernel: str = eqx.field(static=True, default="auto")

    term_structure: ClassVar = diffrax.AbstractTerm
    interpolation_cls: ClassVar = diffrax.LocalLinearInterpolation

    def __check_init__(self):
        if self.stages < 2:
            raise InputError(f"StrangSplitting needs at least 2 stages, got {self.stages}")
        Execution.create(self.devices, self.kernel)

    def order(self, terms):
        return 2

    def stable_step(self, spectral_radius):
        """The longest stable step in days for diffusion of this spectral radius (1/day)."""
        return stable_duration(spectral_radius, self.stages)

    def init(self, terms, t0, t1, y0, args):
        return None

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        middle = t0 + (t1 - t0) / 2
        y = args.reaction_flow(t0, middle, y0)
        y = args.transport(y, self.stages)
        y1 = args.reaction_flow(middle, t1, y)
        return y1, None, dict(y0=y0, y1=y1), None, diffrax.RESULTS.successful

    def func(self, terms, t0, y0, args):
        return terms.vf(t0, y0, args)


class StrangSteps(AbstractEqualSteps):
    """The steps of `StrangSplitting` from `start` to `stop`, each `duration` long, and the same but for rounding.

    The half step of reaction that ends a step and the one that begins the next are taken together.
    """

    count: Int[Array, ""]
    system: AbstractSplitSystem
    start: Float[Array, ""]
    stop: Float[Array, ""]
    duration: Float[Array, ""]
    stages: int = eqx.field(static=True)
    most: int = eqx.field(static=True)
    together: int = eqx.field(static=True, default=1)

    def _time(self, number):
        return jnp.where(number >= self.count, self.stop, self.start + number * self.duration)

    def begin(self, state):
        return self.system.reaction_flow(self.start, self._time(0.5), state)

    def step(self, number, state):
        spread = self.system.transport(state, self.stages)
        middle, end, next_middle = (self._time(number + part) for part in (0.5, 1, 1.5))
        return self.system.reaction_across(middle, end, next_middle, spread)
