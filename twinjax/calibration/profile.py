"""Profile likelihoods: how far a parameter can move while the others make up for it."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.interpolate import PchipInterpolator
from scipy.optimize import least_squares
from scipy.stats import chi2

from twinjax.calibration.curvature import residuals_and_jacobian
from twinjax.calibration.filled import filled
from twinjax.calibration.posterior import Posterior
from twinjax.core.errors import InputError

# Prior deviations from the prior median beyond which the parameter is not moved, nor the others in making up for it.
FARTHEST, FARTHEST_OTHERS = 3.0, 6.0
# Of a path in z: the first step in posterior deviations, its bounds, and how many points it may have.
FIRST_STEP, SHORTEST_STEP, LONGEST_STEP, POINTS = 0.7, 0.02, 1.0, 12
# A path goes on until the threshold is passed by this factor, so that the figure shows it.
BEYOND = 1.2


@dataclass(frozen=True, eq=False)
class Profile:
    """The profile likelihood of one parameter.

    **Fields:** `name`, `unit`; `z` (points,) ascending, `values` (points,) of the parameter there; `misfit` (points,),
    twice the log likelihood that is lost against the best fit of all parameters; `threshold`, the chi-square quantile
    of one degree of freedom at which the interval ends.
    """

    name: str
    unit: str
    z: Float[np.ndarray, " points"]
    values: Float[np.ndarray, " points"]
    misfit: Float[np.ndarray, " points"]
    threshold: float

    @property
    def interval(self) -> tuple[float | None, float | None]:
        """The ends of the likelihood interval; None where it is open within three prior deviations."""
        best = int(np.argmin(self.misfit))
        return self._crossing(range(best, -1, -1)), self._crossing(range(best, len(self.z)))

    def _crossing(self, path: range) -> float | None:
        for inner, outer in pairwise(path):
            low, high = self.misfit[inner], self.misfit[outer]
            if low < self.threshold <= high:
                # The misfit is near a parabola: its root is near a line.
                share = (np.sqrt(self.threshold) - np.sqrt(low)) / (np.sqrt(high) - np.sqrt(low))
                z = self.z[inner] + share * (self.z[outer] - self.z[inner])
                return float(PchipInterpolator(self.z, self.values)(z))
        return None


def profile_likelihood(posterior: Posterior, name: str, *, level: float = 0.95) -> Profile:
    """Fix a parameter along a path to either side, and fit all others to the data alone at each point of it.

    The prior counts for nothing here, but that the parameter is moved within three of its deviations, and the others
    within six (Raue et al. 2009, Bioinformatics 25:1923). A profile that does not reach the threshold on a side says
    that the data alone do not bound the parameter there. Fits start from the last point of the path, by the
    trust-region method of scipy, which is Levenberg-Marquardt with bounds. Noise levels are those of the posterior.

    Raises `InputError` for a name that is not calibrated, or a posterior without its problem.
    """
    problem = posterior.problem
    if problem is None or name not in posterior.names:
        raise InputError(f"'{name}' has no profile: give a calibrated parameter and a posterior with its problem")
    place, n, shared = posterior.names.index(name), problem.dimension, filled(problem).problem
    parameter = problem.prior.parameters[place]
    expansion = _cached(lambda z: residuals_and_jacobian(shared, jnp.asarray(z), jnp.eye(n))[:2], n)
    best_z, best_cost = _fit(expansion, posterior.z_map, [])
    threshold = float(chi2.ppf(level, 1))
    deviation = float(posterior.z[..., place].std())
    points = {float(best_z[place]): best_cost}
    for side in (-1.0, 1.0):
        z, step, last = best_z.copy(), FIRST_STEP * deviation, best_cost
        for _ in range(POINTS):
            step = float(np.clip(step, SHORTEST_STEP, LONGEST_STEP))
            step = min(step, FARTHEST - side * float(z[place]))
            if not step > 0:
                break
            z = z.copy()
            z[place] += side * step
            z, cost = _fit(expansion, z, [place])
            if not np.isfinite(cost):
                break
            points[float(z[place])] = cost
            if cost - min(points.values()) > BEYOND * threshold:
                break
            step *= 2.0 if cost - last < 0.15 * threshold else 0.6 if cost - last > 0.6 * threshold else 1.0
            last = cost
    z = np.array(sorted(points))
    cost = np.array([points[one] for one in z])
    values = np.asarray(parameter.from_standard_normal(jnp.asarray(z)), float)
    return Profile(name, parameter.unit, z, values, np.maximum(cost - cost.min(), 0.0), threshold)


Expansion = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def _cached(solve: Callable, n: int) -> Expansion:
    """(residuals, jacobian) of the data alone; scipy asks for the two one after the other."""
    last: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}

    def expansion(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        key = np.asarray(z, float).tobytes()
        if key not in last:
            value, jacobian = (np.asarray(part).astype(float) for part in solve(z))
            last.clear()
            last[key] = value[:-n], jacobian[:, :-n].T
        return last[key]

    return expansion


def _fit(expansion: Expansion, z: np.ndarray, fixed: list[int]) -> tuple[np.ndarray, float]:
    """The best z with the parameters `fixed` held, and the sum of squares there; infinite where it cannot be solved."""
    free = [i for i in range(z.size) if i not in fixed]

    def whole(part: np.ndarray) -> np.ndarray:
        full = z.copy()
        full[free] = part
        return full

    value, _ = expansion(z)
    if not np.isfinite(value).all():
        return z, np.inf
    if not free:
        return z, float(value @ value)
    found = least_squares(
        lambda part: expansion(whole(part))[0],
        # Strictly inside the bounds, as scipy asks.
        np.clip(z[free], -FARTHEST_OTHERS + 1e-6, FARTHEST_OTHERS - 1e-6),
        # scipy's stub knows the names of its own differences only.
        jac=lambda part: expansion(whole(part))[1][:, free],  # pyright: ignore[reportArgumentType]
        bounds=(-FARTHEST_OTHERS, FARTHEST_OTHERS),
        xtol=1e-4,
        ftol=1e-6,
        gtol=1e-6,
        max_nfev=30,
    )
    return whole(found.x), 2 * float(found.cost)
