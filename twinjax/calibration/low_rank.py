"""The few directions that data inform, out of very many unknowns."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

log = logging.getLogger("twinjax")


@dataclass(frozen=True)
class LowRankHessian:
    """I + V Λ V^T, and its inverse as a covariance: the normal approximation in whitened coordinates.

    **Fields:** `eigenvalues` Λ (rank,) descending, `vectors` V (n, rank) orthonormal; `next_eigenvalue`, an estimate of
    the largest that was left out; `residual`, the largest |H v - λ v|; `products` that it took.
    """

    eigenvalues: Float[np.ndarray, " rank"]
    vectors: Float[np.ndarray, "n rank"]
    next_eigenvalue: float
    residual: float
    products: int

    @property
    def reduction(self) -> Float[np.ndarray, " rank"]:
        """How much of the prior variance 1 the data take away along each vector: λ / (1 + λ)."""
        return self.eigenvalues / (1 + self.eigenvalues)

    @property
    def information_gain(self) -> float:
        """Half the sum of log(1 + λ), nats: for a linear model the mutual information of unknowns and data."""
        return 0.5 * float(np.log1p(self.eigenvalues).sum())

    def solve(self, vector: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """(I + V Λ V^T)^-1 vector."""
        return vector - self.vectors @ (self.reduction * (self.vectors.T @ vector))

    def sample(self, white: Float[np.ndarray, "draws n"]) -> Float[np.ndarray, "draws n"]:
        """(I + V ((1 + Λ)^-1/2 - 1) V^T) white: draws around 0 from standard normal ones."""
        factor = 1 / np.sqrt(1 + self.eigenvalues) - 1
        return white + (white @ self.vectors * factor) @ self.vectors.T

    def variance(self) -> Float[np.ndarray, " n"]:
        """Of every entry of z."""
        return 1 - self.vectors**2 @ self.reduction

    def variance_of(self, evaluate: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Pointwise, of what a linear `evaluate` makes of z, if its prior variance is 1 everywhere."""
        taken = 0.0
        for vector, share in zip(self.vectors.T, self.reduction, strict=True):
            taken = taken + share * np.asarray(evaluate(vector), float) ** 2
        return np.clip(1 - taken, 0, 1)


def dominant_eigenpairs(
    product: Callable[[np.ndarray], np.ndarray],
    size: int,
    *,
    threshold: float,
    accuracy: float,
    block: int,
    most: int,
    seed: int = 0,
) -> LowRankHessian:
    """The eigenpairs above `threshold` of a symmetric positive semi-definite operator, in a randomised Krylov space.

    The space of [Ω, H Ω, H² Ω, ...] for normal Ω (n, `block`) (Musco and Musco 2015, NeurIPS 28; block Lanczos with
    full reorthogonalisation, Golub and Underwood 1977). Every product serves twice, for the space and for the
    projection of H onto it, where the double pass of the randomised range finder (Halko, Martinsson and Tropp 2011,
    SIAM Rev 53:217, algorithms 4.4 and 5.3) takes two; and the space adapts its rank: it grows until a block has
    brought no more Ritz values above `threshold` and every pair above has |H v - λ v| <= `accuracy` (1 + λ), or until
    `most` products. Ritz values that are not above the threshold are left out.
    """
    random = np.random.default_rng(seed)
    most = min(most, size)
    basis = np.linalg.qr(random.standard_normal((size, min(block, most))))[0]
    projected, before = np.zeros((0, 0)), -1
    while True:
        known = len(projected)
        images = np.stack([product(v) for v in basis[:, known:].T], axis=1)
        count = basis.shape[1]
        column = basis.T @ images
        grown = np.zeros((count, count))
        grown[:known, :known], grown[:, known:] = projected, column
        # Rounding in single precision makes the operator not quite symmetric.
        grown[known:, :known] = column[:known].T
        grown[known:, known:] = (column[known:] + column[known:].T) / 2
        projected = grown
        # Twice, as where the images add fewer dimensions than columns the factor's last columns may be any.
        fresh = np.linalg.qr(images - basis @ column)[0]
        fresh = np.linalg.qr(fresh - basis @ (basis.T @ fresh))[0]
        values, rotation = np.linalg.eigh(projected)
        values, rotation = values[::-1], rotation[:, ::-1]
        kept = int(np.sum(values > threshold))
        # What the operator makes of a Ritz vector leaves the space only through the newest block.
        residuals = np.linalg.norm((fresh.T @ images) @ rotation[known:, :kept], axis=0)
        sharp = residuals <= accuracy * (1 + values[:kept])
        if (kept == before and sharp.all()) or count == most:
            below = float(max(values[kept], 0.0)) if kept < values.size else float(values[-1])
            largest = float(residuals.max()) if kept else 0.0
            return LowRankHessian(values[:kept], basis @ rotation[:, :kept], below, largest, count)
        log.debug("  %d products: %d eigenvalues, residual up to %.2g", count, kept, residuals.max(initial=0.0))
        before, basis = kept, np.concatenate([basis, fresh[:, : most - count]], axis=1)
