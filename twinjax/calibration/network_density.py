"""A tumour's cell density as a network in the voxels and time, and how far it is from the model's equation."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.special as jsp
import numpy as np
import scipy.sparse as sparse
from jaxtyping import Array, Float, Int
from scipy.sparse import csgraph

from twinjax.calibration.independent_solution import Described, require_described
from twinjax.calibration.problem import InverseProblem
from twinjax.calibration.tumor import Tumor
from twinjax.domain import DiffusionOperator
from twinjax.network import Network

# Of the capacity: a voxel without cells begins with so many, fewer than any scan shows after a hundredfold growth.
SMALLEST = 1e-9
# What a network's output of 1 adds to the logit within the whole time.
REACH = 5.0
# Logits are shown to the network as parts of this, so that its inputs are of order one.
LOGIT_SCALE = 10.0
# How much the equation counts where there are few cells: the residual of the logit times (u / K) to this power. With 0
# the empty tissue counts like the front, with 1 no tumour at all solves the equation as well as the right one.
DENSITY_POWER = 0.5


class Equation(NamedTuple):
    """A tumour with all that its equation needs of every voxel.

    **Fields:** `operator`; `logit` (voxels,) of the initial density, as a part of the capacity.
    """

    tumor: Tumor
    operator: DiffusionOperator
    logit: Float[Array, " voxels"]

    @property
    def model(self) -> Described:
        assert isinstance(self.tumor.model, Described)
        return self.tumor.model


class Points(NamedTuple):
    """Where and when an equation is asked: `voxel` (flat index) and `day`, both of one point or of many."""

    voxel: Int[Array, "*points"]
    day: Float[Array, "*points"]


class NetworkDensity(eqx.Module):
    """u(x, t) = Phi(q(x, t)), logit(q / K) = logit(u_0 / K) + c (t - t_0) / T N(x, t), with a network N.

    Phi is the flow of the model's reaction from t_0 to t, all doses included: that of the splitting solver. What is
    left to the network is what diffusion does. The initial condition holds by construction. So does every jump: at a
    fraction of radiotherapy Phi is multiplied by the survival and q goes on, with its derivative, as if there were
    none, since survival that is the same everywhere commutes with diffusion. A drug's exposure is exact in Phi, but
    comes at the mean instant of its deaths: the little that this leaves is the network's too. u keeps between 0 and K.

    The equation is the model's: u_t = reaction(u, k(t)) + L u with `AbstractSpatialModel.reaction`, the kill rate k of
    the drugs and the finite volumes L of the solver: nothing leaves through the wall of any mask, whatever its shape,
    and D may jump from voxel to voxel. `residual` is that of the logit, (u_t - reaction - L u) / (du / dlogit q) in
    1/day, times sqrt(u / K).

    The network sees place, initial logit, how easily cells move there, and how long they travel to it from the tumour;
    it is only ever asked at voxels' centres.

    **Fields:** `place` (voxels, features) of order one; `inside`, flat indices of the tissue; `start`, `stop` (days).
    """

    place: Float[Array, "voxels features"]
    inside: Int[Array, " tissue"]
    start: Float[Array, ""]
    stop: Float[Array, ""]

    def __init__(self, problem: InverseProblem):
        """Raises `InputError` for a model or a treatment that it does not describe."""
        model = require_described(problem, "a physics-informed network")
        self.inside = jnp.asarray(np.flatnonzero(np.asarray(model.domain.mask)))
        self.place = jnp.asarray(_place(problem.tumor))
        self.start, self.stop = problem.start, problem.times[-1]

    @property
    def inputs(self) -> int:
        """How many inputs the network takes."""
        return self.place.shape[1] + 2

    def equation(self, tumor: Tumor) -> Equation:
        model = tumor.model
        assert isinstance(model, Described)
        density = tumor.state0().ravel() / model.carrying_capacity
        # Below one in double and in single precision.
        share = jnp.clip(density + SMALLEST, None, 1 - 1e-6)
        return Equation(tumor, model.transport(None), jsp.logit(share))

    def logit(self, network: Network, equation: Equation, voxels, day) -> Array:
        """logit(q / K) of some voxels on one day."""
        elapsed = (day - self.start) / (self.stop - self.start)
        begun = equation.logit[voxels]
        time = jnp.full(begun.shape, 2 * elapsed - 1)
        inputs = [self.place[voxels], (begun / LOGIT_SCALE)[..., None], time[..., None]]
        return begun + REACH * elapsed * network(jnp.concatenate(inputs, axis=-1))

    def flow(self, equation: Equation, share, day) -> Array:
        """Phi: the density after the reaction alone, from q / K."""
        model, regimen = equation.model, equation.tumor.regimen
        kills = regimen.uniform.kills(self.start, day)
        return model.reaction_flow(model.carrying_capacity * share, day - self.start, kills, {})

    def density(self, network: Network, equation: Equation, voxels, day) -> Array:
        """u of some voxels on one day; on the day of a dose as before it."""
        return self.flow(equation, jax.nn.sigmoid(self.logit(network, equation, voxels, day)), day)

    def states(self, network: Network, equation: Equation, days) -> Float[Array, "days *grid"]:
        """u on the grid, zero outside the tissue."""
        domain = equation.model.domain

        def state(day):
            u = self.density(network, equation, self.inside, day)
            return jnp.zeros(domain.mask.size).at[self.inside].set(u).reshape(domain.shape)

        return jax.lax.map(state, jnp.asarray(days, float))

    def residual(self, network: Network, frozen: Network, equation: Equation, point: Points) -> Float[Array, ""]:
        """Of the equation at one point; `frozen` gives the density by which it counts, which is not to be trained."""
        neighbours, exchange = equation.operator.stencil(point.voxel)
        one, model = jnp.ones_like(point.day), equation.model
        here, rate = jax.jvp(lambda day: self.density(network, equation, point.voxel[None], day), (point.day,), (one,))
        around = self.density(network, equation, neighbours, point.day)
        change = model.reaction(here, equation.tumor.regimen.kill_rate(point.day)) + jnp.sum(exchange * (around - here))
        # What the density gains by one of the logit.
        share = jax.nn.sigmoid(self.logit(network, equation, point.voxel[None], point.day))
        _, gain = jax.jvp(lambda share: self.flow(equation, share, point.day), (share,), (share * (1 - share),))
        seen = self.density(frozen, equation, point.voxel[None], point.day) / model.carrying_capacity
        weight = (jax.lax.stop_gradient(seen) + SMALLEST) ** DENSITY_POWER
        return ((rate - change) / gain * weight)[0]

    def points(self, key, count: int) -> Points:
        """Spread evenly over the tissue and the time, the golden ratio apart (Schroeder 1991), from a random start."""
        shift, late = jax.random.uniform(key, (2,))
        order = jnp.arange(count)
        place = (order * ((5**0.5 - 1) / 2) + shift) % 1.0
        voxel = self.inside[jnp.minimum((place * self.inside.size).astype(int), self.inside.size - 1)]
        return Points(voxel, self.start + (self.stop - self.start) * (order + late) / count)


def _place(tumor: Tumor) -> Float[np.ndarray, "voxels features"]:
    """What the network sees of a voxel: where it lies, its exchange with its neighbours, to which side more, travel."""
    model = tumor.model
    assert isinstance(model, Described)
    operator, mask = model.transport(None), np.asarray(model.domain.mask)
    inside = np.flatnonzero(mask)
    index = np.stack(np.unravel_index(np.arange(mask.size), mask.shape))
    low, high = (find(index[:, inside], axis=1, keepdims=True) for find in (np.min, np.max))
    where = 2 * (index - low) / np.maximum(high - low, 1) - 1
    neighbours, exchange = map(np.asarray, operator.stencil(jnp.arange(mask.size)))
    # Between diagonal neighbours of a tensor the exchange may be negative.
    exchange = np.abs(exchange)
    share = exchange / max(exchange.max(), 1e-30)
    sides, total = share[:, ::2] - share[:, 1::2], share.mean(axis=1)
    travel = _travel(neighbours, exchange, np.asarray(tumor.state0()).ravel())
    return np.concatenate([where.T, sides, 2 * total[:, None] - 1, travel[:, None]], axis=1)


def _travel(neighbours, exchange, density) -> Float[np.ndarray, " voxels"]:
    """The shortest travel from the tumour, from -1 to 1: a front's speed is proportional to sqrt(D).

    By Dijkstra's algorithm over the faces, whose exchange is D / h².
    """
    voxel, face = np.nonzero(exchange > 0)
    length = 1 / np.sqrt(exchange[voxel, face])
    graph = sparse.csr_matrix((length, (voxel, neighbours[voxel, face])), shape=(density.size, density.size))
    source = np.flatnonzero(density >= 0.5 * density.max())
    travel = np.asarray(csgraph.dijkstra(graph, directed=False, indices=source, min_only=True))
    travel = np.where(np.isfinite(travel), travel, 0.0)
    return 2 * travel / max(travel.max(), 1e-30) - 1
