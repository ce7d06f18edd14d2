"""Calibration of four parameters on five visits, against finite differences on the peer's solver."""

import case
import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optimistix
import peer
from measure import REPEATS, Row, interleaved, median
from scipy.optimize import least_squares

from twinjax.simulate import simulate

VISITS = [40.0, 70.0, 110.0, 170.0, 270.0]
MAX_STEP_DAYS = 4.0
# Where the fit starts, as multiples of the truth.
START = np.log([2.0, 0.6, 1.5, 0.5])


def rows() -> list[Row]:
    domain = case.slab()
    state0, truth = case.state0(domain), case.PARAMETERS

    def densities(logarithms, adjoint=None):
        parameters = {name: value * jnp.exp(z) for (name, value), z in zip(truth.items(), logarithms, strict=True)}
        model, regimen = case.model(domain, parameters), case.regimen(parameters)
        return simulate(model, regimen, state0, VISITS, max_step=MAX_STEP_DAYS, adjoint=adjoint).states

    # Without noise, and from finer steps than the fit takes.
    data = simulate(case.model(domain, truth), case.regimen(truth), state0, VISITS, max_step=0.5).states
    count = {"solves": 0}

    def residuals(logarithms, _):
        return densities(logarithms, diffrax.ForwardMode()) - data

    @jax.jit
    def fit(start):
        solver = optimistix.LevenbergMarquardt(rtol=1e-3, atol=1e-3)
        found = optimistix.least_squares(residuals, solver, start, options={"jac": "fwd"}, max_steps=40, throw=False)
        return found.value, found.stats["num_steps"]

    start = jnp.asarray(START, state0.dtype)
    seconds = interleaved({"twinjax": lambda: fit(start)}, REPEATS)
    logarithms, iterations = fit(start)
    worst = 100 * float(jnp.abs(jnp.expm1(logarithms)).max())

    forward = jax.jit(densities)

    def counted(logarithms):
        count["solves"] += 1
        return np.asarray(forward(jnp.asarray(logarithms, state0.dtype)) - data, float).ravel()

    # How many solves finite differences take, with our solver in the place of the peer's to save hours.
    least_squares(counted, START, method="lm", xtol=1e-3, ftol=1e-3, diff_step=1e-2)
    its = interleaved(
        {"peer": lambda: peer.solve(case.model(domain, truth), case.regimen(truth), state0, VISITS[-1])}, 5
    )
    whole = count["solves"] * median(its, "peer")
    return [
        Row(
            "4 parameters on 5 visits",
            f"{median(seconds, 'twinjax'):.1f} s, {int(iterations)} iterations, "
            f"worst parameter {worst:.2f} % from the truth",
            f"{whole / median(seconds, 'twinjax'):.0f} times the peer ({count['solves']} solves by finite differences, "
            f"{median(its, 'peer'):.1f} s each)",
            "500 times, 5 s, 1 %",
        )
    ]
