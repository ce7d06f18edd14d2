"""A likelihood without a solve: the residuals of one problem as a polynomial and networks of its parameters."""

from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from twinjax.calibration.curvature import residuals_and_jacobian
from twinjax.calibration.problem import InverseProblem
from twinjax.calibration.tree_file import Damaged, read_head, read_leaves, write_tree
from twinjax.core.errors import InputError
from twinjax.core.products import product
from twinjax.network import Network, perceptron

# Mean square of what the coordinates may leave out of a residual vector or of its derivative: a logarithm of the
# density errs by half of it.
LEFT_OUT = 1e-3
# Of the expansions, those that the coordinates are made from: more need more memory and show little that is new.
BASIS_EXPANSIONS = 24
# Share of the out-of-fold errors that the estimate is to be above.
COVERED = 0.9
# Beyond what was seen the density falls by this many nats for one deviation, twice that for two and so on, squared.
WALL = 10.0
TRAINING_STEPS = 600


class Expansions(NamedTuple):
    """What solves have shown of a problem.

    **Fields:** `x` (N, n), parameters in deviations from the mode; `value` (N, R), whitened residuals of the data;
    `slope` (N, n, R), their derivatives in x; `cost` (N,), half the sum of squares with the prior's.
    """

    x: np.ndarray
    value: np.ndarray
    slope: np.ndarray
    cost: np.ndarray

    def joined(self, other: "Expansions") -> "Expansions":
        return Expansions(*(np.concatenate(pair) for pair in zip(self, other, strict=True)))

    @classmethod
    def at(cls, problem: InverseProblem, centre, root, x: Float[np.ndarray, "N n"], tick=lambda: None) -> "Expansions":
        """Of solves at z = centre + root x; NaN where one fails. `tick()` is called after each."""
        found, n = [], len(centre)
        for one in x:
            z = jnp.asarray(centre + root @ one, float)
            whole, slope, _ = residuals_and_jacobian(problem, z, jnp.asarray(root.T, float))
            whole, slope = np.asarray(whole, float), np.asarray(slope, float)
            found.append((one, whole[:-n], slope[:, :-n], 0.5 * whole @ whole))
            tick()
        return cls(*map(np.stack, zip(*found, strict=True)))

    def solved(self) -> "Expansions":
        """Those whose solve succeeded; `InputError` where none did."""
        good = np.isfinite(self.cost) & np.isfinite(self.slope).all(axis=(1, 2))
        if not good.any():
            raise InputError("no solve succeeded around the mode: check the priors")
        return Expansions(*(part[good] for part in self))


class ResidualSurrogate(eqx.Module):
    """The residuals of a problem around its mode, and so its log density, as functions of the parameters alone.

    Residuals r(z) of the data lie near a subspace of few dimensions, in which a quadratic polynomial of
    x = root⁻¹ (z - centre) stands for them, and networks for what that leaves. They are fitted to values and
    derivatives of r and of the log density at the expansions (derivative-informed: O'Leary-Roseberry et al. 2024, J
    Comput Phys 496:112555). Each network has not seen its share of the points: by how much they differ, times
    `error_scale`, is the error that is to be expected of a query.

    **Fields:** `centre` (n,), `root` (n, n); `polynomial` (terms, k), `networks` (members stacked), `spread` (k,) that
    their outputs are multiplied by; `constant`, what the log density has besides the squares; `radius`, the largest |x|
    of an expansion; `error_scale`; `errors` (N,) nats at the expansions by networks that have not seen them;
    `left_out`, mean square that the subspace leaves; `names` of the parameters; `width` of the networks.
    """

    centre: Float[Array, " n"]
    root: Float[Array, "n n"]
    polynomial: Float[Array, "terms k"]
    networks: Network
    spread: Float[Array, " k"]
    constant: Float[Array, ""]
    radius: Float[Array, ""]
    error_scale: Float[Array, ""]
    errors: Float[Array, " N"]
    left_out: Float[Array, ""]
    names: tuple[str, ...] = eqx.field(static=True)
    width: int = eqx.field(static=True)

    @classmethod
    def trained(
        cls,
        problem: InverseProblem,
        centre: np.ndarray,
        root: np.ndarray,
        found: Expansions,
        *,
        members: int,
        width: int,
        seed: int,
        most: int,
    ) -> "ResidualSurrogate":
        """Fitted to `found`: `members` networks of `width` units, each without every `members`-th point.

        One program serves up to `most` points.
        """
        basis = _basis(found)
        value, slope = found.value @ basis.T, found.slope @ basis.T
        left = max(_mean_square(found.value) - _mean_square(value), _mean_square(found.slope) - _mean_square(slope), 0)
        weight = 1 / (1 + (found.cost - found.cost.min()) / found.x.shape[1])
        polynomial = _polynomial(found.x, value, slope, weight)
        rest = value - _terms(found.x) @ polynomial
        spread = np.sqrt(np.average(rest**2, axis=0, weights=weight)) + 1e-12
        absent = max(0, most - len(weight))
        padded = [np.pad(a, [(0, absent)] + [(0, 0)] * (a.ndim - 1), mode="edge") for a in (found.x, value, slope)]
        points = tuple(map(jnp.asarray, padded))
        networks, fold = [], np.arange(len(weight)) % members
        for member in range(members):
            new = perceptron(found.x.shape[1], len(spread), width=width, depth=2, seed=seed + member)
            shown = jnp.asarray(np.pad(np.where(fold == member, 0.0, weight), (0, absent)))
            networks.append(_fitted(new, points, shown, jnp.asarray(polynomial), jnp.asarray(spread)))
        names = problem.prior.names
        made = cls(
            jnp.asarray(centre),
            jnp.asarray(root),
            jnp.asarray(polynomial),
            jax.tree.map(lambda *leaves: jnp.stack(leaves), *networks),
            jnp.asarray(spread),
            -problem.least_cost,
            jnp.asarray(np.linalg.norm(found.x, axis=1).max()),
            jnp.ones(()),
            jnp.zeros(len(weight)),
            jnp.asarray(left),
            names,
            width,
        )
        by_member = np.asarray(_by_member(made, points[0]))[: len(fold)]
        error = by_member[np.arange(len(fold)), fold] - (float(made.constant) - found.cost)
        scale = np.quantile(np.abs(error) / np.maximum(by_member.std(axis=1), 1e-9), COVERED)
        return eqx.tree_at(lambda s: (s.error_scale, s.errors), made, (jnp.asarray(scale), jnp.asarray(error)))

    def log_density(self, x: Float[Array, " n"]) -> Float[Array, ""]:
        """`InverseProblem.log_density` at z = centre + root x."""
        return self._of(x, jnp.mean(self._coordinates(x), axis=0))

    def error(self, x: Float[Array, " n"]) -> Float[Array, ""]:
        """How far (nats) `log_density` is to be expected off; infinite outside what was seen."""
        inside = jnp.linalg.norm(x) <= self.radius
        return jnp.where(inside, self.error_scale * self._by_member(x).std(), jnp.inf)

    def log_densities(self, z: Float[np.ndarray, "N n"]) -> np.ndarray:
        """(N,) log densities at whitened parameters; `InputError` where one lies outside what was seen."""
        x = np.linalg.solve(np.asarray(self.root), (z - np.asarray(self.centre)).T).T
        far = np.linalg.norm(x, axis=1)
        if not (far <= float(self.radius)).all():
            raise InputError(
                f"the surrogate was trained within {float(self.radius):.1f} posterior deviations of the mode and is "
                f"asked at {far.max():.1f}: ask the solver there, or train it on more spread-out points"
            )
        return np.asarray(densities(self, jnp.asarray(x)))

    def _by_member(self, x):
        """(members,) the density by each network alone."""
        return jax.vmap(lambda coordinates: self._of(x, coordinates))(self._coordinates(x))

    def _coordinates(self, x):
        """(members, k)."""
        networks = eqx.filter_vmap(lambda network: network(x), in_axes=eqx.if_array(0))(self.networks)
        return product(_terms(x), self.polynomial) + self.spread * networks

    def _of(self, x, coordinates):
        z = self.centre + product(self.root, x)
        beyond = jnp.maximum(jnp.sqrt(jnp.sum(x**2) + 1e-12) - self.radius, 0.0)
        return self.constant - 0.5 * (jnp.sum(coordinates**2) + jnp.sum(z**2)) - WALL * beyond**2

    def save(self, path: str | Path) -> None:
        """Into one file (`twinjax.calibration.tree_file`)."""
        sizes = {"members": len(jax.tree.leaves(self.networks)[0]), "coordinates": len(self.spread)}
        head = {"twinjax": "surrogate", "names": self.names, "width": self.width, "points": len(self.errors)}
        write_tree(Path(path), head | sizes, self)

    @classmethod
    def load(cls, path: str | Path) -> "ResidualSurrogate":
        """What `save` wrote; `InputError` for any other file."""
        with open(path, "rb") as stream:
            head = read_head(stream)
            try:
                return read_leaves(stream, cls._like(**head))
            except (Damaged, TypeError) as error:
                raise InputError(f"{path}: not a surrogate saved by twinjax, or damaged ({error})") from error

    @classmethod
    def _like(cls, *, twinjax: str, names, width: int, members: int, coordinates: int, points: int):
        """A surrogate of zeros with these sizes."""
        if twinjax != "surrogate":
            raise Damaged(f"it is a {twinjax}")
        n, one = len(names), perceptron(len(names), coordinates, width=width, depth=2)
        networks = jax.tree.map(lambda leaf: jnp.zeros((members, *leaf.shape), leaf.dtype), one)
        before, after = (
            ((n,), (n, n), (_terms(np.zeros(n)).size, coordinates)),
            ((coordinates,), (), (), (), (points,), ()),
        )
        parts = [*map(jnp.zeros, before), networks, *map(jnp.zeros, after)]
        return cls(*parts, names=tuple(names), width=width)


def _basis(found: Expansions) -> np.ndarray:
    """(k, R) orthonormal: what the residuals and their derivatives lie in, but for `LEFT_OUT`."""
    value, slope = found.value[:BASIS_EXPANSIONS], found.slope[:BASIS_EXPANSIONS]
    rows = np.concatenate([value, slope.reshape(-1, value.shape[1])])
    size, axes = np.linalg.eigh(rows @ rows.T)
    kept = np.cumsum(np.maximum(size, 0.0)) > LEFT_OUT * len(rows)
    return (axes[:, kept] / np.sqrt(size[kept])).T @ rows


def _mean_square(rows) -> float:
    return float(np.sum(rows**2, axis=-1).mean())


def _terms(x):
    """(..., 1 + n + n (n + 1) / 2): 1, x, and all products of two of x."""
    module = jnp if isinstance(x, jax.Array) else np
    first, second = np.triu_indices(x.shape[-1])
    return module.concatenate([module.ones_like(x[..., :1]), x, x[..., first] * x[..., second]], axis=-1)


def _slopes(x) -> np.ndarray:
    """(N, n, terms) derivatives of `_terms`."""
    (count, n), (first, second), axes = x.shape, np.triu_indices(x.shape[1]), np.eye(x.shape[1])
    products = axes[:, first] * x[:, None, second] + axes[:, second] * x[:, None, first]
    return np.concatenate([np.zeros((count, n, 1)), np.broadcast_to(axes, (count, n, n)), products], axis=-1)


def _polynomial(x, value, slope, weight) -> np.ndarray:
    """(terms, k) coefficients of least squares on values and derivatives."""
    rows = np.concatenate([_terms(x)[:, None], _slopes(x)], axis=1) * np.sqrt(weight)[:, None, None]
    right = np.concatenate([value[:, None], slope], axis=1) * np.sqrt(weight)[:, None, None]
    return np.linalg.lstsq(rows.reshape(-1, rows.shape[-1]), right.reshape(-1, right.shape[-1]), rcond=None)[0]


@eqx.filter_jit
def _fitted(network: Network, points, weight, polynomial, spread) -> Network:
    """The network after `TRAINING_STEPS` of L-BFGS on all points."""

    def misfit(network, x, value, slope):
        def at(x):
            return product(_terms(x), polynomial) + spread * network(x)

        here, push = jax.linearize(at, x)
        along = jax.vmap(push)(jnp.eye(x.size))
        off, off_slope = here - value, along - slope
        # Of the residuals; and of half their sum of squares, which is what the density is.
        squares = jnp.sum(off**2) + jnp.sum(off_slope**2)
        squares += jnp.sum(value * off) ** 2
        return squares + jnp.sum((product(off_slope, value) + product(slope, off)) ** 2)

    weights, static = eqx.partition(network, eqx.is_array)

    def loss(weights):
        each = jax.vmap(misfit, (None, 0, 0, 0))(eqx.combine(weights, static), *points)
        return jnp.sum(weight * each) / jnp.sum(weight)

    method = optax.lbfgs()
    value_and_gradient = optax.value_and_grad_from_state(loss)

    def step(_, carry):
        weights, state = carry
        value, gradient = value_and_gradient(weights, state=state)
        update, state = method.update(gradient, state, weights, value=value, grad=gradient, value_fn=loss)
        return optax.apply_updates(weights, update), state

    weights, _ = jax.lax.fori_loop(0, TRAINING_STEPS, step, (weights, method.init(weights)))
    return eqx.combine(weights, static)


@eqx.filter_jit
def densities(surrogate: ResidualSurrogate, x: Float[Array, "N n"]) -> Float[Array, " N"]:
    """`ResidualSurrogate.log_density` at many points."""
    return jax.vmap(surrogate.log_density)(x)


@eqx.filter_jit
def expected_errors(surrogate: ResidualSurrogate, x: Float[Array, "N n"]) -> Float[Array, " N"]:
    """`ResidualSurrogate.error` at many points."""
    return jax.vmap(surrogate.error)(x)


@eqx.filter_jit
def _by_member(surrogate: ResidualSurrogate, x):
    return jax.vmap(surrogate._by_member)(x)
