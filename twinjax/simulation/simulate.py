"""`simulate`: the one forward verb."""

from functools import partial

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, PyTree

from twinjax.core.errors import InputError, SolverError
from twinjax.domain.active_box import box_shapes
from twinjax.model import AbstractReactionDiffusionModel, AbstractTumorModel
from twinjax.simulation.in_box import solve_in_box
from twinjax.simulation.in_slabs import execution_of, joined, over_real_voxels, split
from twinjax.simulation.stretch import solve_stretch, transport_of
from twinjax.solver import StrangSplitting
from twinjax.treatment import Regimen

# How often the box is placed anew in a solve.
PLACEMENTS = 16


class Trajectory(eqx.Module):
    """The states at the times asked for.

    **Fields:** `times` (T,) days; `states`, the model's state with a leading axis T; `success`, False where a
    step limit was met or a value is not finite: then the states are not to be used.
    """

    times: Float[Array, " times"]
    states: PyTree
    success: Bool[Array, ""]

    def require_success(self) -> "Trajectory":
        """Itself, or `SolverError`. Not for traced values."""
        if not bool(self.success):
            raise SolverError("the forward solve failed: a step limit was met or the state is not finite")
        return self


def simulate(
    model: AbstractTumorModel,
    regimen: Regimen,
    state0: PyTree,
    times,
    *,
    start: float | Array = 0.0,
    solver: diffrax.AbstractSolver | None = None,
    stepsize_controller: diffrax.AbstractStepSizeController | None = None,
    max_step: float = 1.0,
    adjoint: diffrax.AbstractAdjoint | None = None,
    max_steps: int = 16384,
    active_box: bool = True,
) -> Trajectory:
    """Solve the model from `state0` at day `start` and record the state at `times`.

    A scan on the day of a dose sees the state before the dose; doses before `start` are taken as done. The time
    axis is cut at every output and at every impulse that differs from place to place (an operation, a fraction in
    hypoxic tissue): the model is solved to the cut, the state recorded, and then multiplied by the survival. What
    kills everywhere alike is part of the exact reaction where the solver splits, and steps span it; other solvers
    stop at every dose and follow the kill rate of drugs.

    **Arguments:**

    - `times`: (T,) days, ascending, >= `start`.
    - `solver`: `StrangSplitting()` for models that split, `diffrax.Tsit5()` for others, or any diffrax solver. With
      `StrangSplitting(devices=n)` or `RungeKuttaLegendre(devices=n)` the grid is split along its first axis over n
      devices; the answer is that of one.
    - `stepsize_controller`: for solvers that do not split; PID with rtol 1e-6 and atol 1e-9 unless given.
    - `max_step`: longest step (days) of a splitting solver; it is shortened where stability asks for it.
    - `adjoint`: `diffrax.ForwardMode()` for forward mode; unless given, reverse mode. Where the solver splits both are
      our own (`twinjax.solver.equal_steps`); another adjoint of diffrax is used as it is.
    - `max_steps`: per stretch between two cuts.
    - `active_box`: solve only the box that holds the cells, where the grid is large (half a million voxels), the solver
      splits and works on one device. The box is placed anew as they spread, and given up where they come to its walls
      in number, so the answer is that of the whole grid (to 1e-7 of the carrying capacity ahead of the front).

    **Returns** a `Trajectory`. A failure is reported in its `success`, never raised here.

    Gradients reach every float leaf of the model, the regimen (dose times too) and `state0`.
    """
    if not isinstance(times, Tracer):
        days = np.asarray(times, float)
        if days.ndim != 1 or days.size == 0:
            raise InputError("times must be a non-empty list of days")
        if not np.isfinite(days).all() or (np.diff(days) < 0).any() or days[0] < float(start):
            raise InputError(f"times must be finite, ascending and not before day {start}, got {days.tolist()}")
    if solver is None:
        solver = StrangSplitting() if isinstance(model, AbstractReactionDiffusionModel) else diffrax.Tsit5()
    if isinstance(solver, StrangSplitting) and not isinstance(model, AbstractReactionDiffusionModel):
        raise InputError(f"StrangSplitting needs a reaction-diffusion model, got {type(model).__name__}")
    if stepsize_controller is None:
        stepsize_controller = diffrax.PIDController(rtol=1e-6, atol=1e-9)
    execution = execution_of(solver, model)
    state0 = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), state0)
    times, first, longest = map(_as_array, (times, start, max_step))
    return _simulate(
        model,
        regimen,
        state0,
        times,
        first,
        solver,
        stepsize_controller,
        longest,
        adjoint,
        max_steps,
        active_box,
        execution,
    )


def _as_array(number):
    """Or every other number would be compiled anew. NumPy's, which no device has to make first, where it is known."""
    return jnp.asarray(number, float) if isinstance(number, Array) else np.asarray(number, float)


@eqx.filter_jit
def _simulate(
    model,
    regimen,
    state0,
    times,
    start,
    solver,
    stepsize_controller,
    max_step,
    adjoint,
    max_steps,
    active_box,
    execution,
):
    if execution.mesh is not None:
        first = model.domain.shape[0]
        model, regimen, state0 = split(model, regimen, state0, execution)
        padded = model.domain.shape
        stepsize_controller = over_real_voxels(stepsize_controller, padded, first)
    splitting = isinstance(solver, StrangSplitting)
    count = times.shape[0]
    # What kills everywhere alike is part of the exact flow of the reaction where the solver splits.
    impulsive = regimen.local if splitting else regimen.impulsive
    kinks = [] if splitting else [treatment.times for treatment in (*regimen.continuous, *regimen.modulating)]
    # The box follows a density that is the whole state.
    boxed = splitting and active_box and isinstance(state0, Array) and model.local and execution.mesh is None
    boxes = box_shapes(model.domain.shape, model.domain.spacing) if boxed else []
    if boxes:
        # Before each the box is placed anew.
        kinks = [start + (times[-1] - start) * jnp.arange(1, PLACEMENTS) / PLACEMENTS]
    # A stable sort keeps outputs before impulses of the same instant. Index < count: an output;
    # then the impulses; then mere cuts.
    cuts = jnp.concatenate([times, *(t.times for t in impulsive), *kinks])
    order = jnp.argsort(jnp.maximum(cuts, start), stable=True)

    def impulse(event, time, state):
        if not impulsive:
            return state
        offsets = np.cumsum([0] + [t.times.size for t in impulsive])
        density = model.cell_density(state)
        branches = [
            lambda event, t=treatment, o=offset: jnp.broadcast_to(t.survival(event - count - o, density), density.shape)
            for treatment, offset in zip(impulsive, offsets, strict=False)
        ]
        which = jnp.searchsorted(jnp.asarray(offsets[1:]), event - count, side="right")
        active = (event >= count) & (event < count + offsets[-1]) & (time >= start)

        def apply(state):
            index = jnp.minimum(which, len(branches) - 1)
            fraction = jax.lax.switch(index, branches, event) if len(branches) > 1 else branches[0](event)
            return model.apply_survival(state, fraction)

        return jax.lax.cond(active, apply, lambda state: state, state)

    # Without surgery the tissue, and so the operator, is the same throughout. A box has its own.
    constant = not boxes and regimen.open_tissue(start) is None
    transport = transport_of(model, None, execution) if constant else None

    def stretch(carry, event):
        now, state, recorded, success = carry
        time = cuts[event]
        until = jnp.maximum(time, now)
        solve = partial(
            solve_stretch,
            start=now,
            stop=until,
            solver=solver,
            stepsize_controller=stepsize_controller,
            max_step=max_step,
            adjoint=adjoint,
            max_steps=max_steps,
            execution=execution,
        )
        whole = partial(solve, model, regimen, transport)
        if boxes:
            state, solved = solve_in_box(solve, whole, boxes, model, regimen, state, until - now, adjoint is None)
        else:
            state, solved = whole(state)
        # Events that are not outputs write to a slot of their own behind the last.
        slot = jnp.where(event < count, event, count)
        recorded = jax.tree.map(lambda all_, one: all_.at[slot].set(one), recorded, state)
        return (until, impulse(event, time, state), recorded, success & solved), None

    recorded = jax.tree.map(lambda leaf: jnp.zeros((count + 1, *leaf.shape), leaf.dtype), state0)
    (_, _, recorded, success), _ = jax.lax.scan(stretch, (start, state0, recorded, jnp.asarray(True)), order)
    states = jax.tree.map(lambda leaf: leaf[:count], recorded)
    if execution.mesh is not None:
        states = joined(states, padded, first)
    finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(states)]).all()
    return Trajectory(times, states, success & finite)
