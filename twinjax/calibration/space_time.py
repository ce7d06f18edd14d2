"""A tumour's cell density on slices of time, and how far it is from the discrete equation that joins them."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.sparse.linalg import cg
from jaxtyping import Array, Float

from twinjax.calibration.independent_solution import require_described
from twinjax.calibration.problem import InverseProblem
from twinjax.calibration.tumor import Tumor
from twinjax.domain import DiffusionOperator
from twinjax.model import AbstractReactionDiffusionModel, UntimedFisherKPP

# Of the right-hand side, what the implicit half of a step leaves unsolved; and after how many iterations at most.
UNSOLVED, MOST_ITERATIONS = 1e-10, 200


class SpaceTime(eqx.Module):
    """u_0 = the initial condition, and the discrete equation from slice to slice:

        (u_n - tau/2 L u_n - Phi(u_(n-1) + tau/2 L u_(n-1))) / tau = 0

    Half a step of explicit diffusion by the finite volumes L of the model, a whole step of its reaction, half a step of
    implicit diffusion. Both halves are each other's adjoint, so the scheme is symmetric and of second order in tau
    (Hairer, Lubich and Wanner 2006, Geometric Numerical Integration, section II.4); no step is too long to be stable,
    though one may undershoot zero beside a jump.
    Phi is the exact flow of `reaction` that the splitting solver calls, with every dose of a drug or of radiotherapy at
    its own instant: a fraction is a jump within a slice, wherever it falls. Every day of data ends a slice, and sees
    the density before the doses of that day.

    A field is the densities u_1 ... u_N on the grid of the problem, which is its box: (slices, *grid), zero outside the
    tissue.

    **Fields:** `edges` (days), the start and where each slice ends; `of_data`, which of them each day of the data is.
    """

    edges: Float[Array, " edges"]
    of_data: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, problem: InverseProblem, slices: int):
        """About `slices` of them, alike between two days of data; `InputError` for what is not described."""
        require_described(problem, "a discretised loss", UntimedFisherKPP)
        edges = [float(problem.start)]
        longest = (float(problem.days[-1]) - edges[0]) / slices
        for day in problem.days.tolist():
            count = math.ceil((day - edges[-1]) / longest - 1e-6)
            edges += np.linspace(edges[-1], day, count + 1)[1:].tolist()
        self.edges, self.of_data = jnp.asarray(edges), tuple(np.searchsorted(edges, problem.days).tolist())

    def residual(self, tumor: Tumor, field: Float[Array, "slices *grid"]) -> Float[Array, "slices *grid"]:
        """What the equation leaves, in density per day; outside the tissue the density itself."""
        operator, mask = _operator(tumor), _described(tumor).domain.mask

        def of_slice(start, stop, before, after):
            half = (stop - start) / 2
            left = after - half * operator(after) - _reacted(tumor, start, stop, before + half * operator(before))
            return jnp.where(mask, left / (stop - start), after)

        return jax.vmap(of_slice)(self.edges[:-1], self.edges[1:], self._before(tumor, field), field)

    def root_mean_square(self, tumor: Tumor, field: Float[Array, "slices *grid"]) -> Float[Array, ""]:
        """Of `residual`, over the tissue and all slices."""
        mask = _described(tumor).domain.mask
        squares = jnp.where(mask, self.residual(tumor, field) ** 2, 0.0)
        return jnp.sqrt(jnp.sum(squares) / (field.shape[0] * jnp.sum(mask)))

    def correction(self, tumor: Tumor, field, wanted: Float[Array, "slices *grid"]) -> Float[Array, "slices *grid"]:
        """The change of the field that changes `residual` by `wanted`, to first order.

        A march through the slices, each a symmetric positive definite system of its own. It is linear in `wanted`, and
        can be transposed.
        """
        operator, mask = _operator(tumor), _described(tumor).domain.mask

        def of_slice(change, inputs):
            start, stop, before, wanted = inputs
            half = (stop - start) / 2

            def explicit(u):
                return _reacted(tumor, start, stop, u + half * operator(u))

            moved = jax.jvp(explicit, (before,), (change,))[1]
            right = jnp.where(mask, moved + (stop - start) * wanted, wanted)
            change = cg(lambda u: u - half * operator(u), right, tol=UNSOLVED, maxiter=MOST_ITERATIONS)[0]
            return change, change

        slices = (self.edges[:-1], self.edges[1:], self._before(tumor, field), wanted)
        return jax.lax.scan(of_slice, jnp.zeros_like(wanted[0]), slices)[1]

    def states(self, tumor: Tumor, field: Float[Array, "slices *grid"]) -> Float[Array, "days *grid"]:
        """The densities on the days of the data."""
        return jnp.concatenate([tumor.state0()[None], field])[np.asarray(self.of_data)]

    def _before(self, tumor: Tumor, field):
        return jnp.concatenate([tumor.state0()[None], field[:-1]])


def _described(tumor: Tumor) -> AbstractReactionDiffusionModel:
    assert isinstance(tumor.model, AbstractReactionDiffusionModel)
    return tumor.model


def _operator(tumor: Tumor) -> DiffusionOperator:
    operator = _described(tumor).transport(None)
    assert isinstance(operator, DiffusionOperator)
    return operator


def _reacted(tumor: Tumor, start, stop, density):
    return _described(tumor).reaction_flow(density, stop - start, tumor.regimen.uniform.kills(start, stop), {})
