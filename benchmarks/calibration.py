"""Calibration of four parameters on five visits, against finite differences on the peer's solver."""

import case
import jax
import numpy as np
import peer
from measure import REPEATS, Row, interleaved, median
from scipy.optimize import least_squares

from twinjax.calibration import Datum, InverseProblem, LevenbergMarquardt, Prior
from twinjax.calibration.problem import coarse_and_fine
from twinjax.domain import resample
from twinjax.model import DensityField
from twinjax.observation import CellDensityObservation
from twinjax.simulation import simulate

VISITS = [40.0, 70.0, 110.0, 170.0, 270.0]
MAX_STEP_DAYS = 4.0
COARSE_MM = 4.5
# Of the finite differences, in prior deviations.
STEP = 1e-2
PATHS = {
    "diffusivity": "model.diffusivity",
    "proliferation_rate": "model.proliferation_rate",
    "alpha": "regimen.radiotherapy.alpha",
    "sensitivity": "regimen.temozolomide.sensitivity",
}
# Prior medians, where the fit starts, as multiples of the truth.
START = dict(zip(PATHS, [2.0, 0.6, 1.5, 0.5], strict=True))


def rows(device: str = "cpu") -> list[Row]:
    """`device`: the peer's, as PyTorch names it; ours is jax's first."""
    domain, truth = case.slab(), case.PARAMETERS
    # Without noise, and from finer steps than the fit takes.
    data = simulate(case.model(domain, truth), case.regimen(truth), case.state0(domain), VISITS, max_step=0.5).states
    prior = Prior(
        {
            name: {"distribution": ("lognormal", truth[name] * START[name], 1.0), "where": path}
            for name, path in PATHS.items()
        }
    )

    def problem_of(model):
        grid = model.domain
        # Beside the brain there is nothing to see.
        index = np.flatnonzero(grid.mask)
        observed = [resample(np.asarray(one), domain.affine, grid.affine, grid.shape) for one in data]
        return InverseProblem(
            model,
            case.regimen(truth),
            DensityField(case.state0(grid)),
            # Neither noise nor model error is in the data; with more than this the prior would pull the mode away.
            {"density": CellDensityObservation(noise_std=0.01, discrepancy_std=0.0)},
            [Datum(day, "density", u.ravel()[index], index) for day, u in zip(VISITS, observed, strict=True)],
            prior,
            max_step=MAX_STEP_DAYS,
        )

    coarse, fine = coarse_and_fine(problem_of, case.model(domain, truth), COARSE_MM)
    # With noise as small as this a posterior deviation is far less than the hundredth that is asked for.
    method = LevenbergMarquardt(estimate_noise=False, tolerance=1.0)

    def fit():
        _, near = method.fit_mode(coarse, key=jax.random.key(0))
        return near, method.fit_mode(fine, key=jax.random.key(0), start=near.z)[1]

    def fit_fine():
        return method.fit_mode(fine, key=jax.random.key(0))[1]

    (near, mode), direct = fit(), fit_fine()
    worst = max(abs(float(value) / truth[name] - 1) for name, value in prior.values(mode.z).items())
    forward = jax.jit(lambda problem, z: problem.residuals(z))
    count = {"solves": 0}

    def counted(z):
        count["solves"] += 1
        return np.asarray(forward(fine, z), float)

    def differences(z):
        columns = [(counted(z + one) - counted(z - one)) / (2 * STEP) for one in STEP * np.eye(z.size)]
        return np.stack(columns, axis=1)

    # How many solves finite differences take, with our solver in the place of the peer's to save hours.
    least_squares(counted, np.zeros(len(truth)), jac=differences, method="lm", xtol=1e-3, ftol=1e-3)
    seconds = interleaved({"coarse, then fine": fit, "fine": fit_fine}, REPEATS)
    arguments = (case.model(domain, truth), case.regimen(truth), case.state0(domain), VISITS[-1])
    its = median(interleaved({"peer": lambda: peer.solve(*arguments, device)}, 5), "peer")
    mine = median(seconds, "coarse, then fine")
    return [
        Row(
            "4 parameters on 5 visits",
            f"{mine:.2g} s, {near.steps} steps on {COARSE_MM:g} mm and {mode.steps} on the whole grid, "
            f"worst parameter {100 * worst:.2f} % from the truth",
            f"{count['solves'] * its / mine:.0f} times the peer ({count['solves']} solves by finite differences, "
            f"{its:.2g} s each); {median(seconds, 'fine'):.2g} s and {direct.steps} steps without the coarse grid",
            "500 times, 5 s, 1 %",
        )
    ]
