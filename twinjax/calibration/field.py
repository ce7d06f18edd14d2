"""Gaussian random fields as the prior of a parameter that differs from place to place."""

import functools
import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from twinjax.core.errors import InputError
from twinjax.core.products import contracted

# A grid's axis in mm: (centre of the first voxel, voxel edge, count).
Axis = tuple[float, float, int]
# Beyond these the fields are a number, or noise, to every grid that a tumour is solved on; our own choice.
SMOOTHNESS = (0.25, 10.0)
# Nodes of a field per correlation length unless a resolution is asked for: with the default smoothness less than 2 %
# of the variance is finer.
NODES_PER_LENGTH = 5


@dataclass(frozen=True)
class Matern:
    """The law of a field: Matérn, unit variance, correlation 0.14 at `correlation_length_mm`.

    The spectral density is that of (κ² - Δ)^(-(ν + d/2)) with κ = sqrt(8 ν) / correlation length (Lindgren, Rue and
    Lindström 2011, J R Stat Soc B 73:423). The bi-Laplacian prior of Bui-Thanh et al. 2013 (SIAM J Sci Comput
    35:A2494) and of hIPPYlib, (δ - γ Δ)^-2, is `smoothness` ν = 2 - d/2: 1.5 on a line, 1 in the plane, 0.5 in space.

    **Fields:** `correlation_length_mm`; `smoothness` ν; `resolution_mm`, half the shortest wavelength there is (a fifth
    of the correlation length unless given): what an unknown stands for.
    """

    correlation_length_mm: float
    smoothness: float = 1.5
    resolution_mm: float | None = None

    def __post_init__(self):
        for key, value in {"correlation_length_mm": self.correlation_length_mm, "resolution_mm": self.edge_mm}.items():
            if not (np.isfinite(value) and value > 0):
                raise InputError(f"{key} must be a positive number of mm, got {value}")
        low, high = SMOOTHNESS
        if not low <= self.smoothness <= high:
            raise InputError(f"smoothness must lie between {low} and {high}, got {self.smoothness}")

    @property
    def edge_mm(self) -> float:
        """The distance between two nodes."""
        given = self.resolution_mm
        return self.correlation_length_mm / NODES_PER_LENGTH if given is None else given

    def on(self, lower: tuple[float, ...], upper: tuple[float, ...]) -> "CosineField":
        """The field on a box (mm), made wider by one correlation length on all sides.

        The box's walls then do not show in the correlations within it, and a forecast that goes farther than the data
        still has a field of its own for that length. Our own choice.
        """
        margin = self.correlation_length_mm
        lengths = [high - low + 2 * margin for low, high in zip(lower, upper, strict=True)]
        modes = tuple(max(2, math.ceil(length / self.edge_mm)) for length in lengths)
        return CosineField(self, tuple(float(low - margin) for low in lower), tuple(map(float, lengths)), modes)


@dataclass(frozen=True)
class CosineField:
    """g = C^{1/2} z: white noise z, one number per cosine of a box, as a Gaussian field of unit variance on any grid.

        g(x) = sum_k s_k z_k φ_k(x) / deviation(x),   s_k = (κ² + |k|²)^(-(ν/2 + d/4))

    The φ_k = products of cos(k_i (x_i - lower_i)), k_i = π n_i / length_i, are the eigenfunctions of the Laplacian with
    no flux through the walls of the box, so that this is the exact square root there of the operator in `Matern`, cut
    off at its shortest waves. Without a grid of its own it is evaluated at the voxels of any grid by one small matrix
    per axis, the same field on a coarse and on a fine one: z needs no resampling. Dividing by the deviation that the
    sum has at x makes the variance 1 everywhere, which near a wall it is not by itself (Daon and Stadler 2018, Inverse
    Probl Imaging 12:1083). Outside the box the field goes on as its mirror image.

    **Fields:** `law`, `lower` and `lengths` of the box (mm, from the corner of the whole grid), `modes` per axis.
    """

    law: Matern
    lower: tuple[float, ...]
    lengths: tuple[float, ...]
    modes: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many numbers z has."""
        return math.prod(self.modes)

    @property
    def nodes(self) -> tuple[Axis, ...]:
        """The grid with as many voxels as there are modes."""
        return tuple(
            (low + length / count / 2, length / count, count)
            for low, length, count in zip(self.lower, self.lengths, self.modes, strict=True)
        )

    def __call__(self, z: Float[Array, " size"], axes: tuple[Axis, ...]) -> Float[Array, "*grid"]:
        """g at the voxels of the grid of those axes."""
        scale, bases, deviation = _tables(self, axes)
        field = z.reshape(self.modes) * jnp.asarray(scale, z.dtype)
        for basis in bases:
            field = contracted(field, jnp.asarray(basis, z.dtype), axes=(0, 1))
        return field / jnp.asarray(deviation, z.dtype)

    def adjoint(self, weights: Float[Array, "*grid"], axes: tuple[Axis, ...]) -> Float[Array, " size"]:
        """The z-vector b with b · z = sum(weights * g)."""
        _, pull = jax.vjp(lambda z: self(z, axes), jnp.zeros(self.size, weights.dtype))
        return pull(weights)[0]


@functools.lru_cache(maxsize=32)
def _tables(field: CosineField, axes: tuple[Axis, ...]):
    """`(s (modes), matrix (voxels, modes) per axis, deviation (grid))` in double precision."""
    law, dimensions = field.law, len(field.modes)
    kappa = math.sqrt(8 * law.smoothness) / law.correlation_length_mm
    squares, bases = 0.0, []
    for number, (axis, low, length, count) in enumerate(
        zip(axes, field.lower, field.lengths, field.modes, strict=True)
    ):
        first, step, voxels = axis
        wave = np.pi * np.arange(count) / length
        squares = squares + (wave**2).reshape([-1 if n == number else 1 for n in range(dimensions)])
        basis = np.sqrt(2 / length) * np.cos(np.outer(first + step * np.arange(voxels) - low, wave))
        basis[:, 0] /= np.sqrt(2)
        bases.append(basis)
    scale = (kappa**2 + squares) ** -(law.smoothness / 2 + dimensions / 4)
    # Numbers of order one, whatever the unit.
    scale = scale / np.sqrt(np.sum(scale**2) / math.prod(field.lengths))
    variance = scale**2
    for basis in bases:
        variance = np.tensordot(variance, basis**2, axes=(0, 1))
    return scale, tuple(bases), np.sqrt(variance)
