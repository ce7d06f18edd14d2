"""What calibration says about a parameter that differs from place to place."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from twinjax.calibration.field import CosineField, Matern
from twinjax.calibration.prior import Parameter
from twinjax.calibration.problem import InverseProblem
from twinjax.model import AbstractSpatialModel

# Points of Gauss-Hermite quadrature for the moments of a function of a normal variable.
POINTS = 24


@dataclass(frozen=True, eq=False)
class FieldPosterior:
    """**Fields:** `place`, the field's own coordinates, in which z is meant; `mode`, `mean` and `std` (grid of the
    fit) in the parameter's unit."""

    place: CosineField
    mode: Float[np.ndarray, "*grid"]
    mean: Float[np.ndarray, "*grid"]
    std: Float[np.ndarray, "*grid"]

    @classmethod
    def from_draws(cls, problem: InverseProblem, name: str, z, z_map) -> "FieldPosterior":
        """Moments over whitened draws (..., parameters)."""
        parameter, block = _of(problem, name)
        axes = problem.tumor.axes()
        at = jax.jit(lambda z: parameter.value(z[block], axes))
        mode, total, square, count = np.asarray(at(jnp.asarray(z_map, float)), float), 0.0, 0.0, 0
        for draw in z.reshape(-1, z.shape[-1]):
            # Around the mode, so that the square of a mean is not taken from a mean of squares.
            away = np.asarray(at(jnp.asarray(draw, float)), float) - mode
            total, square, count = total + away, square + away**2, count + 1
        assert isinstance(parameter.field, CosineField)
        mean = total / count
        return cls(parameter.field, mode, mode + mean, np.sqrt(np.maximum(square / count - mean**2, 0)))

    @classmethod
    def from_normal(cls, problem: InverseProblem, name: str, z_map, variance) -> "FieldPosterior":
        """Where g (`CosineField`) is normal around the mode with the pointwise `variance` (grid)."""
        parameter, block = _of(problem, name)
        axes = problem.tumor.axes()
        assert isinstance(parameter.field, CosineField)
        assert axes is not None
        centre = parameter.field(jnp.asarray(z_map, float)[block], axes)
        points, weights = np.polynomial.hermite_e.hermegauss(POINTS)
        weights = weights / weights.sum()
        spread, mode = jnp.sqrt(jnp.asarray(variance)), np.asarray(parameter.from_standard_normal(centre), float)
        values = [np.asarray(parameter.from_standard_normal(centre + x * spread), float) - mode for x in points]
        mean = sum(w * value for w, value in zip(weights, values, strict=True))
        square = sum(w * (value - mean) ** 2 for w, value in zip(weights, values, strict=True))
        return cls(parameter.field, mode, mode + mean, np.sqrt(square))

    def arrays(self) -> dict[str, np.ndarray]:
        return {"mode": self.mode, "mean": self.mean, "std": self.std}


def place_as_dict(place: CosineField) -> dict:
    """For JSON; `place_from_dict` reads it."""
    return asdict(place)


def place_from_dict(kept: Mapping) -> CosineField:
    return CosineField(
        Matern(**kept["law"]), tuple(kept["lower"]), tuple(kept["lengths"]), tuple(int(n) for n in kept["modes"])
    )


class Averages:
    """Every parameter as one number: a field by its average over the tumour.

    The average is that of g (of the logarithm of a log-normal field: a geometric mean), weighted by the cell density
    of the mode on the last day of the data: elsewhere the data say nothing of a field. Our own choice. It is a linear
    functional b · z, so that its prior is known exactly.
    """

    def __init__(self, problem: InverseProblem, z_map: Float[np.ndarray, " parameters"]):
        self.prior, self.blocks = problem.prior, problem.prior.blocks
        self.functionals: dict[str, np.ndarray] = {}
        if problem.prior.fields:
            weights, axes = _tumor_weights(problem, jnp.asarray(z_map, float)), problem.tumor.axes()
            for parameter in problem.prior.parameters:
                if isinstance(parameter.field, CosineField) and axes is not None:
                    self.functionals[parameter.name] = np.asarray(parameter.field.adjoint(weights, axes), float)

    def whitened(self, z: np.ndarray) -> dict[str, np.ndarray]:
        """Name to b · z of draws (..., parameters); of a scalar, its entry of z."""
        return {
            name: np.asarray(
                z[..., block] @ self.functionals[name] if name in self.functionals else z[..., block.start]
            )
            for name, block in self.blocks.items()
        }

    def values(self, z: np.ndarray) -> dict[str, np.ndarray]:
        """Name to values (...) in the parameter's unit."""
        whitened = self.whitened(z)
        return {
            p.name: np.asarray(p.from_standard_normal(jnp.asarray(whitened[p.name]))) for p in self.prior.parameters
        }

    def prior_draws(self, count: int, *, seed: int = 0) -> dict[str, np.ndarray]:
        """Name to (count,) draws of the prior."""
        white = jax.random.normal(jax.random.key(seed), (count, len(self.blocks)))
        return {
            p.name: np.asarray(p.from_standard_normal(np.sqrt(self.prior_variance(p.name)) * white[:, i]))
            for i, p in enumerate(self.prior.parameters)
        }

    def prior_variance(self, name: str) -> float:
        """That of `whitened`."""
        b = self.functionals.get(name)
        return 1.0 if b is None else float(b @ b)


def _of(problem: InverseProblem, name: str) -> tuple[Parameter, slice]:
    parameter = next(p for p in problem.prior.parameters if p.name == name)
    return parameter, problem.prior.blocks[name]


def _tumor_weights(problem: InverseProblem, z) -> Array:
    """Weights on the grid, which sum to 1."""
    model = problem.tumor.model
    assert isinstance(model, AbstractSpatialModel)
    trajectory = problem.simulate(z)
    last = jax.tree.map(lambda leaf: leaf[-1], trajectory.states)
    density = jnp.where(trajectory.success, jnp.maximum(model.cell_density(last), 0.0), 0.0)
    tissue = model.domain.mask.astype(density.dtype)
    density = jnp.where(jnp.sum(density) > 0, density, tissue)
    return density / jnp.sum(density)
