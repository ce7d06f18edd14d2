"""The Laplace approximation for many unknowns, by the few directions that the data inform."""

import logging
import time
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from twinjax.calibration.calibrator import AbstractCalibrator
from twinjax.calibration.curvature import Expansion
from twinjax.calibration.field import CosineField
from twinjax.calibration.field_posterior import FieldPosterior
from twinjax.calibration.low_rank import LowRankHessian, dominant_eigenpairs
from twinjax.calibration.newton_cg import FieldMode, NewtonCG
from twinjax.calibration.posterior import Posterior
from twinjax.calibration.problem import InverseProblem
from twinjax.core.errors import InputError

log = logging.getLogger("twinjax")


class LowRankLaplace(AbstractCalibrator):
    """The mode by `NewtonCG`, and a normal approximation with the covariance (I + V Λ V^T)^-1 around it.

    With that covariance a last Newton step costs one gradient, and replaces many products with the Hessian. The
    Hessian is that of before this step, at most `mode.tolerance` posterior deviations away.

    Λ and V are the eigenpairs above `smallest_eigenvalue` of J^T J, the Hessian of the misfit relative to the prior:
    an eigenvalue of 0.1 left out takes a variance for 1 that is 0.91 (Bui-Thanh et al. 2013, SIAM J Sci Comput
    35:A2494; Villa, Petra and Ghattas 2021, ACM Trans Math Softw 47:16). The diagnostics have the spectrum, the
    information gain (nats) and the log evidence of the approximation.

    **Fields:** `mode`; `smallest_eigenvalue`; `max_products` with the Hessian for the eigenpairs, `block` of them at a
    time; `accuracy` of the pairs (`dominant_eigenpairs`); `draws`, rounded up to an even number. Draws are kept whole:
    100 of 10^5 unknowns take 80 MB.
    """

    mode: NewtonCG = NewtonCG()
    smallest_eigenvalue: float = 0.1
    max_products: int = 300
    block: int = 8
    accuracy: float = 0.05
    draws: int = 100

    def __check_init__(self):
        if self.max_products < self.block or self.block < 1 or self.draws < 2:
            raise InputError("LowRankLaplace: block must be >= 1, max_products at least that, draws >= 2")
        if not (self.smallest_eigenvalue > 0 and self.accuracy > 0):
            raise InputError("LowRankLaplace: smallest_eigenvalue and accuracy must be positive")

    def fit(self, problem, *, key):
        problem, mode = self.mode.fit_mode(problem)
        hessian = self.hessian(mode.expansion)
        mode = _nearer(problem, mode, hessian)
        white = np.asarray(jax.random.normal(key, (2 * -(-self.draws // 2), problem.dimension))).astype(float)
        z_map = mode.expansion.z
        z = (z_map + hessian.sample(white)).reshape(2, -1, problem.dimension)
        doubts = mode.doubts
        if hessian.next_eigenvalue > self.smallest_eigenvalue or hessian.residual > self._bound(hessian):
            doubts.append(
                f"{hessian.products} products did not find all directions that the data inform "
                f"(eigenvalue {hessian.next_eigenvalue:.2g}, residual {hessian.residual:.2g}); raise max_products"
            )
        return Posterior.from_draws(
            problem,
            z,
            z_map,
            method="Newton-CG and low-rank Laplace approximation",
            doubts=doubts,
            effective=float(len(white)),
            fields={name: _pointwise(problem, name, z_map, hessian) for name in problem.prior.fields},
            **mode.effort,
            distance=mode.distance,
            products_of_spectrum=hessian.products,
            eigenvalues=hessian.eigenvalues.tolist(),
            next_eigenvalue=hessian.next_eigenvalue,
            information_gain=hessian.information_gain,
            log_evidence=_log_evidence(problem, mode.expansion.cost, hessian),
        )

    def hessian(self, expansion: Expansion) -> LowRankHessian:
        """The eigenpairs at the mode."""
        began = time.perf_counter()
        found = dominant_eigenpairs(
            lambda v: expansion.product(v) - v,
            expansion.z.size,
            threshold=self.smallest_eigenvalue,
            accuracy=self.accuracy,
            block=self.block,
            most=self.max_products,
        )
        log.info(
            "  %d of %d directions informed, %d products, %.1f s",
            found.eigenvalues.size,
            expansion.z.size,
            found.products,
            time.perf_counter() - began,
        )
        return found

    def _bound(self, hessian: LowRankHessian) -> float:
        return self.accuracy * (1 + float(hessian.eigenvalues.max(initial=0.0)))


def _nearer(problem: InverseProblem, mode: FieldMode[Expansion], hessian: LowRankHessian) -> FieldMode[Expansion]:
    """The mode after one more Newton step with this Hessian, if it lowers the cost, and how far it still is."""
    here = mode.expansion
    trial = Expansion(problem, here.z - hessian.solve(here.gradient))
    if trial.cost < here.cost:
        here = trial
    distance = float(np.sqrt(here.gradient @ hessian.solve(here.gradient)))
    return replace(mode, expansion=here, distance=distance)


def _log_evidence(problem: InverseProblem, cost: float, hessian: LowRankHessian) -> float:
    """Log of the integral of likelihood times prior, of the normal approximation about a mode of that cost."""
    at_mode = -cost - float(problem.least_cost)
    return at_mode + 0.5 * problem.dimension * float(np.log(2 * np.pi)) - hessian.information_gain


def _pointwise(problem: InverseProblem, name: str, z_map: np.ndarray, hessian: LowRankHessian) -> FieldPosterior:
    place, block, axes = problem.prior.places[name], problem.prior.blocks[name], problem.tumor.axes()
    assert isinstance(place, CosineField)
    assert axes is not None
    evaluate = jax.jit(lambda z: place(z[block], axes))
    variance = hessian.variance_of(lambda v: evaluate(jnp.asarray(v, float)))
    return FieldPosterior.from_normal(problem, name, z_map, variance)
