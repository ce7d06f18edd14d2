"""A stretch of a solve, between two cuts of the time axis: nothing in it differs from place to place at an instant."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from twinjax.domain import DiffusionOperator, DiffusionStep, Execution
from twinjax.model import AbstractReactionDiffusionModel, AbstractTumorModel, Forcing
from twinjax.solver import AbstractSplitSystem, StrangSplitting, StrangSteps, rkl2
from twinjax.treatment import Regimen

# States kept for the reverse gradient of a stretch by a solver that does not split. diffrax's own number follows
# `max_steps`, not the steps taken, and clearing that memory at every dose takes longer than the gradient.
CHECKPOINTS = 8


def solve_stretch(
    model, regimen, transport, state, start, stop, solver, stepsize_controller, max_step, adjoint, max_steps, execution
):
    """The model from `start` to `stop` with no impulse in between; the state and whether it succeeded."""
    if transport is None:
        # Surgery at `start` has been done; the cut at the operation makes tissue constant within the stretch.
        transport = transport_of(model, regimen.open_tissue(start), execution)
    duration = stop - start
    if not isinstance(solver, StrangSplitting):
        controller = stepsize_controller
        step = None if isinstance(controller, diffrax.PIDController) else jnp.minimum(max_step, duration)
        system = _TreatedTumor(model, regimen, transport, None, None)
        if adjoint is None:
            adjoint = diffrax.RecursiveCheckpointAdjoint(checkpoints=CHECKPOINTS)
        return _integrated(solver, state, system, start, stop, step, controller, adjoint, max_steps)

    operators = jax.tree.leaves(transport, is_leaf=_is_operator)
    radius = jnp.max(jnp.stack([operator.spectral_radius for operator in operators]))
    allowed = jnp.minimum(max_step, 0.98 * solver.stable_step(radius))
    count = jnp.maximum(jnp.ceil(jax.lax.stop_gradient(duration / allowed) - 1e-6), 1.0)
    possible = count <= max_steps
    count = jnp.where(possible, count, 1.0)

    def split(model, regimen, transport, state, start, stop):
        step = (stop - start) / count
        over = jax.tree.map(lambda operator: operator.over(step), transport, is_leaf=_is_operator)
        steps = StrangSteps(
            count=count.astype(int),
            system=_TreatedTumor(model, regimen, transport, over, step),
            start=start,
            stop=stop,
            duration=step,
            stages=solver.stages,
            most=max_steps,
            together=execution.steps_together,
        )
        return steps.solve(state, adjoint)

    # In reverse mode the operator of this stretch's steps is made again: it need not be kept for every stretch.
    split = eqx.filter_checkpoint(split) if adjoint is None else split
    # A pass over the voxels is quickest in flat order.
    flat = jax.tree.map(lambda leaf: jnp.ravel(leaf) if leaf.shape == model.domain.shape else leaf, state)
    after = split(model, regimen, transport, flat, start, stop)
    return jax.tree.map(lambda leaf, before: leaf.reshape(before.shape), after, state), possible


def _is_operator(node) -> bool:
    return isinstance(node, DiffusionOperator)


def transport_of(model, open_tissue, execution: Execution):
    """The model's transport, without what its derivative would keep in memory through the solve."""

    def transport(model, open_tissue):
        operators = model.transport(open_tissue)
        return jax.tree.map(lambda operator: operator.by(execution), operators, is_leaf=_is_operator)

    return eqx.filter_checkpoint(transport)(model, open_tissue)


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
    """A model under what is given between two cuts of the time axis; `steps` and `duration` where the solver splits."""

    model: AbstractTumorModel
    regimen: Regimen
    operators: PyTree
    steps: PyTree
    duration: Float[Array, ""] | None

    def reaction_flow(self, t0, t1, y):
        return self._flow(t0, t1, y, self.regimen.uniform.kills(t0, t1))

    def reaction_across(self, t0, t1, t2, y):
        # A drug that spans both parts counts in each by itself.
        kills = self.regimen.uniform.kills(t0, t1) + self.regimen.uniform.kills(t1, t2).later(t1 - t0)
        return self._flow(t0, t2, y, kills)

    def _flow(self, t0, t1, y, kills):
        assert isinstance(self.model, AbstractReactionDiffusionModel)
        return self.model.reaction_flow(y, t1 - t0, kills, self.regimen.mean_levels(t0, t1))

    def transport(self, y, stages):
        assert isinstance(self.model, AbstractReactionDiffusionModel)

        def diffuse(step: DiffusionStep, field):
            return step.second_order(field) if stages == 2 else rkl2(step, field, 1.0, stages)

        return self.model.spread(y, self.steps, self.duration, diffuse)

    def vector_field(self, t, y):
        forcing = Forcing(self.regimen.kill_rate(t), self.operators, self.regimen.levels(t))
        return self.model.vector_field(t, y, forcing)
