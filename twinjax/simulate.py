"""`simulate`: the one forward verb."""

from functools import partial

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, PyTree

from twinjax.core.errors import InputError, SolverError
from twinjax.domain import DiffusionStep
from twinjax.domain.active_box import bounds, box_shapes, cut, edge_maximum, largest_of_batch
from twinjax.model import AbstractReactionDiffusionModel, AbstractTumorModel, Forcing
from twinjax.solver import AbstractSplitSystem, StrangSplitting, rkl2
from twinjax.solver.equal_steps import AbstractEqualSteps, solve_with_reverse, solve_with_tangents
from twinjax.treatment import Regimen

# States kept for the reverse gradient of a stretch by a solver that does not split. diffrax's own number follows
# `max_steps`, not the steps taken, and clearing that memory at every dose takes longer than the gradient.
CHECKPOINTS = 8
# Density (fraction of the densest packing) that counts as none, where a grid is solved in a box: about
# a tenth of a cell in 1 mm³.
TAIL = 1e-7
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
    start: float = 0.0,
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
    - `solver`: `StrangSplitting()` for models that split, `diffrax.Tsit5()` for others, or any diffrax solver.
    - `stepsize_controller`: for solvers that do not split; PID with rtol 1e-6 and atol 1e-9 unless given.
    - `max_step`: longest step (days) of a splitting solver; it is shortened where stability asks for it.
    - `adjoint`: `diffrax.ForwardMode()` for forward mode; unless given, reverse mode. Where the solver splits both are
      our own (`solver/equal_steps.py`); another adjoint of diffrax is used as it is.
    - `max_steps`: per stretch between two cuts.
    - `active_box`: solve only the box that holds the cells, where the grid is large (half a million voxels) and the
      solver splits. The box is placed anew as they spread, and given up where they come to its walls in number, so
      the answer is that of the whole grid (to 1e-7 of the carrying capacity ahead of the front).

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
    state0 = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), state0)
    # As arrays, or every other start and step would be compiled anew.
    times, first, longest = (jnp.asarray(number, float) for number in (times, start, max_step))
    return _simulate(
        model, regimen, state0, times, first, solver, stepsize_controller, longest, adjoint, max_steps, active_box
    )


@eqx.filter_jit
def _simulate(
    model, regimen, state0, times, start, solver, stepsize_controller, max_step, adjoint, max_steps, active_box
):
    splitting = isinstance(solver, StrangSplitting)
    count = times.shape[0]
    # What kills everywhere alike is part of the exact flow of the reaction where the solver splits.
    impulsive = regimen.local if splitting else regimen.impulsive
    kinks = [] if splitting else [treatment.times for treatment in regimen.continuous]
    boxes = box_shapes(model.domain.shape, model.domain.spacing) if splitting and active_box else []
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
    transport = _operator(model, None) if constant else None

    # In reverse mode a box is cut out again, and not kept for every stretch; whether it was large enough is kept, or
    # all would have to be solved again to know.
    in_box = _solve_in_box
    if adjoint is None:
        in_box = eqx.filter_checkpoint(in_box, policy=jax.checkpoint_policies.save_only_these_names("enough"))

    def stretch(carry, event):
        now, state, recorded, success = carry
        time = cuts[event]
        until = jnp.maximum(time, now)
        solve = partial(
            _solve,
            start=now,
            stop=until,
            solver=solver,
            stepsize_controller=stepsize_controller,
            max_step=max_step,
            adjoint=adjoint,
            max_steps=max_steps,
        )
        whole = partial(solve, model, regimen, transport)
        if boxes:
            state, solved = in_box(solve, whole, boxes, model, regimen, state, until - now)
        else:
            state, solved = whole(state)
        # Events that are not outputs write to a slot of their own behind the last.
        slot = jnp.where(event < count, event, count)
        recorded = jax.tree.map(lambda all_, one: all_.at[slot].set(one), recorded, state)
        return (until, impulse(event, time, state), recorded, success & solved), None

    recorded = jax.tree.map(lambda leaf: jnp.zeros((count + 1, *leaf.shape), leaf.dtype), state0)
    (_, _, recorded, success), _ = jax.lax.scan(stretch, (start, state0, recorded, jnp.asarray(True)), order)
    states = jax.tree.map(lambda leaf: leaf[:count], recorded)
    finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(states)]).all()
    return Trajectory(times, states, success & finite)


def _solve_in_box(solve, whole, boxes, model, regimen, state, duration):
    """As `whole(state)`, in the smallest of the `boxes` that holds the cells and where they get to, if one does.

    A box whose walls feel more than `TAIL` at the end was too small: then the whole grid is solved instead.
    """
    shape = model.domain.shape
    spacing = jnp.asarray(model.domain.spacing)
    lower, upper = bounds(jax.lax.stop_gradient(model.cell_density(state)) > TAIL)
    margin = jnp.ceil(largest_of_batch(jax.lax.stop_gradient(model.reach(duration))) / spacing).astype(lower.dtype)
    lower, upper = jnp.maximum(lower - margin, 0), jnp.minimum(upper + margin, jnp.asarray(shape))
    fits = jnp.stack([(upper - lower <= jnp.asarray(box)).all() for box in boxes])

    def within(box, state):
        corner = jnp.clip((lower + upper - jnp.asarray(box)) // 2, 0, jnp.asarray(shape) - jnp.asarray(box))
        small_model, small_regimen, small = cut((model, regimen, state), shape, tuple(corner), box)
        small, solved = solve(small_model, small_regimen, None, small)
        reached = edge_maximum(jax.lax.stop_gradient(model.cell_density(small)), corner, box, shape)
        return jax.lax.dynamic_update_slice(state, small, tuple(corner)), solved, largest_of_batch(reached) <= TAIL

    def nothing(state):
        return state, jnp.asarray(True), jnp.asarray(False)

    branches = [partial(within, box) for box in boxes]
    level = jnp.where(fits.any(), jnp.argmax(fits), len(boxes))
    after, solved, enough = jax.lax.switch(level, [*branches, nothing], state)
    enough = checkpoint_name(enough, "enough")
    return jax.lax.cond(enough, lambda: (after, solved), lambda: whole(state))


def _solve(model, regimen, transport, state, start, stop, solver, stepsize_controller, max_step, adjoint, max_steps):
    """The model from `start` to `stop` with no impulse in between; the state and whether it succeeded."""
    if transport is None:
        # Surgery at `start` has been done; the cut at the operation makes tissue constant within the stretch.
        transport = _operator(model, regimen.open_tissue(start))
    duration = stop - start
    if not isinstance(solver, StrangSplitting):
        controller = stepsize_controller
        step = None if isinstance(controller, diffrax.PIDController) else jnp.minimum(max_step, duration)
        system = _TreatedTumor(model, regimen, transport, None)
        if adjoint is None:
            adjoint = diffrax.RecursiveCheckpointAdjoint(checkpoints=CHECKPOINTS)
        return _integrated(solver, state, system, start, stop, step, controller, adjoint, max_steps)

    allowed = jnp.minimum(max_step, 0.98 * solver.stable_step(transport.spectral_radius))
    count = jnp.maximum(jnp.ceil(jax.lax.stop_gradient(duration / allowed) - 1e-6), 1.0)
    possible = count <= max_steps
    count = jnp.where(possible, count, 1.0)

    def split(model, regimen, transport, state, start, stop):
        step = (stop - start) / count
        system = _TreatedTumor(model, regimen, transport, transport.over(step))
        steps = _SplitSteps(count.astype(int), system, start, stop, step, solver.stages)
        if adjoint is None:
            return solve_with_reverse(steps, state, max_steps)
        if isinstance(adjoint, diffrax.ForwardMode):
            return solve_with_tangents(steps, state, max_steps)
        return steps.solve(state, adjoint, max_steps)

    # In reverse mode the operator of this stretch's steps is made again: it need not be kept for every stretch.
    split = eqx.filter_checkpoint(split) if adjoint is None else split
    after = split(model, regimen, transport, jnp.ravel(state), start, stop)
    return after.reshape(state.shape), possible


class _SplitSteps(AbstractEqualSteps):
    """Equal steps of a solver that splits, from `start` to `stop`.

    The half step of reaction that ends a step and the one that begins the next are one, as they are both exact.
    """

    count: Int[Array, ""]
    system: "_TreatedTumor"
    start: Float[Array, ""]
    stop: Float[Array, ""]
    duration: Float[Array, ""]
    stages: int = eqx.field(static=True)

    def _boundary(self, number):
        return jnp.where(number == self.count, self.stop, self.start + number * self.duration)

    def begin(self, state):
        return self.system.reaction_flow(self.start, self._boundary(0.5), state)

    def step(self, number, state):
        middle, end = self._boundary(number + 0.5), self._boundary(number + 1)
        until = jnp.where(number == self.count - 1, self.stop, self._boundary(number + 1.5))
        return self.system.reaction_across(middle, end, until, self.system.transport(state, self.stages))


def _operator(model, open_tissue):
    """The model's transport, without what its derivative would keep in memory through the solve."""
    return eqx.filter_checkpoint(lambda model, open_tissue: model.transport(open_tissue))(model, open_tissue)


def _integrated(solver, state, system, start, stop, step, controller, adjoint, max_steps):
    """The state at `stop` by diffrax, and whether it got there."""
    # A stretch of no length takes no step, but diffrax wants a step that is one.
    step = None if step is None else jnp.where(stop > start, step, 1.0)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, y, system: system.vector_field(t, y)),
        solver,
        start,
        stop,
        step,
        state,
        system,
        stepsize_controller=controller,
        adjoint=adjoint,
        max_steps=max_steps,
        throw=False,
    )
    last = jax.tree.map(lambda leaf: leaf[-1], solution.ys)
    return last, solution.result == diffrax.RESULTS.successful


class _TreatedTumor(AbstractSplitSystem):
    """A model under what is given between two cuts of the time axis; `step` where the solver splits."""

    model: AbstractTumorModel
    regimen: Regimen
    operator: PyTree
    step: DiffusionStep | None

    def reaction_flow(self, t0, t1, y):
        assert isinstance(self.model, AbstractReactionDiffusionModel)
        return self.model.reaction_flow(y, t1 - t0, self.regimen.uniform.kills(t0, t1))

    def reaction_across(self, t0, t1, t2, y):
        """As the flow to `t1` and the one from there to `t2`: a drug that spans both counts in each by itself."""
        assert isinstance(self.model, AbstractReactionDiffusionModel)
        kills = self.regimen.uniform.kills(t0, t1) + self.regimen.uniform.kills(t1, t2).later(t1 - t0)
        return self.model.reaction_flow(y, t2 - t0, kills)

    def transport(self, y, stages):
        assert self.step is not None
        return self.step.second_order(y) if stages == 2 else rkl2(self.step, y, 1.0, stages)

    def vector_field(self, t, y):
        return self.model.vector_field(t, y, Forcing(self.regimen.kill_rate(t), self.operator))
