"""Parameters that a cohort shares, such as the weights of a network in the growth law, from all patients together."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from twinjax.calibration.levenberg_marquardt import descend, expansion_of
from twinjax.calibration.problem import InverseProblem
from twinjax.core.errors import InputError

log = logging.getLogger("twinjax")


@dataclass(frozen=True, eq=False)
class SharedMode:
    """**Fields:** `names` of the shared parameters; `center` and `covariance` of their z, normal about the joint mode
    with the patients' own parameters integrated out; `own` (patients, parameters), z of these at the mode; `converged`;
    `steps`; `log_evidence` of all patients' data together, of the Laplace approximation.
    """

    names: tuple[str, ...]
    center: Float[np.ndarray, " shared"]
    covariance: Float[np.ndarray, "shared shared"]
    own: Float[np.ndarray, "patients own"]
    converged: bool
    steps: int
    log_evidence: float


def fit_shared(
    problems: Sequence[InverseProblem], shared: str, *, tolerance: float = 1e-2, max_steps: int = 40
) -> SharedMode:
    """The joint mode of patients with one value of every parameter whose name begins with `shared`, and its curvature.

        cost(w, o_1, ..., o_n) = sum_i misfit_i(w, o_i) + 1/2 |w|² + 1/2 sum_i |o_i|²

    by `LevenbergMarquardt`'s steps, from the prior median. Patients of one schedule share a compiled program. Noise
    levels are those of the problems.

    Raises `InputError` for problems of different parameters, or none that is shared.
    """
    names = problems[0].prior.names if problems else ()
    if any(problem.prior != problems[0].prior for problem in problems):
        raise InputError("all patients must have the same prior to share parameters of it")
    together = np.array([name.startswith(shared) for name in names], bool)
    if not together.any() or together.all():
        raise InputError(f"the prior has no parameter '{shared}' beside others; it has {', '.join(names) or 'none'}")
    count, own = len(problems), int((~together).sum())
    # Of the joint z, which begins with what is shared, the coordinates of each patient in the order of its own.
    first = int(together.sum())
    places = np.empty((count, len(names)), int)
    places[:, together] = np.arange(first)
    places[:, ~together] = first + np.arange(count * own).reshape(count, own)

    def expansion(z):
        cost, gradient, hessian = 0.0, np.zeros(z.size), np.zeros((z.size, z.size))
        for problem, place in zip(problems, places, strict=True):
            one, slope, curvature, _ = expansion_of(problem, z[place])
            cost += one
            gradient[place] += slope
            hessian[np.ix_(place, place)] += curvature
        # Every patient counted the prior of what is shared.
        again, common = count - 1, np.arange(first)
        gradient[common] -= again * z[common]
        hessian[common, common] -= again
        return cost - 0.5 * again * float(z[common] @ z[common]), gradient, hessian, []

    coordinates = [name for name, common in zip(names, together, strict=True) if common]
    everyone = [f"{name} of patient {i + 1}" for i in range(count) for name in names if name not in coordinates]
    began = time.perf_counter()
    mode = descend(expansion, np.zeros(first + count * own), tolerance, max_steps, names=[*coordinates, *everyone])
    mode.tell(time.perf_counter() - began)
    return SharedMode(
        tuple(coordinates),
        mode.z[:first],
        mode.covariance[:first, :first],
        mode.z[first:].reshape(count, own),
        mode.converged,
        mode.steps,
        mode.log_mass
        - sum(float(p.least_cost) for p in problems)
        + 0.5 * (count - 1) * first * float(np.log(2 * np.pi)),
    )


def fit_by_evidence(
    problems: Sequence[InverseProblem], shared: str, path: str, values: Sequence[float], **options
) -> tuple[float, SharedMode]:
    """The one of `values` at `path` that the cohort's evidence prefers, and `fit_shared` with it.

    Of a prior's width, such as `model.growth.residual.deviation`: 0 among the values is the model without the network,
    and what the data do not ask for is not learned.
    """
    if not values:
        raise InputError("give at least one value to choose from")
    found = {}
    for value in values:
        found[value] = fit_shared([_with(problem, path, value) for problem in problems], shared, **options)
    best = max(found, key=lambda value: found[value].log_evidence)
    log.info("  %s: log evidence %s", path, ", ".join(f"{m.log_evidence:.1f} at {v:g}" for v, m in found.items()))
    return best, found[best]


def _with(problem: InverseProblem, path: str, value: float) -> InverseProblem:
    both = [*problem.whole.leaves_at(path), *problem.tumor.leaves_at(path)]
    return eqx.tree_at(
        lambda p: [*p.whole.leaves_at(path), *p.tumor.leaves_at(path)], problem, [jnp.asarray(value, float)] * len(both)
    )
