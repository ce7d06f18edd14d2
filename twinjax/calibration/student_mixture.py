"""A proposal of many normal curves with heavier tails."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import logsumexp
from scipy.stats import multivariate_t

from twinjax.calibration.ridge import Curve

# Degrees of freedom: tails that are heavier than those of a normal posterior.
FREEDOM = 7.0


class StudentMixture(NamedTuple):
    """Student t with the centre and the covariance of each curve, and how many draws come from it.

    Numbers are fixed, not drawn (the deterministic mixture of Owen and Zhou 2000, J Am Stat Assoc 95:135): every draw
    is weighed against all curves together, whichever it came from.
    """

    curves: list[Curve]
    counts: Int[np.ndarray, " curves"]

    @classmethod
    def by_mass(cls, curves: list[Curve], draws: int) -> "StudentMixture":
        """About `draws` of them: half as the curves have mass, half to each alike, as a mass may be misjudged."""
        mass = np.array([curve.log_mass for curve in curves])
        share = 0.5 * np.exp(mass - logsumexp(mass)) + 0.5 / len(curves)
        return cls(curves, np.maximum(np.round(draws * share), 1).astype(int))

    def with_curves(self, curves: Sequence[Curve], draws: int) -> "StudentMixture":
        """With more curves, that have about `draws` together."""
        counts = np.full(len(curves), -(-draws // len(curves)))
        return StudentMixture([*self.curves, *curves], np.concatenate([self.counts, counts]))

    def draws(self, rng: np.random.Generator, after: int = 0) -> Float[np.ndarray, "draws n"]:
        """Those of the curves from number `after` on."""
        drawn = [
            # scipy's stub takes a shape matrix and degrees of freedom for whole numbers.
            multivariate_t.rvs(curve.center, curve.covariance, FREEDOM, size=count, random_state=rng)  # pyright: ignore
            for curve, count in zip(self.curves[after:], self.counts[after:].tolist(), strict=True)
        ]
        # scipy leaves out axes of length 1.
        return np.concatenate([np.reshape(part, (-1, self.curves[0].center.size)) for part in drawn])

    def log_density(self, points: Float[np.ndarray, "points n"]) -> Float[np.ndarray, " points"]:
        each = [
            multivariate_t.logpdf(points, curve.center, curve.covariance, FREEDOM)  # pyright: ignore
            for curve in self.curves
        ]
        shares = self.counts / self.counts.sum()
        return np.asarray(logsumexp(np.reshape(each, (len(each), -1)), axis=0, b=shares[:, None]))
